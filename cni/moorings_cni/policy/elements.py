"""What one pod of this node may, as set elements: its rules, and those multiplied by the classes that meet them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from .layout import ANY, class_key, port_key
from .model import EGRESS, INGRESS, LAST_PORT, PROTOCOLS, Peer, Pod, Policy, Port

SIDES = {INGRESS: "in", EGRESS: "out"}


class Entry(NamedTuple):
    """One thing that is allowed: a peer (None: every one), a protocol's number (0: all), ports, or a port's name at the peer."""

    peer: Peer | None
    protocol: int = 0
    first: int = 0
    last: int = LAST_PORT
    name: str = ""


class Named(NamedTuple):
    """A peer's pods where a port of that name has that number: number 0 asks for all of them."""

    peer: Peer | None
    name: str
    protocol: int
    number: int = 0


Term = Peer | Named
Class = frozenset[Term]
Entries = frozenset[Entry]
Suffix = tuple[str, bytes, bytes]
"""The kind of set, the key after the pod's address, and (ranges only) the key's end after it."""
OPEN = Entry(None)
CLOSED: Entries = frozenset()


def entries(pod: Pod, policies: Iterable[Policy], direction: str) -> Entries | None:
    """Return what a pod may in a direction; None where nothing isolates it."""
    mine = [p for p in policies if direction in p.types and p.selects(pod)]
    found = frozenset(entry for policy in mine for entry in _of(policy, pod, direction))
    return None if not mine or OPEN in found else found


def _of(policy: Policy, pod: Pod, direction: str) -> Iterable[Entry]:
    for rule in policy.rules(direction):
        for peer in rule.peers or (None,):
            if not rule.ports:
                yield Entry(peer)
            for port in rule.ports:
                yield from _entries(peer, port, pod, direction)


def _entries(peer: Peer | None, port: Port, pod: Pod, direction: str) -> Iterable[Entry]:
    protocol = PROTOCOLS.get(port.protocol)
    if protocol is None:
        return
    if not port.name:
        yield Entry(peer, protocol, port.first, port.last)
    elif direction == EGRESS:
        yield Entry(peer, protocol, 0, 0, port.name)
    else:
        yield from (Entry(peer, protocol, number, number) for number in pod.numbers(port.name, port.protocol))


def terms(all_entries: Iterable[Entries]) -> Class:
    """Return what has to be known about peers; of `Named` with number 0."""
    found: set[Term] = set()
    for entry in (entry for one in all_entries for entry in one):
        if entry.name:
            found.add(Named(entry.peer, entry.name, entry.protocol))
        elif entry.peer is not None:
            found.add(entry.peer)
    return frozenset(found)


def suffixes(allowed: Entries, classes: Mapping[Class, int]) -> list[Suffix]:
    """Return the elements without the pod's address."""
    found = _packed(ANY, [(e.protocol, e.first, e.last) for e in allowed if e.peer is None and not e.name])
    direct: dict[Peer, list[tuple[int, int, int]]] = {}
    named: dict[tuple[Peer | None, str, int], bool] = {}
    for entry in allowed:
        if entry.name:
            named[entry.peer, entry.name, entry.protocol] = True
        elif entry.peer is not None:
            direct.setdefault(entry.peer, []).append((entry.protocol, entry.first, entry.last))
    for members, number in classes.items():
        ports: list[tuple[int, int, int]] = []
        for term in members:
            if not isinstance(term, Named):
                ports += direct.get(term, ())
            elif (term.peer, term.name, term.protocol) in named:
                ports.append((term.protocol, term.number, term.number))
        found += _packed(number, ports)
    return found


def _packed(number: int, ports: Sequence[tuple[int, int, int]]) -> list[Suffix]:
    key = class_key(number)
    if any(protocol == 0 for protocol, _, _ in ports):
        return [("all", key, b"")]
    found: list[Suffix] = []
    for protocol in sorted({protocol for protocol, _, _ in ports}):
        for first, last in merged((first, last) for other, first, last in ports if other == protocol):
            if first == last:
                found.append(("port", key + port_key(protocol, first), b""))
                continue
            interval = class_key(number, interval=True)
            found.append(("range", interval + port_key(protocol, first), interval + port_key(protocol, last)))
    return found


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges that do not overlap: the kernel refuses one that does. Those that touch stay: single ports are found fastest."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found
