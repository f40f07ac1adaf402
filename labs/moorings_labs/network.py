"""The underlay of a lab: a bridge in a namespace of its own, a link to each node, one access link to the machine.

Read what is there, plan what is missing (pure), apply it: one `ip -batch` per namespace, because starting processes is what making a
lab costs. A lab whose `up` was killed anywhere is finished by the next one.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from moorings_core.kernel.rtnetlink import connect
from moorings_core.ports.errors import MooringsError

from .layout import Layout, State

NETNS = Path("/run/netns")
MACHINE = ""
"""Stands for the machine's own network namespace."""


class NetworkError(MooringsError):
    """A namespace or link could not be made; the text is ip's own."""


@dataclass(frozen=True, slots=True)
class View:
    """What a namespace has: names of links, addresses with their prefix."""

    links: frozenset[str] = frozenset()
    addresses: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines of ip(8) to run in one namespace."""

    namespace: str
    lines: tuple[str, ...]


async def make(layout: Layout, state: State, nodes: Collection[str]) -> None:
    """Make what is missing of the switch and of these nodes' links. Raises NetworkError."""
    actual = await asyncio.to_thread(read, layout, state)
    for batch in plan(layout, state, nodes, actual):
        await _apply(batch)


async def remove(layout: Layout, state: State) -> None:
    """Remove the lab's namespaces; links go with them."""
    if (Path("/sys/class/net") / layout.access_link).exists():
        await _apply(Batch(MACHINE, (f"link delete {layout.access_link}",)))
    for name in (layout.switch, *(layout.namespace(node) for node, _ in state.nodes)):
        await remove_namespace(name)


async def remove_namespace(name: str) -> None:
    """Remove a network namespace if it is there."""
    if (NETNS / name).exists():
        await _apply(Batch(MACHINE, (f"netns delete {name}",)))


def used() -> list[IPv4Network]:
    """Return the networks that this machine has routes to, the default route left out."""
    with connect() as connection:
        return [d for r in connection.routes(socket.AF_INET) if isinstance(d := r.destination, IPv4Network) and d.prefixlen]


def read(layout: Layout, state: State) -> dict[str, View]:
    """Return what is there of a lab, by namespace."""
    names = [layout.switch, *(layout.namespace(node) for node, _ in state.nodes)]
    found = {name: _view(str(NETNS / name)) for name in names if (NETNS / name).exists()}
    return {MACHINE: _view(None), **found}


def plan(layout: Layout, state: State, nodes: Collection[str], actual: Mapping[str, View]) -> list[Batch]:
    """Return what to run so that the switch and the nodes named are there and joined; nothing when they are."""
    wanted = [(i, node, address) for i, (node, address) in enumerate(state.nodes) if node in nodes]
    names = [layout.switch, *(layout.namespace(node) for _, node, _ in wanted)]
    batches = [Batch(MACHINE, tuple(f"netns add {name}" for name in names if name not in actual))]
    batches.append(Batch(layout.switch, _switch(layout, wanted, actual)))
    machine = f"{layout.address(254)}/24"
    if machine not in actual[MACHINE].addresses:
        batches.append(Batch(MACHINE, (f"link set {layout.access_link} up", f"address replace {machine} dev {layout.access_link}")))
    for _, node, address in wanted:
        if f"{address}/24" not in actual.get(layout.namespace(node), View()).addresses:
            batches.append(Batch(layout.namespace(node), _node(layout, address)))
    return [batch for batch in batches if batch.lines]


def _switch(layout: Layout, wanted: Sequence[tuple[int, str, str]], actual: Mapping[str, View]) -> tuple[str, ...]:
    have = actual.get(layout.switch, View())
    lines: list[str] = []
    if "br0" not in have.links:
        lines += ["link set lo up", "link add br0 type bridge", "link set br0 up"]
    if f"{layout.address(1)}/24" not in have.addresses:
        lines.append(f"address add {layout.address(1)}/24 dev br0")
    if "access" not in have.links:
        lines.append(f"link add access type veth peer name {layout.access_link} netns 1")
        lines.append("link set access master br0 up")
    for position, node, _ in wanted:
        if f"p{position}" not in have.links:
            lines.append(f"link add p{position} type veth peer name eth0 netns {layout.namespace(node)}")
            lines.append(f"link set p{position} master br0 up")
    return tuple(lines)


def _node(layout: Layout, address: str) -> tuple[str, ...]:
    up = ("link set lo up", "link set eth0 up")
    return (*up, f"route replace default via {layout.address(1)} dev eth0 onlink", f"address replace {address}/24 dev eth0")


def _view(netns: str | None) -> View:
    with connect(netns) as connection:
        links = frozenset(link.name for link in connection.links())
        return View(links, frozenset(str(a.address) for a in connection.addresses()))


async def _apply(batch: Batch) -> None:
    command = ["ip", *(["-n", batch.namespace] if batch.namespace else []), "-batch", "-"]
    text = "\n".join(batch.lines)
    done = await asyncio.to_thread(subprocess.run, command, input=text, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode != 0:
        raise NetworkError(f"{batch.namespace or 'this machine'}: {done.stderr.strip()}")
