"""The binder as a controller: claims by (namespace, name), volumes by ("", name)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from moorings_core.client.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES
from moorings_core.controllers.framework import Intent, Result, View, Watch, WorkKey
from moorings_core.ports.objects import Object

from .binding import VolumesView, claim_writes, volume_writes

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


class VolumeBinder:
    """Binds claims and volumes to each other."""

    name = "persistentvolume-binder-controller"

    def watches(self) -> Sequence[Watch]:
        """Reads claims, volumes and classes."""
        return (
            Watch(PERSISTENT_VOLUME_CLAIMS, _claim_keys),
            Watch(PERSISTENT_VOLUMES, _volume_keys),
            Watch(STORAGE_CLASSES, _all_claims),
        )

    def reconcile(self, key: WorkKey, view: View, now: datetime) -> Result:
        """Return the next step of a claim or a volume."""
        namespace, name = key
        look = _look(view)
        if namespace:
            claim = view.get(PERSISTENT_VOLUME_CLAIMS, name, namespace)
            writes = claim_writes(claim, look) if claim is not None else ()
        else:
            volume = view.get(PERSISTENT_VOLUMES, name)
            writes = volume_writes(volume, look) if volume is not None else ()
        return Result([Intent(write) for write in writes])


def _look(view: View) -> VolumesView:
    return VolumesView(
        lambda name: view.get(PERSISTENT_VOLUMES, name),
        lambda: view.all(PERSISTENT_VOLUMES),
        lambda name, namespace: view.get(PERSISTENT_VOLUME_CLAIMS, name, namespace),
        lambda name: view.get(STORAGE_CLASSES, name),
        lambda: _default(view),
    )


def _default(view: View) -> str:
    marked = [c for c in view.all(STORAGE_CLASSES) if c["metadata"].get("annotations", {}).get(DEFAULT_CLASS) == "true"]
    newest = max(marked, key=lambda c: (c["metadata"]["creationTimestamp"], c["metadata"]["name"]), default=None)
    return newest["metadata"]["name"] if newest else ""


def _claim_keys(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    """A claim concerns itself, the volume it names, and when it goes every volume that refers to it."""
    claim = new or old
    assert claim is not None
    metadata = claim["metadata"]
    yield metadata["namespace"], metadata["name"]
    if claim["spec"].get("volumeName"):
        yield "", claim["spec"]["volumeName"]
    for volume in view.all(PERSISTENT_VOLUMES):
        reference = volume["spec"].get("claimRef") or {}
        if (reference.get("namespace"), reference.get("name")) == (metadata["namespace"], metadata["name"]):
            yield "", volume["metadata"]["name"]


def _volume_keys(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    """A volume concerns itself and its claim; a free one every claim that has none."""
    volume = new or old
    assert volume is not None
    yield "", volume["metadata"]["name"]
    reference = volume["spec"].get("claimRef")
    if reference:
        yield reference["namespace"], reference["name"]
        return
    for claim in view.all(PERSISTENT_VOLUME_CLAIMS):
        if not claim["spec"].get("volumeName"):
            yield claim["metadata"]["namespace"], claim["metadata"]["name"]


def _all_claims(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    for claim in view.all(PERSISTENT_VOLUME_CLAIMS):
        if claim.get("status", {}).get("phase") != "Bound":
            yield claim["metadata"]["namespace"], claim["metadata"]["name"]
