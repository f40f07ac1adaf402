"""Storage in use is not taken away: claims while a pod uses them, volumes while a claim is bound to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from moorings_core.client.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS
from moorings_core.ports.client import ObjectList
from moorings_core.ports.objects import Object, key_of

from . import pods, writes
from .framework import Question, Result, View, Watch, WorkKey
from .ownership import itself

CLAIM, VOLUME = "kubernetes.io/pvc-protection", "kubernetes.io/pv-protection"


class ClaimProtection:
    """Puts the finalizer on claims, and takes it off a deleted one when no pod uses it."""

    name = "persistentvolumeclaim-protection-controller"

    def watches(self) -> Sequence[Watch]:
        """Reads claims and pods."""
        return (Watch(PERSISTENT_VOLUME_CLAIMS, itself), Watch(PODS, _claims, {"claim": _claim_names}))

    def reconcile(self, key: WorkKey, view: View, now: datetime) -> Result:
        """Look at one claim; before it goes, the API is asked about pods that the cache may not know."""
        claim = view.get(PERSISTENT_VOLUME_CLAIMS, key[1], key[0])
        if claim is None:
            return Result()
        held = CLAIM in (claim["metadata"].get("finalizers") or ())
        if not claim["metadata"].get("deletionTimestamp"):
            return Result([] if held else [writes.with_finalizer(PERSISTENT_VOLUME_CLAIMS, claim, CLAIM)])
        if not held or any(_uses(pod) for pod in view.by_index(PODS, "claim", "/".join(key))):
            return Result()
        question = Question(PODS, key[0])
        answer = view.answers.get(question)
        if answer is None:
            return Result(questions=[question])
        if not isinstance(answer, ObjectList):
            raise answer if isinstance(answer, Exception) else TypeError(type(answer))
        if any(_uses(pod) and "/".join(key) in _claim_names(pod) for pod in answer.items):
            return Result(requeue_after=5)
        return Result([writes.without_finalizer(PERSISTENT_VOLUME_CLAIMS, claim, CLAIM)])


class VolumeProtection:
    """Puts the finalizer on volumes, and takes it off a deleted one that is not bound."""

    name = "persistentvolume-protection-controller"

    def watches(self) -> Sequence[Watch]:
        """Reads volumes."""
        return (Watch(PERSISTENT_VOLUMES, itself),)

    def reconcile(self, key: WorkKey, view: View, now: datetime) -> Result:
        """Look at one volume."""
        volume = view.get(PERSISTENT_VOLUMES, key[1])
        if volume is None:
            return Result()
        held = VOLUME in (volume["metadata"].get("finalizers") or ())
        if not volume["metadata"].get("deletionTimestamp"):
            return Result([] if held else [writes.with_finalizer(PERSISTENT_VOLUMES, volume, VOLUME)])
        bound = volume.get("status", {}).get("phase") == "Bound"
        return Result([writes.without_finalizer(PERSISTENT_VOLUMES, volume, VOLUME)] if held and not bound else [])


def _uses(pod: Object) -> bool:
    """A pod that never was on a node, or has finished, holds no volume."""
    return bool(pod["spec"].get("nodeName") or not pods.is_terminating(pod)) and not pods.is_finished(pod)


def _claim_names(pod: Object) -> Sequence[str]:
    namespace, found = pod["metadata"].get("namespace", ""), []
    for volume in pod["spec"].get("volumes") or ():
        if claim := volume.get("persistentVolumeClaim"):
            found.append(f"{namespace}/{claim['claimName']}")
        elif "ephemeral" in volume:
            found.append(f"{namespace}/{pod['metadata']['name']}-{volume['name']}")
    return found


def _claims(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    """A pod matters by ceasing to use a claim."""
    if old is None or (new is not None and _uses(new)):
        return
    for name in _claim_names(old):
        namespace, _, claim = name.partition("/")
        found = view.get(PERSISTENT_VOLUME_CLAIMS, claim, namespace)
        if found is not None and found["metadata"].get("deletionTimestamp"):
            yield key_of(found)
