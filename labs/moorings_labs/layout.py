"""Names and paths of a lab. The id makes them unique on the machine and short enough for interfaces and sockets."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection
from dataclasses import asdict, dataclass
from ipaddress import IPv4Network
from pathlib import Path

from moorings_core import durable
from moorings_core.ports.cluster import LabNode
from moorings_core.ports.errors import MooringsError

ROOT = "MOORINGS_LAB_ROOT"
PREFIX = "moor"
SUBNETS = 200


class NoSubnet(MooringsError):
    """Every subnet for labs is used."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a lab is. number chooses its subnet 100.64.NUMBER.0/24."""

    name: str
    number: int

    @property
    def id(self) -> str:
        """Four characters that no other lab here has."""
        return hashlib.sha256(self.name.encode()).hexdigest()[:4]

    @property
    def root(self) -> Path:
        """The lab's directory."""
        return root() / self.name

    @property
    def run(self) -> Path:
        """Sockets; short, because a socket's path has at most 107 bytes."""
        return Path("/run/moorings") / self.id

    @property
    def pki(self) -> Path:
        """Certificates, keys, kubeconfigs."""
        return self.root / "pki"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.root / "kubeconfig"

    @property
    def cluster_file(self) -> Path:
        """The cluster file that the lab was made from."""
        return self.root / "cluster.yaml"

    @property
    def switch(self) -> str:
        """The name of the switch's network namespace."""
        return f"{PREFIX}-{self.id}-switch"

    @property
    def access_link(self) -> str:
        """The one interface in the machine's own namespace."""
        return f"{PREFIX}-{self.id}"

    @property
    def cgroup(self) -> str:
        """The lab's cgroup, below each hierarchy."""
        return f"{PREFIX}-{self.id}"

    def namespace(self, node: str) -> str:
        """Return the name of a node's network namespace."""
        return f"{PREFIX}-{self.id}-{node}"

    def node_root(self, node: str) -> Path:
        """Return a node's own directory, which outlives its power."""
        return self.root / "nodes" / node

    def registries(self, node: str) -> Path:
        """Return the directory that says where the images of which registry come from, as containerd's hosts.toml do."""
        return self.node_root(node) / "registries"

    def node_run(self, node: str) -> Path:
        """Return the directory of a node's sockets."""
        return self.run / hashlib.sha256(node.encode()).hexdigest()[:4]

    @property
    def subnet(self) -> IPv4Network:
        """The lab's underlay."""
        return IPv4Network((self.address(0), 24))

    def address(self, position: int) -> str:
        """Return the address at a position: 1 the switch, 254 the machine, nodes from 10 on."""
        return f"100.64.{self.number}.{position}"


def root() -> Path:
    """Return the directory of all labs."""
    return Path(os.environ.get(ROOT, "/var/lib/moorings/labs"))


@dataclass(frozen=True, slots=True)
class State:
    """What is written before anything is done: the lab's number, and its nodes with their addresses."""

    name: str
    number: int
    nodes: tuple[tuple[str, str], ...]

    def save(self, layout: Layout) -> None:
        """Make the intent durable."""
        durable.write(layout.root / "state.json", json.dumps(asdict(self)).encode())


def load(name: str) -> State | None:
    """Return the state of a lab, or None."""
    file = root() / name / "state.json"
    if not file.exists():
        return None
    raw = json.loads(file.read_text())
    return State(raw["name"], raw["number"], tuple((n, a) for n, a in raw["nodes"]))


def find(name: str) -> Layout:
    """Return the layout of a lab that is there. Raises LookupError."""
    state = load(name)
    if state is None:
        raise LookupError(name)
    return Layout(state.name, state.number)


def choose(name: str, nodes: tuple[LabNode, ...], used: Collection[IPv4Network] = ()) -> State:
    """Return the state of a new lab on a subnet that no other lab here has, nor anything else that uses networks of this machine.

    Raises NoSubnet.
    """
    taken = {s.number for d in root().glob("*") if (s := load(d.name)) is not None}
    start = int(hashlib.sha256(name.encode()).hexdigest(), 16) % SUBNETS
    numbers = ((start + i) % SUBNETS + 1 for i in range(SUBNETS))
    free = (n for n in numbers if n not in taken and not any(Layout(name, n).subnet.overlaps(other) for other in used))
    number = next(free, None)
    if number is None:
        raise NoSubnet("no subnet of 100.64.0.0/16 is free: take a lab down, or look at `ip route`")
    layout = Layout(name, number)
    return State(name, number, tuple((n.name, layout.address(10 + i)) for i, n in enumerate(nodes)))
