"""A VolumeAttributesClass in use is not taken away: its finalizer stays while a claim or a volume names it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from moorings_core.client.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, VOLUME_ATTRIBUTES_CLASSES
from moorings_core.controllers import writes
from moorings_core.controllers.framework import Result, View, Watch, WorkKey
from moorings_core.controllers.ownership import itself
from moorings_core.ports.objects import Object

PROTECTION = "kubernetes.io/vac-protection"


class AttributesClassProtection:
    """Puts the finalizer on, and takes it off a deleted class that nothing uses."""

    name = "volumeattributesclass-protection-controller"

    def watches(self) -> Sequence[Watch]:
        """Reads classes, claims and volumes."""
        return (
            Watch(VOLUME_ATTRIBUTES_CLASSES, itself),
            Watch(PERSISTENT_VOLUME_CLAIMS, _users, {"attributes": names}),
            Watch(PERSISTENT_VOLUMES, _users, {"attributes": names}),
        )

    def reconcile(self, key: WorkKey, view: View, now: datetime) -> Result:
        """Look at one class."""
        found = view.get(VOLUME_ATTRIBUTES_CLASSES, key[1])
        if found is None:
            return Result()
        held = PROTECTION in (found["metadata"].get("finalizers") or ())
        if not found["metadata"].get("deletionTimestamp"):
            return Result([] if held else [writes.with_finalizer(VOLUME_ATTRIBUTES_CLASSES, found, PROTECTION)])
        used = any(view.by_index(kind, "attributes", key[1]) for kind in (PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES))
        return Result([writes.without_finalizer(VOLUME_ATTRIBUTES_CLASSES, found, PROTECTION)] if held and not used else [])


def names(obj: Object) -> Sequence[str]:
    """Return the classes that a claim or a volume names: wanted, present, and on the way from one to the other."""
    status = obj.get("status") or {}
    target = (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName")
    found = {obj["spec"].get("volumeAttributesClassName"), status.get("currentVolumeAttributesClassName"), target}
    return sorted(filter(None, found))


def _users(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    """A claim or volume matters by ceasing to use a class."""
    after = set(names(new)) if new is not None else set()
    for name in set(names(old)) - after if old is not None else ():
        yield "", name
