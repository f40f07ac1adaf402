"""Address ranges of policies, cut into pieces that do not overlap: each piece lies in the same blocks throughout. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from .model import Block, Network

BITS = {4: 32, 6: 128}


@dataclass(frozen=True, slots=True)
class Piece:
    """Addresses from first to last, both included, as numbers, and the blocks that they are in: at least one."""

    first: int
    last: int
    blocks: frozenset[Block]


class Blocks:
    """The pieces of one address family, to be found by address."""

    def __init__(self, blocks: Iterable[Block], version: int) -> None:
        self.version = version
        self.pieces = _cut([block for block in blocks if block.cidr.version == version])
        self._firsts = [piece.first for piece in self.pieces]

    def at(self, address: str) -> frozenset[Block]:
        """Return the blocks that an address of the family is in."""
        number = int(ip_address(address))
        index = bisect_right(self._firsts, number) - 1
        if index < 0 or self.pieces[index].last < number:
            return frozenset()
        return self.pieces[index].blocks


def _cut(blocks: Iterable[Block]) -> list[Piece]:
    """Sweep over all bounds; blocks open and close at them, and what is excepted closes in between."""
    bounds: dict[int, list[tuple[Block, int, int]]] = {}

    def note(block: Block, network: Network, inside: int, outside: int) -> None:
        bounds.setdefault(int(network.network_address), []).append((block, inside, outside))
        bounds.setdefault(int(network.broadcast_address) + 1, []).append((block, -inside, -outside))

    for block in blocks:
        note(block, block.cidr, 1, 0)
        for part in block.excepted:
            note(block, part, 0, 1)
    depth: dict[Block, tuple[int, int]] = {}
    pieces: list[Piece] = []
    open_: frozenset[Block] = frozenset()
    start = 0
    for at in sorted(bounds):
        if open_:
            pieces.append(Piece(start, at - 1, open_))
        for block, inside, outside in bounds[at]:
            have = depth.get(block, (0, 0))
            depth[block] = (have[0] + inside, have[1] + outside)
        open_, start = frozenset(b for b, (inside, outside) in depth.items() if inside and not outside), at
    return _merged(pieces)


def _merged(pieces: list[Piece]) -> list[Piece]:
    found: list[Piece] = []
    for piece in pieces:
        if found and found[-1].last + 1 == piece.first and found[-1].blocks == piece.blocks:
            found[-1] = Piece(found[-1].first, piece.last, piece.blocks)
        else:
            found.append(piece)
    return found
