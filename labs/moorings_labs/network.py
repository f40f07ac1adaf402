"""The underlay of a lab: a bridge in a namespace of its own, a link to each node, one access link to the machine.

One `ip -batch` per namespace: starting processes is what making a lab costs. Everything may be there already.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence
from pathlib import Path

from moorings_core.ports.errors import MooringsError

from .layout import Layout, State

NETNS = Path("/run/netns")


class NetworkError(MooringsError):
    """A namespace or link could not be made; the text is ip's own."""


async def make(layout: Layout, state: State) -> None:
    """Make namespaces, bridge, links and addresses that are missing."""
    names = [layout.switch, *(layout.namespace(node) for node, _ in state.nodes)]
    missing = [name for name in names if not (NETNS / name).exists()]
    await batch([f"netns add {name}" for name in missing])
    if layout.switch in missing:
        await batch(
            [
                "link set lo up",
                "link add br0 type bridge",
                "link set br0 up",
                f"address add {layout.address(1)}/24 dev br0",
                f"link add access type veth peer name {layout.access_link} netns 1",
                "link set access master br0 up",
            ],
            layout.switch,
        )
        await batch([f"address add {layout.address(254)}/24 dev {layout.access_link}", f"link set {layout.access_link} up"])
    for position, (node, address) in enumerate(state.nodes):
        if layout.namespace(node) in missing:
            await _node(layout, node, address, position)


async def remove(layout: Layout, state: State) -> None:
    """Remove the lab's namespaces; links go with them."""
    names = [layout.switch, *(layout.namespace(node) for node, _ in state.nodes)]
    if (Path("/sys/class/net") / layout.access_link).exists():
        await batch([f"link delete {layout.access_link}"])
    await batch([f"netns delete {name}" for name in names if (NETNS / name).exists()])


async def batch(lines: Sequence[str], namespace: str = "") -> None:
    """Run lines of ip(8), in a network namespace when one is named. Raises NetworkError."""
    if not lines:
        return
    command = ["ip", *(["-n", namespace] if namespace else []), "-batch", "-"]
    text = "\n".join(lines)
    done = await asyncio.to_thread(subprocess.run, command, input=text, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode != 0:
        raise NetworkError(f"{namespace or 'this machine'}: {done.stderr.strip()}")


async def _node(layout: Layout, node: str, address: str, position: int) -> None:
    port, own = f"p{position}", layout.namespace(node)
    await batch([f"link add {port} type veth peer name eth0 netns {own}", f"link set {port} master br0 up"], layout.switch)
    lines = ["link set lo up", f"address add {address}/24 dev eth0", "link set eth0 up", f"route add default via {layout.address(1)}"]
    await batch(lines, own)
