"""A network backend that somebody else wrote: it knows moorings' ports and the `ip` command, and nothing more.

It carries pod traffic by plain routes with a routing protocol of its own number.
"""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from moorings_cni.backend import Backend
from moorings_core.ports.network import Peer
from moorings_core.ports.node import NodeContext

PROTOCOL = "99"


class Ferry:
    """A `ports.network.Transport`."""

    name = "ferry"

    def overhead(self, addresses: Sequence[str]) -> int:
        return 0

    async def accept(self, own: Peer, peers: Sequence[Peer]) -> None:
        return None

    async def carry(self, own: Peer, peers: Sequence[Peer]) -> None:
        wanted = {cidr: peer.addresses[0] for peer in peers for cidr in peer.pod_cidrs}
        for cidr, address in wanted.items():
            await ip("route", "replace", cidr, "via", address, "proto", PROTOCOL)
        for route in json.loads(await ip("-j", "route", "show", "proto", PROTOCOL)):
            if route["dst"] not in wanted:
                await ip("route", "del", route["dst"], "proto", PROTOCOL)

    async def withdraw(self) -> None:
        await ip("route", "flush", "proto", PROTOCOL)


async def ip(*words: str) -> str:
    process = await asyncio.create_subprocess_exec("ip", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    output, error = await asyncio.wait_for(process.communicate(), 10)
    if process.returncode:
        raise OSError(f"ip {' '.join(words)}: {error.decode()}")
    return output.decode() or "[]"


def transport(context: NodeContext, parameters: dict[str, Any]) -> Ferry:
    return Ferry()


backend = Backend(transport)
