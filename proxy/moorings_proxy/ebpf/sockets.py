"""What the programs are to know: which addresses lead to which endpoints. Pure, but for `Sockets`, which writes it.

A frontend (address, port, protocol) has a number under which its endpoints are. A change gives it a new number, whose endpoints
are written before: so a program sees those before or those after, never a mixture.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Mapping, Sequence
from socket import AF_INET, AF_INET6, inet_pton

from moorings_core.kernel.bpf import Map
from moorings_core.log import get_logger
from moorings_core.ports.objects import Key
from moorings_core.ports.proxy import Endpoint, ServiceEntry, ServicePort
from moorings_proxy.layout import PROTOCOLS
from moorings_proxy.packed import PackedTable
from moorings_proxy.render import Items
from moorings_proxy.shadow import Shadow

log = get_logger(__name__)
PIECE = 1024
"""Frontends that are written together."""
LED = ("TCP", "UDP")
"""Protocols whose sockets have hooks."""
_PAIR = struct.Struct("=II")
BACKEND_BYTES = 20
MAPPED = bytes(10) + b"\xff\xff"
WHICH = "sockets"


def packed(address: str) -> bytes:
    """Return an address as the maps have it: IPv4 in its IPv6 form."""
    return inet_pton(AF_INET6, address) if ":" in address else MAPPED + inet_pton(AF_INET, address)


def frontend(address: str, port: int, protocol: str) -> bytes:
    """Return a key of `frontends`."""
    return packed(address) + struct.pack(">HBx", port, PROTOCOLS[protocol])


def backend(address: str, port: int) -> bytes:
    """Return a value of `backends`."""
    return packed(address) + struct.pack(">Hxx", port)


def render(entry: ServiceEntry) -> Items:
    """Return frontend -> backends of a Service; none where it is left to nftables, but its place is its own all the same.

    Left are NodePorts, ports with affinity (whose memory is there), load balancers' addresses with source ranges, and what has no
    endpoint: programs lead where any client of the node may go.
    """
    items: Items = {}
    for port in entry.ports:
        if port.protocol in LED:
            inside = port.local_endpoints if entry.internal_local else port.endpoints
            _lead(items, entry.cluster_ips, port, () if entry.affinity else inside)
            # Who is on the node sees all of a Service whose external policy is Local.
            _lead(items, entry.external_ips, port, () if entry.affinity else port.endpoints)
            _lead(items, entry.load_balancer_ips, port, () if entry.affinity or entry.source_ranges else port.endpoints)
    return items


def _lead(items: Items, addresses: Iterable[str], port: ServicePort, endpoints: Sequence[Endpoint]) -> None:
    for address in addresses:
        family = (backend(e.address, e.port) for e in endpoints if (":" in e.address) == (":" in address))
        items[WHICH, frontend(address, port.port, port.protocol)] = b"".join(family)


class Sockets:
    """The table in the kernel: `frontends` and `backends`. Blocking; calls come one at a time."""

    def __init__(self) -> None:
        self._entries = PackedTable()
        self._shadow = Shadow(BACKEND_BYTES, lambda name: render(self._entries[name]))
        self._next = 1

    def sync(self, table: Mapping[Key, ServiceEntry], frontends: Map, backends: Map) -> int:
        """Make the maps hold exactly this table; return how many frontends were otherwise. Raises OSError."""
        self._entries = PackedTable(table)
        return self.repair(frontends, backends)

    def repair(self, frontends: Map, backends: Map) -> int:
        """Compare everything and repair it; return how many differences there were. Raises OSError."""
        every = self._shadow.load((name, render(self._entries[name])) for name in sorted(self._entries)).get(WHICH, {})
        desired = {key: data for key, data in every.items() if data}
        choices, slots = frontends.items(), backends.items()
        actual, orphans = read(choices, slots)
        self._next = 1 + max((_PAIR.unpack(pair)[0] for pair in (*slots, *choices.values())), default=0)
        wrong = {key: data for key, data in desired.items() if actual.get(key) != data}
        gone = [key for key in choices if key not in desired]
        self._write(wrong, gone, frontends, backends)
        backends.delete(orphans)
        return len(wrong) + len(gone) + len(orphans)

    def change(self, delta: Mapping[Key, ServiceEntry | None], frontends: Map, backends: Map) -> None:
        """Take in changes. Raises OSError, after which `repair` is due."""
        for name, entry in delta.items():
            old = render(self._entries[name]) if name in self._entries else {}
            self._shadow.replace(name, old, render(entry) if entry else {})
            if entry is not None:
                self._entries[name] = entry
            else:
                self._entries.pop(name, None)
        changes = self._shadow.take()
        added = {key: data for key, data in changes.add.get(WHICH, {}).items() if data}
        self._write(added, [key for key in changes.delete.get(WHICH, ()) if key not in added], frontends, backends)

    def _write(self, wanted: Mapping[bytes, bytes], gone: Sequence[bytes], frontends: Map, backends: Map) -> None:
        before = [choice for key in (*wanted, *gone) if (choice := frontends.get(key))]
        keys = list(wanted)
        for start in range(0, len(keys), PIECE):
            piece = keys[start : start + PIECE]
            choices, slots = self._number({key: wanted[key] for key in piece})
            try:
                backends.update(slots)
                frontends.update(choices)
            except OSError as error:
                frontends.delete(piece)
                backends.delete(slots)
                if error.errno != errno.E2BIG:
                    raise
                log.warning("the maps are full: nftables serves the rest", frontends=len(piece))
        frontends.delete(gone)
        backends.delete([key for choice in before for key in _slots(choice)])

    def _number(self, wanted: Mapping[bytes, bytes]) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
        """Give frontends new numbers; return what the two maps are to hold for them."""
        choices, slots = {}, {}
        for key, data in wanted.items():
            count = len(data) // BACKEND_BYTES
            choices[key] = _PAIR.pack(self._next, count)
            for number in range(count):
                slots[_PAIR.pack(self._next, number)] = data[number * BACKEND_BYTES : (number + 1) * BACKEND_BYTES]
            self._next += 1
        return choices, slots


def read(choices: Mapping[bytes, bytes], slots: Mapping[bytes, bytes]) -> tuple[dict[bytes, bytes], list[bytes]]:
    """Return frontend -> backends as the maps have them, and the slots that no frontend leads to."""
    used: set[bytes] = set()
    found = {}
    for key, choice in choices.items():
        mine = _slots(choice)
        used.update(mine)
        found[key] = b"".join(slots.get(slot, b"") for slot in mine)
    return found, [slot for slot in slots if slot not in used]


def _slots(choice: bytes) -> list[bytes]:
    number, count = _PAIR.unpack(choice)
    return [_PAIR.pack(number, n) for n in range(count)]
