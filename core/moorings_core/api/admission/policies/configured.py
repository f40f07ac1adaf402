"""The configured policies and their bindings, read from the cache again when one changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from moorings_core.api.admission.attributes import Attributes, Operation
from moorings_core.api.admission.matching import GROUP, Equivalents, Match, namespace_fits, object_fits, parsed
from moorings_core.api.admission.webhooks.hooks import untouched
from moorings_core.api.cache import Cache, Change
from moorings_core.ports.objects import Object, Resource
from moorings_core.registry.kinds import Registry


@dataclass(frozen=True, slots=True)
class Configured:
    """A policy with the bindings that put it into force, both as stored."""

    policy: Object
    bindings: tuple[Object, ...]

    @property
    def name(self) -> str:
        """The name of the policy."""
        return str(self.policy["metadata"]["name"])

    @property
    def fails_closed(self) -> bool:
        """Whether a policy that can't be evaluated refuses."""
        return bool(self.policy["spec"].get("failurePolicy", "Fail") == "Fail")


class Configuration:
    """All policies of one kind ("validating", "mutating"), by name."""

    def __init__(self, cache: Cache, registry: Registry, kind: str) -> None:
        self._cache, self._equivalents = cache, Equivalents(registry)
        self._policies = cache.collection(GROUP, f"{kind}admissionpolicies")
        self._bindings = cache.collection(GROUP, f"{kind}admissionpolicybindings")
        for collection in (self._policies, self._bindings):
            collection.listeners[self._forget] = None
        self._known: list[Configured] | None = None
        self._registry = registry
        self._about: dict[tuple[int, Operation, Resource, str], Sequence[Configured]] = {}

    def about(self, operation: Operation, resource: Resource, subresource: str) -> Sequence[Configured]:
        """Return the policies in force whose rules may name a write."""
        if not self._policies.items or not self._bindings.items or untouched(resource):
            return ()
        place = (self._registry.changes, operation, resource, subresource)
        found = self._about.get(place)
        if found is None:
            found = self._about[place] = [c for c in self._all() if self._may_name(c, place[1:])]
        return found

    def match(self, constraints: Object, a: Attributes) -> Match | None:
        """Return as what constraints name a write, or None. Raises NotFound where its namespace is not there."""
        if not object_fits(parsed(constraints.get("objectSelector")), a):
            return None
        if not namespace_fits(parsed(constraints.get("namespaceSelector")), a, self._cache):
            return None
        if self._rules(constraints.get("excludeResourceRules") or (), constraints, a) is not None:
            return None
        rules = constraints.get("resourceRules") or ()
        return self._rules(rules, constraints, a) if rules else Match(a.resource, a.group_version_kind)

    def _rules(self, rules: Sequence[Object], constraints: Object, a: Attributes) -> Match | None:
        named = [rule for rule in rules if not rule.get("resourceNames") or a.key.name in rule["resourceNames"]]
        place = (a.operation, a.resource, a.subresource)
        return self._equivalents.match(named, place, a.group_version_kind, equivalent=constraints.get("matchPolicy") != "Exact")

    def _all(self) -> list[Configured]:
        if self._known is None:
            by_policy: dict[str, list[Object]] = {}
            for stored in self._bindings.select():
                by_policy.setdefault(stored.object["spec"].get("policyName", ""), []).append(stored.object)
            policies = (stored.object for stored in self._policies.select())
            self._known = [Configured(p, tuple(by_policy[n])) for p in policies if (n := p["metadata"]["name"]) in by_policy]
        return self._known

    def _may_name(self, configured: Configured, place: tuple[Operation, Resource, str]) -> bool:
        operation, resource, subresource = place
        rules = (configured.policy["spec"].get("matchConstraints") or {}).get("resourceRules") or ()
        kind = (resource.group, resource.version, resource.kind)
        return self._equivalents.match(rules, (operation, resource, subresource), kind, equivalent=True) is not None

    def _forget(self, change: Change) -> None:
        self._known = None
        self._about.clear()
