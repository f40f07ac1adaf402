"""Places of a lab that tests send traffic from and to, as paths of network namespaces: pods, nodes, and a host outside.

Pods and Services are made by kubectl; only the sockets are the test's own, so that it can say size, source and don't-fragment.
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from moorings_core.kernel.namespaces import call_in
from moorings_labs import layout as layouts
from moorings_labs.cluster import Cluster
from moorings_labs.layout import Layout
from tests.traffic import Echo

numbers = itertools.count()
FIRST_OUTSIDE, OUTSIDES = 241, 12
WEB = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {app}, name: {name}}}}}
spec:
  nodeName: {node}
  tolerations: [{{operator: Exists}}]   # a busy machine's agent may start again so slowly that its node counts as lost
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: moorings.dev/busybox:1
    command: [sh, -c, "mkdir /www && hostname > /www/name && exec httpd -f -p 8080 -h /www"]
    ports: [{{containerPort: 8080, name: web}}]
    readinessProbe: {{httpGet: {{path: /name, port: web}}, periodSeconds: 1}}
---
"""


@dataclass(frozen=True)
class Place:
    """Somewhere with a network: the path of its namespace, its address."""

    name: str
    netns: str
    address: str


def layout(lab: Cluster) -> Layout:
    """Return the names and addresses of a lab."""
    state = layouts.load(lab.name)
    assert state is not None
    return Layout(state.name, state.number)


def web(app: str, **nodes: str) -> str:
    """Return manifests of web servers that tell their name, by name and node."""
    return "".join(WEB.format(app=app, name=name.replace("_", "-"), node=node) for name, node in nodes.items())


def pods(lab: Cluster, namespace: str, *names: str) -> list[Place]:
    """Wait until pods are ready and return where they are."""
    lab.wait_ready(*names, namespace=namespace)
    return [Place(name, _netns(lab, namespace, name), lab.pod_ip(name, namespace)) for name in names]


def node(lab: Cluster, name: str) -> Place:
    """Return a node's place."""
    state = layouts.load(lab.name)
    assert state is not None
    return Place(name, f"/run/netns/{layout(lab).namespace(name)}", dict(state.nodes)[name])


def _netns(lab: Cluster, namespace: str, pod: str) -> str:
    """Return the network namespace of a pod by way of any process in it: its mount is hidden in the node."""
    wanted = lab.exec(pod, "readlink", "/proc/self/ns/net", namespace=namespace).stdout.strip()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        path = f"/proc/{pid}/ns/net"
        try:
            if os.readlink(path) == wanted and _stays(pid):
                return path
        except OSError:
            continue  # it has ended meanwhile
    raise LookupError(f"no process of {namespace}/{pod}")


def _stays(pid: str) -> bool:
    with open(f"/proc/{pid}/comm") as file:
        return file.read().strip() in ("sleep", "httpd")


@contextmanager
def outside(lab: Cluster) -> Iterator[Place]:
    """A machine on the lab's switch that is no node and knows nothing of pods and Services."""
    place, number = layout(lab), next(numbers)
    name, port = f"moor-out{os.getpid()}-{number}", f"x{os.getpid() % 10**7}-{number}"
    address = place.address(FIRST_OUTSIDE + (os.getpid() + number) % OUTSIDES)
    _ip("netns", "add", name)
    try:
        _ip("-n", place.switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("-n", place.switch, "link", "set", port, "master", "br0", "up")
        # The same address has always the same MAC: nodes may still know it from an earlier test.
        _ip("-n", name, "link", "set", "eth0", "address", f"02:00:00:00:00:{int(address.rpartition('.')[2]):02x}")
        _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "link", "set", "eth0", "up")
        yield Place("outside", f"/run/netns/{name}", address)
    finally:
        _ip("netns", "delete", name)


@contextmanager
def echoing(places: Sequence[Place], port: int = 7777) -> Iterator[None]:
    """Echo servers in places, which answer by their names."""
    with ExitStack() as stack:
        for place in places:
            stack.callback(Echo(place.netns, port, name=place.name).close)
        yield


class UdpClient:
    """A client that keeps its port, so that the kernel takes all its questions for one flow."""

    def __init__(self, place: Place, target: tuple[str, int]) -> None:
        self._socket: socket.socket = call_in(place.netns, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._socket.settimeout(0.5)
        self._target = target

    def ask(self) -> str:
        """Return the name of the echo server that answers now, "" when none does."""
        try:
            self._socket.sendto(b"hello", self._target)
            return self._socket.recv(100).split(b" ")[0].decode().partition("/")[2]
        except OSError:
            return ""

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, timeout=10)


def kill_agent(lab, node: str) -> None:
    """Kill -9 the agent of a node and wait until another has taken its place."""
    pid = agent_pid(lab, node)
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 20
    while agent_pid(lab, node) in (0, pid) and time.monotonic() < end:
        time.sleep(0.02)
    assert agent_pid(lab, node) not in (0, pid)


def agent_pid(lab, node: str) -> int:
    """Return the machine's id of a node's agent, 0 when there is none."""
    root = str(layout(lab).node_root(node) / "agent").encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"agent" in words and root in words:
            return int(entry.name)
    return 0
