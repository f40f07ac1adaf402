"""The served kinds: what discovery tells, with the schema. Built-in ones come from the facts; others are added at run time."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from moorings_core.ports.objects import Resource

from .facts import definition_of, facts
from .merged import Part
from .schema import Schema, named

if TYPE_CHECKING:
    from .custom.kind import CustomVersion


@dataclass(frozen=True, slots=True)
class Subresource:
    """A subresource and the kind of its body."""

    name: str
    group: str
    version: str
    kind: str
    verbs: tuple[str, ...]


@dataclass(frozen=True)
class Kind:
    """A served resource with everything a client can ask of it."""

    resource: Resource
    singular: str
    verbs: tuple[str, ...]
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: Mapping[str, Subresource] = field(default_factory=dict)
    definition: str = ""
    custom: CustomVersion | None = None
    """How its objects are handled, where a CustomResourceDefinition made it"""

    @functools.cached_property
    def schema(self) -> Schema | None:
        """The schema of its objects, or None for a kind without one."""
        if self.custom is not None:
            return self.custom.schema
        return named(self.definition) if self.definition else None


class Registry:
    """All kinds, in the order that discovery shows them."""

    def __init__(self, kinds: Iterable[Kind], groups: Sequence[tuple[str, tuple[str, ...]]]) -> None:
        self._kinds: dict[tuple[str, str, str], Kind] = {}
        self._by_kind: dict[tuple[str, str, str], Kind] = {}
        self._own_groups = list(groups)
        self.groups: list[tuple[str, tuple[str, ...]]] = list(groups)
        """(group, versions with the preferred one first), without the core group"""
        self.remote: dict[tuple[str, str], Sequence[Mapping[str, object]]] = {}
        """The resources of the group versions that other servers serve, as aggregated discovery lists them"""
        self.remote_schemas: dict[tuple[str, str], Part] = {}
        """What those servers say of these resources in their OpenAPI v2 documents"""
        self.changes = 0
        """How often kinds were added or taken away at run time: what was concluded from them holds no longer than this"""
        for kind in kinds:
            self.add(kind)

    def add(self, kind: Kind) -> None:
        """Serve a kind from now on, in place of what had its name."""
        resource = kind.resource
        self._kinds[resource.group, resource.version, resource.plural] = kind
        self._by_kind.setdefault((resource.group, resource.version, resource.kind), kind)

    def extend(self, kinds: Iterable[Kind], groups: Mapping[str, tuple[str, ...]]) -> None:
        """Serve these kinds beside the built-in ones, in place of those that were there so; groups are theirs, with their versions."""
        self.changes += 1
        for place in [p for p, k in self._kinds.items() if k.custom is not None]:
            gone = self._kinds.pop(place)
            self._by_kind.pop((place[0], place[1], gone.resource.kind), None)
        for kind in kinds:
            if (kind.resource.group, kind.resource.version, kind.resource.plural) not in self._kinds:
                self.add(kind)
        own = {name: (*versions, *(v for v in groups.get(name, ()) if v not in versions)) for name, versions in self._own_groups}
        self.groups[:] = [*own.items(), *((n, v) for n, v in sorted(groups.items()) if n not in own)]

    def all_groups(self) -> list[tuple[str, tuple[str, ...]]]:
        """Return the groups with those that other servers serve."""
        known = dict(self.groups)
        for group, version in sorted(self.remote):
            if version not in known.get(group, ()):
                known[group] = (*known.get(group, ()), version)
        return list(known.items())

    def lookup(self, group: str, version: str, plural: str) -> Kind | None:
        """Return a kind by its path, or None."""
        return self._kinds.get((group, version, plural))

    def by_kind(self, group: str, version: str, kind: str) -> Kind | None:
        """Return a kind by the name its objects carry, or None."""
        return self._by_kind.get((group, version, kind))

    def kinds(self) -> Sequence[Kind]:
        """Return all kinds."""
        return list(self._kinds.values())

    def of(self, group: str, version: str) -> Sequence[Kind]:
        """Return the kinds of one group version, by plural."""
        found = [k for k in self._kinds.values() if (k.resource.group, k.resource.version) == (group, version)]
        return sorted(found, key=lambda k: k.resource.plural)


def built_in() -> Registry:
    """Return a registry of every kind that a default server serves."""
    loaded = facts()
    groups = [(g["name"], tuple(g["versions"])) for g in loaded["groups"]]
    return Registry((_kind(entry) for entry in loaded["resources"]), groups)


def _kind(entry: dict[str, object]) -> Kind:
    raw: dict[str, str] = entry  # type: ignore[assignment]
    resource = Resource(raw["group"], raw["version"], raw["plural"], raw["kind"], bool(entry["namespaced"]))
    subresources: dict[str, dict[str, str]] = entry["subresources"]  # type: ignore[assignment]
    return Kind(
        resource,
        raw["singular"],
        tuple(raw["verbs"]),
        tuple(raw["shortNames"]),
        tuple(raw["categories"]),
        {n: Subresource(n, s["group"], s["version"], s["kind"], tuple(s["verbs"])) for n, s in subresources.items()},
        definition_of(raw["group"], raw["version"], raw["kind"]),
    )
