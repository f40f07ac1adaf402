"""A lab whose server has only the API: upstream's own control plane drives it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from moorings_core.pki.authority import Authority
from moorings_core.pki.kubeconfig import kubeconfig
from moorings_labs import layout as layouts
from moorings_labs.cluster import Cluster
from moorings_labs.pytest_plugin import MOORINGS, Watchdog, take_down
from tests.differential import peers

from .hollow import HollowNodes
from .programs import PROGRAMS, UPSTREAM, ControlPlane, Keys, token_kubeconfig

PODS = "10.64.0.0/16"
FILE = f"""
server: {{run: [api]}}
network: {{podCIDRs: [{PODS}]}}
storage: []
lab:
  profile: fast
  nodes:
  - {{name: server, roles: [server]}}
  - {{count: 3, cpu: 2, memory: 1Gi}}
"""
START_SECONDS = 60.0


def need(*names: str) -> None:
    """Fail where upstream's programs are not built."""
    missing = [name for name in names if not (UPSTREAM / name).exists()]
    if missing:
        pytest.fail(f"not built: {', '.join(missing)}; `labs/upstream.sh {' '.join(missing)}` builds them")


@dataclass(frozen=True, slots=True)
class Upstream(Cluster):
    """Upstream's API server with hollow nodes, driven the same way: it shows what its own controllers log."""

    file: Path = Path()

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.file


@dataclass(frozen=True, slots=True)
class Driven:
    """A cluster, and upstream's control plane that drives it."""

    cluster: Cluster
    plane: ControlPlane


@pytest.fixture(scope="session")
def on_moorings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driven]:
    """Return a lab of moorings whose server has only the API."""
    need(*PROGRAMS)
    directory, name = tmp_path_factory.mktemp("moorings"), f"u{os.getpid()}"
    file = directory / "cluster.yaml"
    file.write_text(FILE)
    watchdog = Watchdog(name)
    up = subprocess.Popen([*MOORINGS, "up", "-f", str(file), "--name", name, "--retain"], stderr=subprocess.PIPE)
    plane = None
    try:
        plane = ControlPlane(directory, keys(name, directory), PODS)
        plane.start()  # nodes become ready by upstream's controllers, which give them their ranges of addresses
        _, told = up.communicate(timeout=180)
        assert up.returncode == 0, told.decode()
        yield Driven(Cluster(name), plane)
    finally:
        if plane is not None:
            plane.close()
        up.kill()
        up.wait()
        import shutil

        shutil.copytree(layouts.root() / name / "nodes" / "server" / "server" / "audit", directory / "audit")
        watchdog.dismiss()
        take_down(name)


@pytest.fixture(scope="session")
def on_upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driven]:
    """Return upstream's API server with hollow nodes."""
    need(*PROGRAMS, "kube-apiserver", "etcd")
    directory = tmp_path_factory.mktemp("upstream")
    peer = peers.upstream(directory / "peer")
    url = f"https://127.0.0.1:{peer.port}"
    file = token_kubeconfig(directory / "kubeconfig", url, peers.TOKEN)
    (directory / "ca.crt").write_bytes(Authority.create("upstream").cert_pem)
    own = Keys(dict.fromkeys(PROGRAMS, file), peer.directory / "sa.key", directory / "ca.crt")
    plane, nodes = ControlPlane(directory, own, PODS), HollowNodes(peer)
    try:
        plane.start()
        nodes.start()
        yield Driven(Upstream("upstream", file), plane)
    finally:
        plane.close()
        nodes.close()
        peer.close()


@pytest.fixture(params=["moorings", pytest.param("upstream", marks=pytest.mark.oracle)])
def driven(request: pytest.FixtureRequest) -> Driven:
    """Return the cluster of one API server, then that of the other."""
    found: Driven = request.getfixturevalue(f"on_{request.param}")
    return found


def keys(name: str, directory: Path) -> Keys:
    """Wait for a lab's keys, and make a kubeconfig for each of upstream's programs. Raises TimeoutError."""
    root = layouts.root() / name
    accounts = root / "nodes" / "server" / "server" / "pki" / "sa.key"
    end = time.monotonic() + START_SECONDS
    while not (accounts.exists() and (root / "kubeconfig").exists()):
        if time.monotonic() > end:
            raise TimeoutError(f"lab {name} has no keys yet")
        time.sleep(0.05)
    url = yaml.safe_load((root / "kubeconfig").read_text())["clusters"][0]["cluster"]["server"]
    authority = Authority.load_or_create(root / "pki", name)
    found = {}
    for program in PROGRAMS:
        user = f"system:{program}"
        found[program] = directory / f"{program}.kubeconfig"
        found[program].write_bytes(kubeconfig(name, url, authority.cert_pem, user, authority.issue(user)))
    return Keys(found, accounts, root / "pki" / "ca.crt", root / "pki" / "ca.key")


@pytest.fixture
def lab(driven: Driven) -> Cluster:
    """Return the cluster."""
    return driven.cluster
