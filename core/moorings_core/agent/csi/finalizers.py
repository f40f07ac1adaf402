"""Finalizers of an object, written for exactly the version that was read."""

from __future__ import annotations

from collections.abc import Sequence

from moorings_core.ports.client import Client
from moorings_core.ports.objects import Object, Resource


def has(obj: Object, finalizer: str) -> bool:
    """Whether an object has a finalizer."""
    return finalizer in (obj["metadata"].get("finalizers") or ())


def with_(obj: Object, finalizer: str) -> list[str]:
    """Return an object's finalizers and one more."""
    return [*(obj["metadata"].get("finalizers") or ()), finalizer]


def without(obj: Object, finalizer: str) -> list[str]:
    """Return an object's finalizers less one."""
    return [each for each in obj["metadata"].get("finalizers") or () if each != finalizer]


async def set_finalizers(client: Client, resource: Resource, obj: Object, finalizers: Sequence[str]) -> Object:
    """Write finalizers. Raises Conflict where the object has changed since it was read."""
    metadata = {"finalizers": list(finalizers), "resourceVersion": obj["metadata"]["resourceVersion"]}
    return await client.patch(resource, obj["metadata"]["name"], obj["metadata"].get("namespace", ""), {"metadata": metadata})
