"""The served kinds: what discovery tells, with the schema. Built-in ones come from the facts; others are added at run time."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from moorings_core.ports.objects import Resource

from .facts import definition_of, facts
from .schema import Schema, named


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

    @functools.cached_property
    def schema(self) -> Schema | None:
        """The schema of its objects, or None for a kind without one."""
        return named(self.definition) if self.definition else None


class Registry:
    """All kinds, in the order that discovery shows them."""

    def __init__(self, kinds: Iterable[Kind], groups: Sequence[tuple[str, tuple[str, ...]]]) -> None:
        self._kinds: dict[tuple[str, str, str], Kind] = {}
        self._by_kind: dict[tuple[str, str, str], Kind] = {}
        self.groups: list[tuple[str, tuple[str, ...]]] = list(groups)
        """(group, versions with the preferred one first), without the core group"""
        for kind in kinds:
            self.add(kind)

    def add(self, kind: Kind) -> None:
        """Serve a kind from now on, in place of what had its name."""
        resource = kind.resource
        self._kinds[resource.group, resource.version, resource.plural] = kind
        self._by_kind.setdefault((resource.group, resource.version, resource.kind), kind)

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
