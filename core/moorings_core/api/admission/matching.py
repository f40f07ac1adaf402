"""Which writes a webhook or a policy is about: its rules, its selectors, and the versions of a resource that are one to it.

Source: apiserver pkg/admission/plugin/webhook/predicates and policy/matching.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from moorings_core.api import problems
from moorings_core.api.cache import Cache
from moorings_core.client.resources import NAMESPACES
from moorings_core.ports.objects import Key, Object, Resource
from moorings_core.registry.kinds import Registry
from moorings_core.registry.selectors import LabelSelector, from_label_selector

from .attributes import Attributes

GROUP = "admissionregistration.k8s.io"
EVENTS = (("", "v1", "events"), ("events.k8s.io", "v1", "events"))
Place = tuple[str, Resource, str]
"""(operation, resource, subresource)"""


@dataclass(frozen=True, slots=True)
class Match:
    """As which resource and kind a webhook or policy sees a write."""

    resource: Resource
    kind: tuple[str, str, str]


def parsed(selector: Object | None) -> LabelSelector:
    """Return a selector of a configuration; without one it selects everything."""
    return from_label_selector(selector if selector is not None else {})


def rule_fits(rule: Object, operation: str, resource: Resource, subresource: str) -> bool:
    """Whether a rule names a write."""
    scope = rule.get("scope") or "*"
    if scope != "*" and (scope == "Namespaced") is not resource.namespaced:
        return False
    wanted = ((rule.get("operations"), operation), (rule.get("apiGroups"), resource.group), (rule.get("apiVersions"), resource.version))
    return all(_listed(items, value) for items, value in wanted) and _resource_fits(rule.get("resources") or (), resource, subresource)


def _listed(items: Sequence[str] | None, value: str) -> bool:
    return any(item in ("*", value) for item in items or ())


def _resource_fits(names: Iterable[str], resource: Resource, subresource: str) -> bool:
    for name in names:
        plural, _, below = name.partition("/")
        if plural in ("*", resource.plural) and below in ("*", subresource):
            return True
    return False


class Equivalents:
    """The versions and groups under which one stored resource is served."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def of(self, resource: Resource) -> list[Resource]:
        """Return the other ways to name a resource."""
        same = [k.resource for k in self._registry.kinds() if (k.resource.group, k.resource.plural) == (resource.group, resource.plural)]
        if resource.plural == "events":
            found = (self._registry.lookup(*place) for place in EVENTS)
            same += [kind.resource for kind in found if kind is not None and kind.resource.group != resource.group]
        return [r for r in same if r != resource]

    def match(self, rules: Sequence[Object], place: Place, kind: tuple[str, str, str], *, equivalent: bool) -> Match | None:
        """Return as what one of the rules names a write, or None."""
        operation, resource, subresource = place
        if any(rule_fits(rule, operation, resource, subresource) for rule in rules):
            return Match(resource, kind)
        for rule in rules if equivalent else ():
            for other in self.of(resource):
                if rule_fits(rule, operation, other, subresource):
                    below = kind if subresource else (other.group, other.version, other.kind)
                    return Match(other, below)
        return None


def namespace_of(a: Attributes) -> str:
    """Return the namespace that a write is in; a Namespace is in itself."""
    return a.name if (a.resource.group, a.resource.plural) == ("", "namespaces") else a.key.namespace


def namespace_fits(selector: LabelSelector, a: Attributes, cache: Cache) -> bool:
    """Whether the namespace of a write is selected; what is in none always is. Raises NotFound."""
    if not selector:
        return True
    is_namespace = (a.resource.group, a.resource.plural) == ("", "namespaces")
    if not a.resource.namespaced and not is_namespace:
        return True
    if is_namespace and not a.subresource and a.operation in ("CREATE", "UPDATE"):
        return selector.matches(a.new["metadata"].get("labels") or {})
    name = namespace_of(a)
    found = cache.collection("", "namespaces").get(Key("", name))
    if found is None:
        raise problems.not_found(NAMESPACES, name)
    return selector.matches(found.object["metadata"].get("labels") or {})


def object_fits(selector: LabelSelector, a: Attributes) -> bool:
    """Whether the object of a write is selected as it was or as it will be."""
    if not selector:
        return True
    return any(obj is not None and selector.matches((obj.get("metadata") or {}).get("labels") or {}) for obj in (a.object, a.old))


Convert = Callable[[Object, tuple[str, str, str]], Object]


def renamed(obj: Object, kind: tuple[str, str, str]) -> Object:
    """Return an object under another version of its kind, for kinds whose versions have the same fields."""
    group, version, name = kind
    return {**obj, "apiVersion": f"{group}/{version}" if group else version, "kind": name}
