"""URL paths of the API: what a request is about and what it wants done. Source: upstream's RequestInfo."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from moorings_core.registry.kinds import Kind, Registry

NAMESPACE_SUBRESOURCES = ("status", "finalize")
MOST_KEPT = 8192
VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Target:
    """A resource request; rest is what follows a proxy subresource."""

    group: str
    version: str
    plural: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""


@functools.lru_cache(MOST_KEPT)
def parse(path: str) -> Target | None:
    """Return what a path names, or None where it is no path of a resource."""
    parts = [p for p in path.split("/") if p]
    if len(parts) >= 3 and parts[0] == "api":
        group, version, parts = "", parts[1], parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        group, version, parts = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2 and parts[2] not in NAMESPACE_SUBRESOURCES:
        namespace, parts = parts[1], parts[2:]
    plural, name = parts[0], parts[1] if len(parts) > 1 else ""
    subresource = parts[2] if len(parts) > 2 else ""
    return Target(group, version, plural, namespace, name, subresource, "/".join(parts[3:]))


def find(registry: Registry, target: Target) -> Kind | None:
    """Return the kind of a target, or None where it, or its subresource, is not served."""
    kind = registry.lookup(target.group, target.version, target.plural)
    if kind is None or (target.subresource and target.subresource not in kind.subresources):
        return None
    if target.namespace and not kind.resource.namespaced and target.plural != "namespaces":
        return None
    return kind


def verb(method: str, target: Target, watching: bool) -> str:
    """Return the API's verb for a method."""
    if method in ("GET", "HEAD"):
        if watching and not target.name:
            return "watch"
        return "get" if target.name else "list"
    found = VERBS.get(method, method.lower())
    return "deletecollection" if found == "delete" and not target.name else found
