"""The writes that controllers intend again and again."""

from __future__ import annotations

from moorings_core.ports.client import Delete, Update
from moorings_core.ports.errors import NotFound
from moorings_core.ports.objects import Object, Resource

from .framework import Intent, Note


def status(resource: Resource, obj: Object, new: Object) -> list[Intent]:
    """Write a status if it differs. It holds for the very object that was read only, else it is a Conflict and a new look."""
    if new == obj.get("status", {}):
        return []
    return [Intent(Update(resource, {**obj, "status": new}, subresource="status"), settled_by=(NotFound,))]


def delete(resource: Resource, obj: Object, *, done: Note | None = None, failed: Note | None = None, grace: int | None = None) -> Intent:
    """Delete this incarnation of an object, and what depends on it (Jobs would leave it behind); that it is gone is as good."""
    metadata = obj["metadata"]
    namespace, name, uid = metadata.get("namespace", ""), metadata["name"], metadata["uid"]
    write = Delete(resource, namespace, name, uid=uid, grace=grace, propagation="Background")
    return Intent(write, done, failed, settled_by=(NotFound,))


def without_finalizer(resource: Resource, obj: Object, finalizer: str) -> Intent:
    """Take a finalizer off, from exactly the object that was read."""
    metadata = obj["metadata"]
    left = [each for each in metadata.get("finalizers") or () if each != finalizer]
    return Intent(Update(resource, {**obj, "metadata": {**metadata, "finalizers": left}}), settled_by=(NotFound,))


def with_finalizer(resource: Resource, obj: Object, finalizer: str) -> Intent:
    """Put a finalizer on."""
    metadata = obj["metadata"]
    finalizers = [*(metadata.get("finalizers") or ()), finalizer]
    return Intent(Update(resource, {**obj, "metadata": {**metadata, "finalizers": finalizers}}), settled_by=(NotFound,))
