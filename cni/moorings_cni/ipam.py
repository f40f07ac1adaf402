"""Addresses of pods on this node: a slot for each attachment, and the slot's address in each of the node's pod ranges.

Everything is in memory; the journal brings it back. A slot is taken before anything is wired and given back after everything
is unwired, so a crash in between can leave a slot taken (found and freed by `PodNetwork.recover`) and never one taken twice.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from ipaddress import ip_network
from typing import Any

from moorings_core.ports.network import Attachment, AttachmentKey, NetworkError, NotReady, PortMapping

from .journal import Entry, Journal

MOST = 1 << 16
COMPACT_AT = 1000


class Ipam:
    """The attachments of this node, by key; fresh: none can be left of an earlier life. Safe for use from several threads."""

    def __init__(self, journal: Journal, boot: str) -> None:
        """journal is where it is kept; boot names this run of the machine (what was wired in another one is gone)."""
        self._journal, self._boot = journal, boot
        self._lock = threading.Lock()
        self._known: dict[AttachmentKey, Attachment] = {}
        self._reserved: dict[AttachmentKey, int] = {}
        self._slots: set[int] = set()
        self._next = 1
        self.cidrs: tuple[str, ...] = ()
        self.fresh = True
        self._recover()

    def _recover(self) -> None:
        for entry in self._journal.load():
            if "boot" in entry:
                self.fresh = entry["boot"] != self._boot
                self.cidrs = tuple(entry["cidrs"])
                self._next = max(self._next, int(entry.get("next", 1)))
            elif "add" in entry and not self.fresh:
                attachment = attachment_of(entry["add"])
                self._known[attachment.key] = attachment
                self._next = attachment.slot + 1
            elif "delete" in entry:
                self._known.pop(AttachmentKey(*entry["delete"]), None)
        self._slots = {attachment.slot for attachment in self._known.values()}
        self._compact()

    def _compact(self) -> None:
        head: Entry = {"boot": self._boot, "cidrs": list(self.cidrs), "next": self._next}
        self._journal.rewrite([head, *({"add": asdict(a)} for a in self._known.values())])

    def use(self, cidrs: Sequence[str]) -> None:
        """Give out addresses of these ranges from now on, one of each family. What was given out stays."""
        with self._lock:
            if tuple(cidrs) != self.cidrs and cidrs:
                self.cidrs = tuple(cidrs)
                self._compact()

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
            return capacity(self.cidrs) - len(self._slots)

    def reserve(self, key: AttachmentKey) -> tuple[int, tuple[str, ...]]:
        """Take a slot; return it with its addresses. Raises NotReady when there is none, NetworkError for a known key.

        The search goes on from the last one taken, so that an address rests as long as possible before it is used again.
        """
        with self._lock:
            if key in self._known or key in self._reserved:
                raise NetworkError(f"{key.interface} of {key.container_id} is attached already")
            total = capacity(self.cidrs)
            if not total:
                raise NotReady("this node has no pod range yet")
            slot = next((s for s in _from(self._next, total) if s not in self._slots), 0)
            if not slot:
                raise NotReady(f"no address left in {', '.join(self.cidrs)}: all {total} are in use")
            self._slots.add(slot)
            self._reserved[key] = slot
            self._next = slot + 1
            return slot, tuple(address(cidr, slot) for cidr in self.cidrs)

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
                self._journal.append({"delete": list(key)})
                if self._journal.lines > COMPACT_AT + 2 * len(self._known):
                    self._compact()


def capacity(cidrs: Sequence[str]) -> int:
    """Return how many pods fit into all ranges: the first and the last address of each are not given out."""
    return min((min(ip_network(cidr).num_addresses, MOST) - 2 for cidr in cidrs), default=0)


def address(cidr: str, slot: int) -> str:
    """Return the slot's address in a range."""
    return str(ip_network(cidr).network_address + slot)


def attachment_of(entry: Mapping[str, Any]) -> Attachment:
    """Return the attachment that a journal entry describes."""
    fields = dict(entry) | {
        "key": AttachmentKey(*entry["key"]), "addresses": tuple(entry["addresses"]), "gateways": tuple(entry["gateways"]),
        "ports": tuple(PortMapping(**port) for port in entry["ports"]),
    }  # fmt: skip
    return Attachment(**fields)


def _from(start: int, total: int) -> list[int]:
    start = start if 1 <= start <= total else 1
    return [*range(start, total + 1), *range(1, start)]
