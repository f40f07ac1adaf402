"""Fixtures of moorings labs for pytest, there as soon as moorings is installed.

    lab            a cluster for the whole session: one server, three nodes
    namespace      a Kubernetes namespace of that lab for one test, deleted afterwards
    make_lab       a function that makes further labs from a cluster file, taken down after the test, with a leak audit

A watchdog process takes labs down when pytest itself is killed.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .cluster import Cluster, run

MOORINGS = [sys.executable, "-m", "moorings_core.cli"]
counter = itertools.count()
DEFAULT = """
cloud: {backend: metal}
storage:
- {name: local, backend: image, default: true, parameters: {fsType: xfs}}
- {name: subvolumes, backend: btrfs, parameters: {poolSize: 3Gi}}
- {name: everywhere, backend: hostpath, parameters: {shared: true, attach: true, root: ../../../shared}}
lab:
  profile: fast
  nodes:
  - {name: server, roles: [server]}
  - {count: 3, cpu: 2, memory: 1Gi}
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of labs."""
    group = parser.getgroup("moorings")
    group.addoption("--lab-reuse", metavar="NAME", help="run on this lab, which is up already, and leave it up")
    group.addoption("--lab-keep", action="store_true", help="leave the session's lab up")
    group.addoption("--lab-file", metavar="FILE", help="the cluster file of the session's lab")


class Watchdog:
    """A process that takes a lab down once this one is gone; with `dismiss` it goes without doing so."""

    def __init__(self, name: str) -> None:
        script = 'read -r word || exec "$@"'
        command = ["sh", "-c", script, "sh", *MOORINGS, "down", name]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )

    def dismiss(self) -> None:
        """Call it off."""
        self._process.communicate(b"bye\n", timeout=10)


def make(name: str, file: Path) -> Watchdog:
    """Bring a lab up with a watchdog."""
    watchdog = Watchdog(name)
    try:
        run([*MOORINGS, "up", "-f", str(file), "--name", name], timeout=180)
    except BaseException:
        watchdog.dismiss()
        raise
    return watchdog


def take_down(name: str) -> None:
    """Take a lab down and fail the test where anything of it is left."""
    from . import audit, layout

    own = layout.find(name).id
    run([*MOORINGS, "down", name], timeout=60)
    left = [f"{r.kind} {r.name}" for r in audit.leftovers(audit.read(), audit.living()) if r.lab == own]
    if left:
        pytest.fail(f"lab {name} is down and has left: {'; '.join(left)}")


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Return the session's cluster."""
    if reuse := request.config.getoption("--lab-reuse"):
        yield Cluster(str(reuse))
        return
    if os.geteuid() != 0:
        pytest.skip("labs need root: nodes are network, mount and process namespaces")
    given = request.config.getoption("--lab-file")
    file = Path(str(given)) if given else tmp_path_factory.mktemp("lab") / "cluster.yaml"
    if not given:
        file.write_text(DEFAULT)
    name = f"t{os.getpid()}"
    watchdog = make(name, file)
    yield Cluster(name)
    watchdog.dismiss()
    if not request.config.getoption("--lab-keep"):
        take_down(name)


@pytest.fixture
def namespace(lab: Cluster) -> Iterator[str]:
    """Return the name of a fresh Kubernetes namespace."""
    name = f"n{os.getpid()}-{next(counter)}"
    lab.kubectl("create", "namespace", name)
    lab.wait_for("default service account", lambda: lab.get("serviceaccount", "default", "-n", name))
    yield name
    lab.kubectl("delete", "namespace", name, "--wait=true", "--timeout=60s")


@pytest.fixture
def make_lab(tmp_path: Path) -> Iterator[Callable[[str], Cluster]]:
    """Return a function that makes a lab from the text of a cluster file."""
    made: list[tuple[str, Watchdog]] = []

    def build(text: str) -> Cluster:
        name = f"t{os.getpid()}-{next(counter)}"
        file = tmp_path / f"{name}.yaml"
        file.write_text(text)
        made.append((name, make(name, file)))
        return Cluster(name)

    yield build
    for name, watchdog in made:
        watchdog.dismiss()
        take_down(name)
