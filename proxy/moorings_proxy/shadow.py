"""What the kernel should hold, by service, and what a change makes of it. Pure.

Two services may claim one element (an external IP used twice, an endpoint of both): then the one whose key sorts first has it,
and when that one goes the other gets it. So the state depends on the services alone, not on the order in which they came.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from moorings_core.kernel.nftables.changes import Changes, Element
from moorings_core.ports.objects import Key

from .render import Items

Kept = tuple[str | bytes, ...]
"""A service's elements as they are kept: map, key, data, one after another. There are many: a dict of them takes three times as much."""


class Shadow:
    """The elements of one family."""

    def __init__(self) -> None:
        self._services: dict[Key, Kept] = {}
        self._holders: dict[str, dict[bytes, Key]] = defaultdict(dict)
        self._claims: dict[Element, dict[Key, bytes]] = {}
        self._touched: dict[Element, bytes | None] = {}

    def replace(self, name: Key, items: Items) -> None:
        """Let a service have exactly these elements."""
        old = self._items(name)
        for element in old:
            if element not in items:
                self._withdraw(name, element, old)
        for element, data in items.items():
            if old.get(element) != data:
                self._claim(name, element, data, old)
        self._keep(name, items)

    def load(self, name: Key, items: Items) -> None:
        """As replace, for when the kernel will be compared as a whole: changes are not noted."""
        holders = self._holders
        if name not in self._services:
            for which, key in items:
                if holders[which].setdefault(key, name) is not name:
                    break  # somebody else claims it, too
            else:
                self._keep(name, items)
                return
            for which, key in items:
                if holders[which].get(key) is name:
                    del holders[which][key]
        self.replace(name, items)
        self._touched = {}

    def take(self) -> Changes:
        """Return what changed since the last take."""
        changes = Changes()
        of: dict[Key, Items] = {}
        for element, before in self._touched.items():
            holder = self._holder(element)
            if holder is not None and holder not in of:
                of[holder] = self._items(holder)
            changes.replace(element, before, of[holder][element] if holder is not None else None)
        self._touched = {}
        return changes

    def desired(self) -> dict[str, dict[bytes, bytes]]:
        """Return every element by map."""
        found: dict[str, dict[bytes, bytes]] = defaultdict(dict)
        for kept in self._services.values():
            parts: Any = iter(kept)
            for which, key, data in zip(parts, parts, parts, strict=True):
                found[which][key] = data
        for (which, key), claims in self._claims.items():
            found[which][key] = claims[self._holders[which][key]]
        return dict(found)

    def _keep(self, name: Key, items: Items) -> None:
        if items:
            self._services[name] = tuple(part for (which, key), data in items.items() for part in (which, key, data))
        else:
            self._services.pop(name, None)

    def _items(self, name: Key) -> Items:
        kept: Any = self._services.get(name, ())
        return dict(zip(zip(kept[::3], kept[1::3], strict=True), kept[2::3], strict=True))

    def _holder(self, element: Element) -> Key | None:
        return self._holders[element[0]].get(element[1])

    def _now(self, element: Element) -> bytes | None:
        holder = self._holder(element)
        if holder is None:
            return None
        claims = self._claims.get(element)
        return claims[holder] if claims else self._items(holder)[element]

    def _touch(self, element: Element, now: bytes | None) -> None:
        self._touched.setdefault(element, now)

    def _claim(self, name: Key, element: Element, data: bytes, old: Items) -> None:
        holder = self._holder(element)
        claims = self._claims.get(element)
        if claims is None and holder in (None, name):
            self._touch(element, old.get(element))
            self._holders[element[0]][element[1]] = name
            return
        self._touch(element, self._now(element))
        if claims is None:
            assert holder is not None
            claims = self._claims[element] = {holder: self._items(holder)[element]}
        claims[name] = data
        self._award(element, claims)

    def _withdraw(self, name: Key, element: Element, old: Items) -> None:
        claims = self._claims.get(element)
        if claims is None:
            self._touch(element, old[element])
            del self._holders[element[0]][element[1]]
            return
        self._touch(element, self._now(element))
        claims.pop(name, None)
        self._award(element, claims)
        if len(claims) == 1:
            del self._claims[element]

    def _award(self, element: Element, claims: Mapping[Key, bytes]) -> None:
        self._holders[element[0]][element[1]] = min(claims)
