"""A table of Services that takes as little memory as it can: each entry is kept as bytes, and read when it is asked for."""

from __future__ import annotations

import marshal
from collections.abc import Iterator, Mapping, MutableMapping

from moorings_core.ports.objects import Key
from moorings_core.ports.proxy import Endpoint, ServiceEntry, ServicePort


def _pack(entry: ServiceEntry) -> bytes:
    """Encode, and copy: what an encoder returns lies in a buffer that was cut short, and the rest is lost to others."""
    ports = [(p.protocol, p.port, p.node_port, _plain(p.endpoints), _plain(p.local_endpoints)) for p in entry.ports]
    rest = (
        entry.cluster_ips, entry.external_ips, entry.load_balancer_ips, entry.source_ranges,
        entry.internal_local, entry.external_local, entry.affinity, entry.health_port, entry.local_ready,
    )  # fmt: skip
    return bytes(memoryview(marshal.dumps((ports, rest))))


def _plain(endpoints: tuple[Endpoint, ...]) -> tuple[tuple[str, int, bool], ...]:
    return tuple((address, port, local) for address, port, local in endpoints)


def _unpack(data: bytes) -> ServiceEntry:
    ports, rest = marshal.loads(data)
    made = (ServicePort(protocol, port, node, _endpoints(every), _endpoints(near)) for protocol, port, node, every, near in ports)
    return ServiceEntry(tuple(made), *rest)


def _endpoints(plain: tuple[tuple[str, int, bool], ...]) -> tuple[Endpoint, ...]:
    return tuple(map(Endpoint._make, plain))


class PackedTable(MutableMapping[Key, ServiceEntry]):
    """A table. What is read is equal to what was written, and a new object each time."""

    def __init__(self, table: Mapping[Key, ServiceEntry] | None = None) -> None:
        """Take in a table; one that is packed shares its entries' bytes."""
        self._packed: dict[Key, bytes] = {}
        if isinstance(table, PackedTable):
            self._packed |= table._packed
        else:
            self.update(table or {})

    def having(self, character: str) -> PackedTable:
        """Return the entries in which a character may occur: those without a colon have no address of IPv6, and need not be read."""
        found = PackedTable()
        found._packed = {name: data for name, data in self._packed.items() if character.encode() in data}
        return found

    def __getitem__(self, name: Key) -> ServiceEntry:
        return _unpack(self._packed[name])

    def __setitem__(self, name: Key, entry: ServiceEntry) -> None:
        self._packed[name] = _pack(entry)

    def __delitem__(self, name: Key) -> None:
        del self._packed[name]

    def __contains__(self, name: object) -> bool:
        return name in self._packed

    def __iter__(self) -> Iterator[Key]:
        return iter(self._packed)

    def __len__(self) -> int:
        return len(self._packed)
