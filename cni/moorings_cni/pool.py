"""Pod ranges on demand: the cluster's pod CIDRs are cut in blocks, and a node that has no spec.podCIDRs claims as many as it needs.

Who has which block is written in one ConfigMap, a line a node. It is changed by compare and swap, so no block is ever two nodes',
and it is written before an address of a new block is given out, and after a block that is given back is known to lead nowhere. What a
node has is also an annotation of its Node, which is what peers go by: they watch nodes anyway.
A block is claimed ahead, while there are still addresses, because wiring a pod must not wait for the API; one that no pod has an
address of is given back, unless there would soon be too few. A node that is gone from the API has no claim any more.

Compare Calico's block affinities; IPAM by Node.spec.podCIDRs is `controllers.nodeipam`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network, summarize_address_range
from itertools import islice
from typing import Any

from moorings_core.client.resources import CONFIG_MAPS, NODES
from moorings_core.log import get_logger
from moorings_core.ports.client import Client
from moorings_core.ports.errors import AlreadyExists, ApiError, Conflict, NotFound
from moorings_core.ports.network import CLAIMS, RANGES, NetworkError
from moorings_core.ports.objects import Object

from .ipam import Block, Ipam

log = get_logger(__name__)
NAMESPACE = "kube-system"
BITS = range(2, 13)
"""Of a block's addresses: 4 to 4096."""
ATTEMPTS = 20


class Pool:
    """Blocks of the same number of addresses in every pod CIDR; block i is the i-th of each family."""

    def __init__(self, cidrs: Sequence[str], block_size: int) -> None:
        """block_size: prefix length of an IPv4 block, say 26; IPv6 blocks have as many addresses. Raises NetworkError."""
        self._ranges = [ip_network(cidr) for cidr in cidrs]
        self._bits = 32 - block_size
        small = [str(r) for r in self._ranges if r.max_prefixlen - r.prefixlen < self._bits]
        if self._bits not in BITS:
            raise NetworkError(f"blockSize: {block_size} is no prefix length of a block, from {32 - BITS[-1]} to {32 - BITS[0]}")
        if small or not self._ranges:
            raise NetworkError(f"blockSize: no block of {1 << self._bits} addresses fits into {', '.join(small) or 'no podCIDRs'}")
        self.size = 1 << self._bits

    def blocks(self) -> Iterator[Block]:
        """Yield the pool's blocks, lazily: an IPv6 range has more than anybody counts."""
        families = {version: [r for r in self._ranges if r.version == version] for version in (4, 6)}
        cut = [self._cut(ranges) for ranges in families.values() if ranges]
        yield from zip(*cut, strict=False)

    def _cut(self, ranges: Sequence[Any]) -> Iterator[str]:
        for whole in ranges:
            first, step = int(whole.network_address), self.size
            for start in range(first, first + whole.num_addresses, step):
                address = type(whole.network_address)
                yield str(next(summarize_address_range(address(start), address(start + step - 1))))

    def free(self, taken: Collection[str], elsewhere: Collection[str] = ()) -> Iterator[Block]:
        """Yield the blocks of which no range is taken, and none is part of a range elsewhere."""
        others = [ip_network(cidr) for cidr in elsewhere]
        for block in self.blocks():
            if not any(cidr in taken for cidr in block) and not any(_overlap(cidr, other) for cidr in block for other in others):
                yield block


def _overlap(cidr: str, other: IPv4Network | IPv6Network) -> bool:
    network = ip_network(cidr)
    return network.version == other.version and network.overlaps(other)


def wish(ipam: Ipam, size: int) -> tuple[bool, list[Block]]:
    """Return whether a node needs a block more, and which ones it may give back. The last one it keeps: the next pod is not to wait."""
    low = max(1, size // 8)
    if ipam.free < low:
        return True, []
    spare, unused, left = ipam.free, ipam.unused(), len(ipam.blocks)
    back: list[Block] = []
    for block in reversed(unused):
        if left > 1 and spare - (size - 2) >= 2 * low:
            spare, left = spare - (size - 2), left - 1
            back.append(block)
    return False, back


def parse(text: str) -> list[Block]:
    """Return the blocks of a claim or an annotation: ranges of one block joined by commas, blocks by spaces."""
    return [tuple(block.split(",")) for block in text.split()]


def text_of(blocks: Sequence[Block]) -> str:
    """Return blocks as they are written down."""
    return " ".join(",".join(block) for block in blocks)


def taken_by_others(claims: Mapping[str, str], name: str) -> set[str]:
    """Return the ranges that other nodes have."""
    return {cidr for node, text in claims.items() if node != name for block in parse(text) for cidr in block}


class Blocks:
    """The blocks of one node: kept enough, and no more."""

    def __init__(self, client: Client, name: str, pool: Pool, nodes: Callable[[], Mapping[str, Collection[str]]]) -> None:
        """nodes: names of the nodes that are known, and the ranges that their spec gives them."""
        self._client, self._name, self._pool, self._nodes = client, name, pool, nodes
        self._verified = False

    async def keep(self, node: Object, ipam: Ipam) -> None:
        """Claim what is needed, give back what is not, say on the Node what there is. Raises NetworkError and ApiError."""
        announced = parse((node["metadata"].get("annotations") or {}).get(RANGES) or "")
        needs, back = wish(ipam, self._pool.size)
        if needs or not self._verified or announced != list(ipam.blocks):
            await self._claim(ipam, needs)
            self._verified = True
        released = [block for block in back if ipam.drop(block)]
        if released or announced != list(ipam.blocks):
            patch = {"metadata": {"annotations": {RANGES: text_of(ipam.blocks)}}}
            await self._client.patch(NODES, self._name, "", patch)
        if released:  # nobody sends there any more
            await self._write(lambda claims: text_of(ipam.blocks))
            log.info("blocks of pod addresses given back", blocks=text_of(released))

    async def _claim(self, ipam: Ipam, needs: bool) -> None:
        """Have the claim say what this node has, and one block more where it needs one; then use what the claim says."""

        def mine(claims: Mapping[str, str]) -> str:
            others = taken_by_others(claims, self._name)
            held = list(dict.fromkeys([*parse(claims.get(self._name, "")), *ipam.blocks]))
            kept = [block for block in held if not any(cidr in others for cidr in block)]
            if needs and set(kept) <= set(ipam.blocks):
                elsewhere = [cidr for ranges in self._nodes().values() for cidr in ranges]
                kept += islice(self._pool.free(others.union(*map(set, kept)), elsewhere), 1)
            return text_of(kept)

        claimed = parse(await self._write(mine))
        for block in claimed:
            if block not in ipam.blocks:
                ipam.add(block)
                log.info("block of pod addresses claimed", block=",".join(block), blocks=len(claimed))
        for block in ipam.blocks:
            if block not in claimed and not ipam.drop(block):
                log.error("another node has a block that pods here have addresses of", block=",".join(block))
        if needs and not ipam.blocks:
            raise NetworkError("no block of pod addresses is free")

    async def _write(self, line: Callable[[Mapping[str, str]], str]) -> str:
        """Change this node's line by compare and swap; return it. Lines of nodes that are gone go with it."""
        for _ in range(ATTEMPTS):
            stored = await self._stored()
            claims: dict[str, str] = dict(stored.get("data") or {})
            for name in set(claims) - {self._name} - set(self._nodes()):
                if await self._is_gone(name):
                    del claims[name]
            claims[self._name] = line(claims)
            if claims == (stored.get("data") or {}):
                return claims[self._name]
            try:
                await self._client.update(CONFIG_MAPS, stored | {"data": claims})
            except Conflict:
                continue
            return claims[self._name]
        raise NetworkError(f"ConfigMap {NAMESPACE}/{CLAIMS} is changed by others all the time")

    async def _stored(self) -> Object:
        try:
            return await self._client.get(CONFIG_MAPS, CLAIMS, NAMESPACE)
        except NotFound:
            new = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CLAIMS, "namespace": NAMESPACE}, "data": {}}
        try:
            return await self._client.create(CONFIG_MAPS, new)
        except AlreadyExists:
            return await self._client.get(CONFIG_MAPS, CLAIMS, NAMESPACE)

    async def _is_gone(self, name: str) -> bool:
        try:
            await self._client.get(NODES, name)
        except NotFound:
            return True
        except ApiError as error:
            log.warning("node not looked up", node=name, error=error)
        return False
