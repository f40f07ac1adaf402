"""The configured webhooks, read from the cache again when a configuration changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moorings_core.api.admission.matching import GROUP, Equivalents, Match, Place, parsed
from moorings_core.api.cache import Cache, Change
from moorings_core.ports.objects import Object, Resource
from moorings_core.registry.kinds import Registry
from moorings_core.registry.selectors import LabelSelector

if TYPE_CHECKING:
    from moorings_core.api.admission.expressions import Condition

KINDS = {"mutating": "mutatingwebhookconfigurations", "validating": "validatingwebhookconfigurations"}
UNTOUCHED = frozenset(
    {
        *KINDS.values(),
        *("validatingadmissionpolicies", "validatingadmissionpolicybindings"),
        *("mutatingadmissionpolicies", "mutatingadmissionpolicybindings"),
    }
)
"""What no webhook or policy looks at, so that none can keep itself from being taken away"""
VIRTUAL = frozenset({"authentication.k8s.io", "authorization.k8s.io"})


@dataclass(frozen=True, slots=True)
class Hook:
    """One webhook of one configuration."""

    configuration: str
    name: str
    index: int
    client: Object
    rules: tuple[Object, ...]
    versions: tuple[str, ...]
    namespaces: LabelSelector
    objects: LabelSelector
    conditions: tuple[Condition, ...]
    fails_closed: bool
    equivalent: bool
    side_effects: str
    timeout: float
    reinvoked: bool

    @property
    def identity(self) -> tuple[str, str, int]:
        """What tells it from others."""
        return self.configuration, self.name, self.index


class Hooks:
    """All webhooks of one kind, by the name of their configuration and their place in it."""

    def __init__(self, cache: Cache, registry: Registry, kind: str) -> None:
        self._collection = cache.collection(GROUP, KINDS[kind])
        self._collection.listeners[self._forget] = None
        self._equivalents = Equivalents(registry)
        self._hooks: list[Hook] | None = None
        self._registry = registry
        self._found: dict[tuple[int, Place, tuple[str, str, str]], Sequence[tuple[Hook, Match]]] = {}

    def __bool__(self) -> bool:
        return bool(self._collection.items)

    def about(self, operation: str, resource: Resource, subresource: str, kind: tuple[str, str, str]) -> Sequence[tuple[Hook, Match]]:
        """Return the webhooks whose rules name a write, and as what."""
        if not self._collection.items or untouched(resource):
            return ()
        place = (self._registry.changes, (operation, resource, subresource), kind)
        found = self._found.get(place)
        if found is None:
            found = self._found[place] = self._search(*place[1:])
        return found

    def _search(self, place: Place, kind: tuple[str, str, str]) -> Sequence[tuple[Hook, Match]]:
        if self._hooks is None:
            self._hooks = [hook for stored in self._collection.select() for hook in _hooks(stored.object)]
        matches = ((h, self._equivalents.match(h.rules, place, kind, equivalent=h.equivalent)) for h in self._hooks)
        return [(hook, match) for hook, match in matches if match is not None]

    def _forget(self, change: Change) -> None:
        self._hooks = None
        self._found.clear()


def untouched(resource: Resource) -> bool:
    """Whether webhooks and policies have no word on a resource."""
    return (resource.group == GROUP and resource.plural in UNTOUCHED) or resource.group in VIRTUAL


def _conditions(given: Sequence[Object] | None) -> tuple[Condition, ...]:
    if not given:
        return ()
    from moorings_core.api.admission.expressions import conditions  # the evaluator is large, and few have conditions

    return conditions(given)


def _hooks(configuration: Object) -> list[Hook]:
    name = configuration["metadata"]["name"]
    return [
        Hook(
            configuration=name,
            name=given["name"],
            index=index,
            client=given.get("clientConfig") or {},
            rules=tuple(given.get("rules") or ()),
            versions=tuple(given.get("admissionReviewVersions") or ()),
            namespaces=parsed(given.get("namespaceSelector")),
            objects=parsed(given.get("objectSelector")),
            conditions=_conditions(given.get("matchConditions")),
            fails_closed=given.get("failurePolicy", "Fail") == "Fail",
            equivalent=given.get("matchPolicy", "Equivalent") == "Equivalent",
            side_effects=given.get("sideEffects") or "",
            timeout=float(given.get("timeoutSeconds") or 10),
            reinvoked=given.get("reinvocationPolicy") == "IfNeeded",
        )
        for index, given in enumerate(configuration.get("webhooks") or ())
    ]
