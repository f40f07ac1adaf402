"""Claims of generic ephemeral volumes: one for each such volume of a pod, from the template in it, owned by the pod."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from moorings_core.client.resources import PERSISTENT_VOLUME_CLAIMS, PODS
from moorings_core.controllers import pods
from moorings_core.controllers.framework import Intent, Note, Result, View, Watch, WorkKey
from moorings_core.controllers.ownership import controller_of, is_controlled_by, reference_to
from moorings_core.ports.client import Create
from moorings_core.ports.errors import AlreadyExists
from moorings_core.ports.objects import Object, key_of


class EphemeralVolumes:
    """Makes the claims; they go with their pod by the garbage collector."""

    name = "ephemeral-volume-controller"

    def watches(self) -> Sequence[Watch]:
        """Reads pods, and claims that go before their pod."""
        return (Watch(PODS, _with_ephemeral), Watch(PERSISTENT_VOLUME_CLAIMS, _owner_of_lost))

    def reconcile(self, key: WorkKey, view: View, now: datetime) -> Result:
        """Return the claims that a pod still lacks; a claim of that name that is not the pod's is told, and never taken."""
        pod = view.get(PODS, key[1], key[0])
        if pod is None or pods.is_terminating(pod) or pods.is_finished(pod):
            return Result()
        intents, notes = [], []
        for volume in _ephemeral(pod):
            name = f"{pod['metadata']['name']}-{volume['name']}"
            known = view.get(PERSISTENT_VOLUME_CLAIMS, name, key[0])
            if known is None:
                intents.append(_claim(pod, name, volume["ephemeral"]["volumeClaimTemplate"]))
            elif not is_controlled_by(known, pod):
                text = f"PVC {key[0]}/{name} was not created for pod {key[0]}/{pod['metadata']['name']} (pod is not owner)"
                notes.append(Note(pod, "Warning", "FailedBinding", f"ephemeral volume {volume['name']}: {text}"))
        return Result(intents, notes)


def _claim(pod: Object, name: str, template: Object) -> Intent:
    given = template.get("metadata") or {}
    metadata: Object = {"name": name, "namespace": pod["metadata"]["namespace"], "ownerReferences": [reference_to(pod)]}
    metadata |= {k: given[k] for k in ("labels", "annotations") if given.get(k)}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template["spec"]}
    failed = Note(pod, "Warning", "FailedBinding", f"ephemeral volume: create PVC {name}: {{error}}")
    return Intent(Create(PERSISTENT_VOLUME_CLAIMS, claim), failed=failed, settled_by=(AlreadyExists,))


def _ephemeral(pod: Object) -> Sequence[Object]:
    return [v for v in pod["spec"].get("volumes") or () if v.get("ephemeral")]


def _with_ephemeral(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    if new is not None and (old is None or not _ephemeral(old)) and _ephemeral(new):
        yield key_of(new)


def _owner_of_lost(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    if new is None and old is not None:
        owner = controller_of(old)
        if owner is not None and owner["kind"] == "Pod":
            yield old["metadata"]["namespace"], owner["name"]
