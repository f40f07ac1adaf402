"""The objects that a binding gives to its policy. Source: apiserver policy/generic CollectParams."""

from __future__ import annotations

from moorings_core.api.cache import Cache
from moorings_core.ports.objects import Key, Object
from moorings_core.registry.kinds import Kind, Registry
from moorings_core.registry.selectors import from_label_selector


class NotConfigured(ValueError):
    """A policy or binding asks for what is not there: its failurePolicy says what that means."""


def parameters(policy: Object, binding: Object, namespace: str, cache: Cache, registry: Registry) -> list[Object | None]:
    """Return the parameters with each of which a policy is evaluated; [None] for one without, [] for none at all.

    Raises NotConfigured.
    """
    kind, reference = parameter_kind(policy, registry), binding["spec"].get("paramRef")
    if kind is None or not reference:
        return [None]
    if reference.get("namespace") and not kind.resource.namespaced:
        raise NotConfigured("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
    home = (reference.get("namespace") or namespace) if kind.resource.namespaced else ""
    if kind.resource.namespaced and not home:
        raise NotConfigured("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
    collection = cache.collection(kind.resource.group, kind.resource.plural)
    found: list[Object | None] = []
    if reference.get("name"):
        stored = collection.get(Key(home, reference["name"]))
        found = [stored.object] if stored is not None else []
    elif reference.get("selector") is not None:
        selector = from_label_selector(reference["selector"])
        found = [s.object for s in collection.select(home) if selector.matches(s.object["metadata"].get("labels") or {})]
    if not found and reference.get("parameterNotFoundAction") == "Deny":
        raise NotConfigured("no params found for policy binding with `Deny` parameterNotFoundAction")
    return found


def parameter_kind(policy: Object, registry: Registry) -> Kind | None:
    """Return the kind of a policy's parameters, or None where it has none. Raises NotConfigured."""
    wanted = policy["spec"].get("paramKind")
    if not wanted:
        return None
    group, _, version = wanted["apiVersion"].rpartition("/")
    found = registry.by_kind(group, version, wanted["kind"])
    if found is None:
        raise NotConfigured(f"failed to find resource referenced by paramKind: '{wanted['apiVersion']}, Kind={wanted['kind']}'")
    return found
