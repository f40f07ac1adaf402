"""Which service has what in the kernel, and what a change makes of it. Pure.

Two services may claim one place (an external IP and port used twice): then the one whose key sorts first has all that is there,
and when that one goes the other gets it. So the state depends on the services alone, not on the order in which they came.
Elements are not kept: there are many, and a service's are made anew from what it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from moorings_core.kernel.nftables.changes import Changes, Element
from moorings_core.ports.objects import Key

from .render import Items

SHARED = frozenset({"hairpin", "vips", "cluster_ips", "routed"})
"""Sets in which an element is a place by itself; in all others a place is an address, protocol and port (a NodePort: without address)."""


class Place(NamedTuple):
    """What one service has as a whole or not at all; kind: "", "np", or one of SHARED."""

    kind: str
    key: bytes


Grouped = dict[Place, dict[Element, bytes]]


class Shadow:
    """Who has which place in one family."""

    def __init__(self, length: int, items_of: Callable[[Key], Items]) -> None:
        """length: bytes of a place that is no NodePort; items_of says what a service has, or would have if it had its places."""
        self._length, self._items_of = length, items_of
        self._owners: dict[str, dict[bytes, Key]] = defaultdict(dict)
        self._claims: dict[Place, set[Key]] = {}
        """Who wants a place that more than one wants."""
        self._touched: dict[Element, tuple[bytes | None, bytes | None]] = {}

    def load(self, services: Iterable[tuple[Key, Items]]) -> dict[str, dict[bytes, bytes]]:
        """Take in all services, sorted by key, in place of what is known; return every element by map."""
        self._owners, self._claims, self._touched = defaultdict(dict), {}, {}
        found: dict[str, dict[bytes, bytes]] = defaultdict(dict)
        for name, items in services:
            for (which, key), data in items.items():
                kind, place = self._place(which, key)
                owner = self._owners[kind].setdefault(place, name)
                if owner is name:
                    found[which][key] = data
                else:
                    self._claims.setdefault(Place(kind, place), {owner}).add(name)
        return dict(found)

    def replace(self, name: Key, old: Items, new: Items) -> None:
        """Let a service that had the old elements have the new ones."""
        before, after = self._grouped(old), self._grouped(new)
        for place in before.keys() | after.keys():
            gone = self._at(place, name, before)
            self._claim(place, name, wanted=place in after)
            come = self._at(place, name, after)
            for element in gone.keys() | come.keys():
                first, _ = self._touched.get(element, (gone.get(element), None))
                self._touched[element] = first, come.get(element)

    def take(self) -> Changes:
        """Return what changed since the last take."""
        changes = Changes()
        for element, (before, after) in self._touched.items():
            changes.replace(element, before, after)
        self._touched = {}
        return changes

    def _place(self, which: str, key: bytes) -> tuple[str, bytes]:
        if which in SHARED:
            return which, key
        return ("np", key[:8]) if which.startswith("np") else ("", key[: self._length])

    def _grouped(self, items: Items) -> Grouped:
        found: Grouped = defaultdict(dict)
        for element, data in items.items():
            found[Place(*self._place(*element))][element] = data
        return found

    def _at(self, place: Place, name: Key, groups: Grouped) -> dict[Element, bytes]:
        """Return what is at a place now; groups: what the service called name would have there."""
        owner = self._owners[place.kind].get(place.key)
        if owner is None:
            return {}
        return groups.get(place, {}) if owner == name else self._grouped(self._items_of(owner))[place]

    def _claim(self, place: Place, name: Key, *, wanted: bool) -> None:
        owners = self._owners[place.kind]
        owner = owners.get(place.key, name)
        claims = self._claims.pop(place, {owner} if place.key in owners else set())
        (claims.add if wanted else claims.discard)(name)
        if claims:
            owners[place.key] = min(claims)
        else:
            owners.pop(place.key, None)
        if len(claims) > 1:
            self._claims[place] = claims
