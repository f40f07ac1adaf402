"""Events of core/v1, which are kept, and of events.k8s.io/v1: the same fields by other names."""

from __future__ import annotations

from moorings_core.ports.objects import Object, Resource

from .settled import settled

CORE = Resource("", "v1", "events", "Event", True)
NEW = Resource("events.k8s.io", "v1", "events", "Event", True)
NAMES = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
"""Fields of core/v1, and their names in the other API"""
_BACK = {new: old for old, new in NAMES.items()}


def to_core(event: Object) -> Object:
    """Return an event of the new API as one of core."""
    return _renamed(event, _BACK, CORE)


def from_core(event: Object) -> Object:
    """Return an event of core as one of the new API."""
    return _renamed(event, NAMES, NEW)


def _renamed(event: Object, names: dict[str, str], resource: Resource) -> Object:
    renamed = {names.get(k, k): v for k, v in event.items()}
    return settled({**renamed, "apiVersion": resource.api_version, "metadata": dict(event["metadata"])}, resource)
