"""Kubernetes objects as every component sees them: JSON trees, named by a resource and a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

Object = dict[str, Any]
"""One Kubernetes object as decoded JSON. Objects handed out by a client or an informer are shared: copy before changing."""


class Key(NamedTuple):
    """The name of an object within its resource; namespace is "" for cluster-scoped ones."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, slots=True)
class Resource:
    """A served resource, e.g. `Resource("apps", "v1", "deployments", "Deployment", True)`."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        """The `apiVersion` of its objects, e.g. "v1" or "apps/v1"."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Return the URL path of the collection, of one object, or of a subresource of it."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return "/".join(part for part in (f"{root}{scope}/{self.plural}", name, subresource) if part)


def key_of(obj: Object) -> Key:
    """Return the key of an object from its metadata."""
    metadata = obj["metadata"]
    return Key(metadata.get("namespace", ""), metadata["name"])
