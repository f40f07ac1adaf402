"""What the kernel should hold, by service, and what a change makes of it. Pure.

Two services may claim one element (an external IP used twice, an endpoint of both): then the one whose key sorts first has it,
and when that one goes the other gets it. So the state depends on the services alone, not on the order in which they came.
"""

from __future__ import annotations

from collections.abc import Mapping

from moorings_core.kernel.nftables.changes import Changes, Element
from moorings_core.ports.objects import Key

from .render import Items


class Shadow:
    """The elements of one family."""

    def __init__(self) -> None:
        self._services: dict[Key, Items] = {}
        self._elements: dict[Element, tuple[bytes, Key]] = {}
        self._claims: dict[Element, dict[Key, bytes]] = {}
        self._touched: dict[Element, bytes | None] = {}

    def replace(self, name: Key, items: Items) -> None:
        """Let a service have exactly these elements."""
        old = self._services.get(name, {})
        for element in old:
            if element not in items:
                self._withdraw(name, element)
        for element, data in items.items():
            if old.get(element) != data:
                self._claim(name, element, data)
        if items:
            self._services[name] = items
        else:
            self._services.pop(name, None)

    def load(self, name: Key, items: Items) -> None:
        """As replace, for when the kernel will be compared as a whole: changes are not noted."""
        elements = self._elements
        if name in self._services or any(map(elements.__contains__, items)):
            self.replace(name, items)
            self._touched = {}
        elif items:
            for element, data in items.items():
                elements[element] = (data, name)
            self._services[name] = items

    def take(self) -> Changes:
        """Return what changed since the last take."""
        changes = Changes()
        for element, before in self._touched.items():
            now = self._elements.get(element)
            changes.replace(element, before, now[0] if now else None)
        self._touched = {}
        return changes

    def desired(self) -> dict[str, dict[bytes, bytes]]:
        """Return every element by map."""
        found: dict[str, dict[bytes, bytes]] = {}
        for (name, key), (data, _) in self._elements.items():
            found.setdefault(name, {})[key] = data
        return found

    def _touch(self, element: Element) -> None:
        if element not in self._touched:
            now = self._elements.get(element)
            self._touched[element] = now[0] if now else None

    def _claim(self, name: Key, element: Element, data: bytes) -> None:
        self._touch(element)
        holder = self._elements.get(element)
        if element not in self._claims and (holder is None or holder[1] == name):
            self._elements[element] = (data, name)
            return
        claims = self._claims.setdefault(element, {holder[1]: holder[0]} if holder else {})
        claims[name] = data
        self._award(element, claims)

    def _withdraw(self, name: Key, element: Element) -> None:
        self._touch(element)
        claims = self._claims.get(element)
        if claims is None:
            self._elements.pop(element, None)
            return
        claims.pop(name, None)
        self._award(element, claims)
        if len(claims) == 1:
            del self._claims[element]

    def _award(self, element: Element, claims: Mapping[Key, bytes]) -> None:
        first = min(claims)
        self._elements[element] = (claims[first], first)
