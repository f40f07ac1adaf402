"""Addresses of pods on this node: a slot for each attachment, and the slot's address in each of the node's pod ranges.

The ranges of a node are one of each family, or blocks that come and go (see `pool`), each of one range of each family. A block's slots
begin at its base, so that slots stay what they are whatever happens to other blocks.

Everything is in memory; the journal brings it back. A slot is taken before anything is wired and given back after everything
is unwired, so a crash in between can leave a slot taken (found and freed by `PodNetwork.recover`) and never one taken twice.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from ipaddress import ip_address, ip_network
from typing import Any

from moorings_core.ports.network import Attachment, AttachmentKey, Bandwidth, NetworkError, NotReady, PortMapping

from .journal import Entry, Journal

Block = tuple[str, ...]
"""Ranges of one size, one of each family."""
MOST = 1 << 16
COMPACT_AT = 1000
REMEMBERED = 1000
"""Names of pods whose address is kept for the next of that name, while there are others."""


class Ipam:
    """The attachments of this node, by key; fresh: none can be left of an earlier life. Safe for use from several threads."""

    def __init__(self, journal: Journal, boot: str, *, sticky: bool = False) -> None:
        """journal is where it is kept; boot names this run of the machine (what was wired in another one is gone).

        sticky: a pod gets the address that one of its name had on this node before, as long as nobody else needed it.
        """
        self.sticky = sticky
        self._names: dict[str, int] = {}
        self._journal, self._boot = journal, boot
        self._lock = threading.Lock()
        self._known: dict[AttachmentKey, Attachment] = {}
        self._reserved: dict[AttachmentKey, int] = {}
        self._slots: set[int] = set()
        self._gateway = False
        self._next = 1
        self._blocks: dict[int, Block] = {}
        self._all: list[int] = []
        self.fresh = True
        self._recover()

    def _recover(self) -> None:
        for entry in self._journal.load():
            if "boot" in entry:
                self.fresh = entry["boot"] != self._boot
                blocks = entry.get("blocks", {"0": entry["cidrs"]})
                self._blocks = {int(base): tuple(block) for base, block in blocks.items() if block}
                self._next = max(self._next, int(entry.get("next", 1)))
                self._names = dict(entry.get("names", {})) if self.sticky else {}
            elif "add" in entry and not self.fresh:
                attachment = attachment_of(entry["add"])
                self._known[attachment.key] = attachment
                self._next = self._next if attachment.foreign else attachment.slot + 1
            elif "delete" in entry:
                gone = self._known.pop(AttachmentKey(*entry["delete"]), None)
                if self.sticky and gone and gone.pod and not gone.foreign:
                    self._names[gone.pod] = gone.slot
        self._slots = {attachment.slot for attachment in self._known.values()}
        self._gateway = any(not a.host_link and not a.foreign for a in self._known.values())
        self._slots |= {1} if self._gateway else set()
        self._all = _slots_of(self._blocks)
        self._compact()

    def _compact(self) -> None:
        head: Entry = {"boot": self._boot, "cidrs": list(self.cidrs), "next": self._next}
        head |= {"blocks": {str(base): list(block) for base, block in self._blocks.items()}}
        head |= {"names": self._names} if self.sticky else {}
        self._journal.rewrite([head, *({"add": asdict(a)} for a in self._known.values())])

    def use(self, cidrs: Sequence[str]) -> None:
        """Give out addresses of these ranges from now on, one of each family. What was given out stays."""
        with self._lock:
            if cidrs and self._blocks != {0: tuple(cidrs)}:
                self._set({0: tuple(cidrs)})

    def add(self, block: Block) -> None:
        """Give out addresses of one more block; one that is there already is fine."""
        size = capacity(block) + 2
        with self._lock:
            if block in self._blocks.values():
                return
            taken = {slot // size for slot in self._slots if slot < MOST} | {base // size for base in self._blocks}
            base = next(number for number in range(len(taken) + 1) if number not in taken) * size
            if base + size > MOST:
                raise NetworkError(f"a node has at most {MOST // size} blocks of {size} addresses")
            self._set(self._blocks | {base: block})

    def drop(self, block: Block) -> bool:
        """Give out nothing of a block any more, if no pod has an address of it; return whether it is gone. Durable then."""
        with self._lock:
            base = next((base for base, held in self._blocks.items() if held == block), None)
            if base is None:
                return True
            mine = range(base, base + capacity(block) + 2)
            if any(slot in mine for slot in self._slots):
                return False
            self._names = {name: slot for name, slot in self._names.items() if slot not in mine}
            self._set({b: held for b, held in self._blocks.items() if b != base})
            return True

    def _set(self, blocks: dict[int, Block]) -> None:
        self._blocks, self._all = blocks, _slots_of(blocks)
        self._compact()

    @property
    def blocks(self) -> tuple[Block, ...]:
        """What addresses are given out of."""
        return tuple(self._blocks.values())

    @property
    def cidrs(self) -> tuple[str, ...]:
        """The ranges of all blocks."""
        return tuple(cidr for block in self._blocks.values() for cidr in block)

    def unused(self) -> list[Block]:
        """Return the blocks of which no pod has an address."""
        with self._lock:
            sizes = {base: capacity(block) + 2 for base, block in self._blocks.items()}
            return [self._blocks[base] for base in sizes if not any(base <= slot < base + sizes[base] for slot in self._slots)]

    @property
    def attachments(self) -> Mapping[AttachmentKey, Attachment]:
        """A copy of what is known."""
        with self._lock:
            return dict(self._known)

    def get(self, key: AttachmentKey) -> Attachment | None:
        """Return one attachment, or None."""
        with self._lock:
            return self._known.get(key)

    @property
    def free(self) -> int:
        """How many more pods fit."""
        with self._lock:
            return len(self._all) - sum(slot < MOST for slot in self._slots)

    def reserve(
        self, key: AttachmentKey, *, addresses: Sequence[str] = (), ranges: Sequence[str] = (), pod: str = ""
    ) -> tuple[int, tuple[str, ...]]:
        """Take a slot; return it with its addresses. Raises NotReady when there is none, NetworkError for a known key.

        addresses: exactly the slot that has these; ranges: only slots with an address in each of them. The search goes on from
        the last one taken, so that an address rests as long as possible before it is used again; where addresses are sticky, a
        pod gets what one of its name had before, and others get that last.
        """
        with self._lock:
            self._refuse_known(key)
            if not self._all:
                raise NotReady("this node has no pod range yet")
            slot = self._asked_for(addresses) if addresses else self._choose(ranges, pod)
            if not slot:
                where = ", ".join(ranges or self.cidrs)
                raise NotReady(
                    f"no address left in {where}: all {len(self._all)} are in use" if not ranges else f"no address left in {where}"
                )
            self._slots.add(slot)
            self._reserved[key] = slot
            self._next = slot + 1
            return slot, self._addresses(slot)

    @property
    def lends(self) -> bool:
        """Whether addresses of these ranges are given to what other plugins wire: the ranges lead there, then."""
        return self._gateway

    def keep_gateway(self) -> None:
        """Give the first address of each range to nobody: who lends addresses only leads through it. Raises NetworkError."""
        with self._lock:
            if len(self._blocks) > 1 or 0 not in self._blocks:
                raise NetworkError("addresses of blocks are not lent to other plugins: a gateway leads to one range")
            if 1 in self._slots and not self._gateway:
                raise NetworkError(f"the first addresses of {', '.join(self.cidrs)}, for a gateway, are in use")
            self._gateway = True
            self._slots.add(1)

    def reserve_foreign(self, key: AttachmentKey) -> int:
        """Take a slot that stands for no address of ours: for what another plugin gives addresses to."""
        with self._lock:
            self._refuse_known(key)
            slot = next(s for s in range(MOST, 2 * MOST) if s not in self._slots)
            self._slots.add(slot)
            self._reserved[key] = slot
            return slot

    def _refuse_known(self, key: AttachmentKey) -> None:
        if key in self._known or key in self._reserved:
            raise NetworkError(f"{key.interface} of {key.container_id} is attached already")

    def _asked_for(self, addresses: Sequence[str]) -> int:
        found = [(base, slot_of(cidr, asked)) for asked in addresses for base, block in self._blocks.items() for cidr in block]
        slots = {base + slot for base, slot in found if slot}
        if len(slots) != 1:
            raise NetworkError(f"{', '.join(addresses)}: not an address of each of this node's ranges {', '.join(self.cidrs)}")
        (slot,) = slots
        if slot in self._slots:
            raise NetworkError(f"{', '.join(addresses)} is in use")
        return slot

    def _choose(self, ranges: Sequence[str], pod: str) -> int:
        before = self._names.get(pod, 0)
        if before and before not in self._slots and not ranges and before in self._all:
            return before
        free = (s for s in self._from(self._next) if s not in self._slots and self._inside(s, ranges))
        kept = set(self._names.values())
        last = 0
        for slot in free:
            if slot not in kept:
                return slot
            last = last or slot
        return last

    def _from(self, start: int) -> list[int]:
        place = bisect_left(self._all, start)
        return self._all[place:] + self._all[:place]

    def _inside(self, slot: int, ranges: Sequence[str]) -> bool:
        mine = [ip_address(a) for a in self._addresses(slot)] if ranges else []
        return all(any(a in ip_network(r, strict=False) for a in mine) for r in ranges)

    def _addresses(self, slot: int) -> tuple[str, ...]:
        base = max(base for base in self._blocks if base <= slot)
        return tuple(address(cidr, slot - base) for cidr in self._blocks[base])

    def record(self, attachment: Attachment) -> int:
        """Write down what is about to be wired with the reserved slot; return the position to pass to `sync`."""
        with self._lock:
            position = self._journal.append({"add": asdict(attachment)})
            self._known[attachment.key] = attachment
            self._reserved.pop(attachment.key, None)
            return position

    def sync(self, position: int) -> None:
        """Return when what was recorded at position would survive a power cut."""
        self._journal.sync(position)

    def release(self, key: AttachmentKey) -> None:
        """Give a slot back; an unknown key is fine."""
        with self._lock:
            slot = self._reserved.pop(key, 0)
            known = self._known.pop(key, None)
            self._slots.discard(known.slot if known else slot)
            if known:
                if self.sticky and known.pod and not known.foreign:
                    self._names[known.pod] = known.slot
                    if len(self._names) > REMEMBERED:
                        del self._names[next(iter(self._names))]
                self._journal.append({"delete": list(key)})
                if self._journal.lines > COMPACT_AT + 2 * len(self._known):
                    self._compact()


def capacity(cidrs: Sequence[str]) -> int:
    """Return how many pods fit into all ranges: the first and the last address of each are not given out."""
    return min((min(ip_network(cidr).num_addresses, MOST) - 2 for cidr in cidrs), default=0)


def address(cidr: str, slot: int) -> str:
    """Return the slot's address in a range."""
    return str(ip_network(cidr).network_address + slot)


def slot_of(cidr: str, asked: str) -> int:
    """Return the slot that has an address in a range; 0 where it is not in it."""
    network, ip = ip_network(cidr), ip_address(asked.partition("/")[0])
    slot = int(ip) - int(network.network_address) if ip.version == network.version and ip in network else 0
    return slot if 0 < slot <= capacity([cidr]) else 0


def attachment_of(entry: Mapping[str, Any]) -> Attachment:
    """Return the attachment that a journal entry describes."""
    fields = dict(entry) | {
        "key": AttachmentKey(*entry["key"]), "addresses": tuple(entry["addresses"]), "gateways": tuple(entry["gateways"]),
        "ports": tuple(PortMapping(**port) for port in entry["ports"]), "bandwidth": Bandwidth(**entry.get("bandwidth", {})),
    }  # fmt: skip
    return Attachment(**fields)


def _slots_of(blocks: Mapping[int, Block]) -> list[int]:
    return [slot for base in sorted(blocks) for slot in range(base + 1, base + 1 + capacity(blocks[base]))]
