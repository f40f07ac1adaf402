"""What is to be added to and deleted from sets and maps, by name: between two states that are both known. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Element = tuple[str, bytes]
"""(set or map, key)"""


@dataclass(slots=True)
class Changes:
    """Elements to add and to delete, by map; one that changes its data is in both."""

    add: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    delete: dict[str, list[bytes]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.add or self.delete)

    @property
    def count(self) -> int:
        """How many operations on elements."""
        return sum(map(len, self.add.values())) + sum(map(len, self.delete.values()))

    def skip(self, elements: Iterable[Element]) -> None:
        """Leave elements as they are."""
        for name, key in elements:
            self.add.get(name, {}).pop(key, None)
            if key in self.delete.get(name, ()):
                self.delete[name].remove(key)

    def replace(self, element: Element, before: bytes | None, after: bytes | None) -> None:
        """Note that an element goes from before to after; None: absent."""
        if before == after:
            return
        name, key = element
        if before is not None:
            self.delete.setdefault(name, []).append(key)
        if after is not None:
            self.add.setdefault(name, {})[key] = after


def difference(desired: Mapping[str, Mapping[bytes, bytes]], actual: Mapping[str, Mapping[bytes, bytes]]) -> Changes:
    """Return what makes the actual elements the desired ones."""
    changes = Changes()
    for name in desired.keys() | actual.keys():
        want, have = desired.get(name, {}), actual.get(name, {})
        if not have:
            if want:
                changes.add[name] = dict(want)
            continue
        for key in have.keys() - want.keys():
            changes.replace((name, key), have[key], None)
        for key, data in want.items():
            if have.get(key) != data:
                changes.replace((name, key), have.get(key), data)
    return changes
