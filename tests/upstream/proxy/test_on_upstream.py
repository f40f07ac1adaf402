"""`moorings proxy` under upstream's own API server and controllers, in place of kube-proxy: objects in, traffic out."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from moorings_core.kernel.nftables.netns import call_in
from moorings_core.pki.authority import Authority
from tests.differential import peers
from tests.netns.proxy import netlab
from tests.token_kubeconfig import KUBECONFIG
from tests.upstream.control_plane.programs import PROGRAMS, UPSTREAM, ControlPlane, Keys

pytestmark = [pytest.mark.netns, pytest.mark.oracle]
NODE = "n1"
HEARTBEAT = '{"metadata":{"name":"n1","namespace":"kube-node-lease"},"spec":{"holderIdentity":"n1","leaseDurationSeconds":3600}}'


@dataclass
class World:
    """A node and pods of namespaces, upstream's servers in the node's, and a client of theirs."""

    lab: netlab.Lab
    directory: Path
    kubeconfig: Path

    def kubectl(self, *words: str, given: object = None, check: bool = True) -> str:
        """Run kubectl where the server is."""
        command = ["ip", "netns", "exec", f"{self.lab.prefix}-node", "kubectl", "--kubeconfig", str(self.kubeconfig), *words]
        text = json.dumps(given) if given is not None else ""
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def status(self, kind: str, name: str, status: dict[str, Any]) -> None:
        """Say what a kubelet would say."""
        self.kubectl("patch", kind, name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))

    def pod(self, name: str, address: str) -> None:
        """Make a Pod on the node, and be its kubelet."""
        spec = {"nodeName": NODE, "containers": [{"name": "main", "image": "none"}]}
        metadata = {"name": name, "labels": {"app": "web"}}
        self.kubectl("create", "-f", "-", given={"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        self.ready(name, True, address)

    def ready(self, name: str, ready: bool, address: str) -> None:
        """Say whether a pod is ready."""
        conditions = [{"type": "Ready", "status": str(ready)}]
        self.status("pod", name, {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": conditions})

    @contextlib.contextmanager
    def proxy(self, *more: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run our proxy in the node."""
        command = [sys.executable, "-m", "moorings_core.cli", "proxy", "--kubeconfig", str(self.kubeconfig), "--hostname-override", NODE]
        with (self.directory / "proxy.log").open("ab") as log:
            inside = ["ip", "netns", "exec", f"{self.lab.prefix}-node", *command, *more]
            process = subprocess.Popen(inside, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(20)

    def until(self, what: Callable[[], object], seconds: float = 40) -> None:
        """Wait until what() is true."""
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, (self.directory / "proxy.log").read_text(errors="replace")[-3000:]
            time.sleep(0.05)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    missing = [name for name in (*PROGRAMS, "kube-apiserver", "etcd") if not (UPSTREAM / name).exists()]
    if missing:
        pytest.fail(f"not built: {', '.join(missing)}; `labs/upstream.sh {' '.join(missing)}` builds them")
    with netlab.lab() as lab, contextlib.ExitStack() as stack:
        peer = call_in(lab.node, lambda: peers.upstream(tmp_path / "peer"))
        stack.callback(peer.close)
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(KUBECONFIG % (peer.port, peers.TOKEN))
        (tmp_path / "ca.crt").write_bytes(Authority.create("upstream").cert_pem)
        keys = Keys(dict.fromkeys(PROGRAMS, kubeconfig), peer.directory / "sa.key", tmp_path / "ca.crt")
        plane = ControlPlane(tmp_path, keys, "10.64.0.0/16")
        call_in(lab.node, plane.start)
        stack.callback(plane.close)
        yield World(lab, tmp_path, kubeconfig)


def names(world: World, address: str, port: int, where: str = "p3", times: int = 30) -> set[str]:
    """Return who answers, "refused" and "silent" among them."""
    found: Counter[str] = Counter()
    for _ in range(times):
        try:
            found[world.lab.tcp(where, address, port, 0.5).split()[0]] += 1
        except ConnectionRefusedError:
            return {"refused"}
        except OSError:
            return {"silent"}
    return set(found)


@pytest.mark.timeout(240)
def test_traffic_follows_what_upstreams_controllers_make_of_pods_and_services(world: World) -> None:
    addresses = [world.lab.pod()[1] for _ in range(3)]
    for name in ("p1", "p2"):
        world.lab.serve(name)
    world.kubectl("create", "-f", "-", given={"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", **json.loads(HEARTBEAT)}
    world.until(lambda: world.kubectl("create", "-f", "-", given=lease, check=False))
    ready = {"addresses": [{"type": "InternalIP", "address": netlab.NODE}], "conditions": [{"type": "Ready", "status": "True"}]}
    world.status("node", NODE, ready)
    world.until(lambda: world.kubectl("get", "serviceaccount", "default", "-o", "name", check=False))
    spec = {"type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}
    world.kubectl("create", "-f", "-", given={"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec})
    made = json.loads(world.kubectl("get", "service", "web", "-o", "json"))["spec"]
    virtual, node_port = made["clusterIP"], made["ports"][0]["nodePort"]
    with world.proxy():
        world.until(lambda: names(world, virtual, 80) == {"refused"})
        world.pod("one", addresses[0])
        world.pod("two", addresses[1])
        world.until(lambda: names(world, virtual, 80) == {"p1", "p2"})
        assert names(world, netlab.NODE, node_port, where="world") == {"p1", "p2"}
        world.ready("one", False, addresses[0])
        world.until(lambda: names(world, virtual, 80) == {"p2"})
        with world.lab.connect("p3", virtual, 80) as stays:
            assert stays.recv(100).startswith(b"p2")
            world.kubectl("delete", "pod", "two", "--grace-period=0", "--force")
            world.until(lambda: names(world, virtual, 80) == {"refused"})
            stays.sendall(b"still")
            assert stays.recv(100) == b"still", "an established connection goes on"
        world.kubectl("delete", "service", "web")
        world.until(lambda: names(world, virtual, 80) == {"silent"})
    with world.proxy("--cleanup") as cleaning:
        assert cleaning.wait(30) == 0
    assert "moorings" not in world.lab.run("node", "nft", "list", "tables")
