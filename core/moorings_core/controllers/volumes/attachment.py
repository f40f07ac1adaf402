"""Which node has which volume: VolumeAttachments are made for pods that use a volume and removed when none does any more.

A volume is taken from a node only when no pod there uses it and the node does not say that it is mounted (volumesInUse), unless the
node is out of service by its taint, or has not been heard of for FORCE_SECONDS. A volume for one node that another still has is not
attached a second time: the pod is told which node has it. All of this is read from the API, so that a restart changes nothing.
Source: upstream's attach/detach controller.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from moorings_core.agent.csi.attachments import attachment_name, unique_name
from moorings_core.client.resources import (
    CSI_DRIVERS,
    CSI_NODES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    VOLUME_ATTACHMENTS,
)
from moorings_core.controllers import conditions, pods, writes
from moorings_core.controllers.framework import Intent, Note, Result, View, Watch, WorkKey
from moorings_core.ports.client import Create, Patch
from moorings_core.ports.errors import AlreadyExists, NotFound
from moorings_core.ports.objects import Object

FORCE_SECONDS = 360.0
LOOK_AGAIN = 5.0
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
ALL_AT_ONCE = {"ReadWriteMany", "ReadOnlyMany"}


class AttachDetach:
    """Works on one volume at a time: key ("", name of the PersistentVolume)."""

    name = "attachdetach-controller"

    def watches(self) -> Sequence[Watch]:
        """Reads pods, claims, volumes, attachments, nodes and drivers."""
        return (
            Watch(PODS, _volumes_of_pod, {"claim": claim_keys}),
            Watch(PERSISTENT_VOLUME_CLAIMS, _volume_of_claim),
            Watch(PERSISTENT_VOLUMES, _itself),
            Watch(VOLUME_ATTACHMENTS, _volume_of_attachment, {"volume": lambda a: (_attached_volume(a),)}),
            Watch(NODES, _volumes_of_node),
            Watch(CSI_NODES, _volumes_of_registered),
            Watch(CSI_DRIVERS, lambda view, old, new: ()),
        )

    def reconcile(self, key: WorkKey, view: View, now: datetime) -> Result:
        """Return the attachments to make and to remove."""
        volume = view.get(PERSISTENT_VOLUMES, key[1])
        present = {a["spec"]["nodeName"]: a for a in view.by_index(VOLUME_ATTACHMENTS, "volume", key[1])}
        wanted = _wanted(volume, view) if volume is not None else {}
        intents: list[Intent] = []
        notes: list[Note] = []
        again: list[float] = []
        for node, attachment in present.items():
            if node not in wanted and not attachment["metadata"].get("deletionTimestamp"):
                wait = _must_wait(attachment, volume, view.get(NODES, node), now)
                if wait:
                    again.append(wait)
                else:
                    intents.append(writes.delete(VOLUME_ATTACHMENTS, attachment))
        if volume is not None:
            for node, users in wanted.items():
                others = [other for other in present if other != node]
                if node in present:
                    continue
                if others and not ALL_AT_ONCE & set(volume["spec"]["accessModes"]):
                    notes += [_taken(pod, volume, others) for pod in users]
                elif _is_registered(volume, view.get(CSI_NODES, node)):
                    intents.append(_attach(volume, node))
            intents += _told(volume, present, view)
        return Result(intents, notes, requeue_after=min(again, default=None))


def claim_keys(pod: Object) -> Sequence[str]:
    """Return "namespace/name" of the claims that a pod on a node uses."""
    if not pod["spec"].get("nodeName") or pods.is_finished(pod):
        return []
    namespace, found = pod["metadata"]["namespace"], []
    for volume in pod["spec"].get("volumes") or ():
        if claim := volume.get("persistentVolumeClaim"):
            found.append(f"{namespace}/{claim['claimName']}")
        elif volume.get("ephemeral"):
            found.append(f"{namespace}/{pod['metadata']['name']}-{volume['name']}")
    return found


def _wanted(volume: Object, view: View) -> dict[str, list[Object]]:
    """Return the pods that use a volume, by node; none for a volume that needs no attaching."""
    csi, reference = volume["spec"].get("csi"), volume["spec"].get("claimRef") or {}
    if not csi or not reference:
        return {}
    declared = view.get(CSI_DRIVERS, csi["driver"])
    if declared is not None and declared["spec"].get("attachRequired") is False:
        return {}
    claim = view.get(PERSISTENT_VOLUME_CLAIMS, reference["name"], reference["namespace"])
    if claim is None or claim["metadata"]["uid"] != reference.get("uid"):
        return {}
    found: dict[str, list[Object]] = {}
    for pod in view.by_index(PODS, "claim", f"{reference['namespace']}/{reference['name']}"):
        found.setdefault(pod["spec"]["nodeName"], []).append(pod)
    return found


def _must_wait(attachment: Object, volume: Object | None, node: Object | None, now: datetime) -> float:
    """Return the seconds until it is worth another look whether a node may lose a volume; 0: now."""
    if node is None or volume is None or any(t["key"] == OUT_OF_SERVICE for t in node["spec"].get("taints") or ()):
        return 0
    if _name(volume) not in (node.get("status", {}).get("volumesInUse") or ()):
        return 0
    ready = conditions.find(node, "Ready")
    if ready is None or ready["status"] == "True":
        return LOOK_AGAIN
    silent = (now - datetime.fromisoformat(ready["lastTransitionTime"])).total_seconds()
    return max(0.0, FORCE_SECONDS - silent)


def _attach(volume: Object, node: str) -> Intent:
    csi = volume["spec"]["csi"]
    attachment = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "VolumeAttachment",
        "metadata": {"name": attachment_name(csi["driver"], csi["volumeHandle"], node)},
        "spec": {"attacher": csi["driver"], "nodeName": node, "source": {"persistentVolumeName": volume["metadata"]["name"]}},
    }
    return Intent(Create(VOLUME_ATTACHMENTS, attachment), settled_by=(AlreadyExists,))


def _taken(pod: Object, volume: Object, nodes: Sequence[str]) -> Note:
    where = f'Multi-Attach error for volume "{volume["metadata"]["name"]}": it is attached to {", ".join(sorted(nodes))}'
    return Note(pod, "Warning", "FailedAttachVolume", f"{where} and cannot be attached to {pod['spec']['nodeName']}")


def _told(volume: Object, present: dict[str, Object], view: View) -> list[Intent]:
    """Let nodes' status say which volumes are attached."""
    found = []
    for name in {a["spec"]["nodeName"] for a in present.values()}:
        node = view.get(NODES, name)
        if node is None:
            continue
        known = {v["name"]: v for v in node.get("status", {}).get("volumesAttached") or ()}
        attached = bool(present[name].get("status", {}).get("attached"))
        if attached == (_name(volume) in known):
            continue
        fresh = {**known, _name(volume): {"name": _name(volume), "devicePath": ""}} if attached else known
        fresh = fresh if attached else {k: v for k, v in known.items() if k != _name(volume)}
        patch = {"status": {"volumesAttached": [fresh[k] for k in sorted(fresh)]}}
        found.append(Intent(Patch(NODES, "", name, patch, subresource="status"), settled_by=(NotFound,)))
    return found


def _is_registered(volume: Object, csi_node: Object | None) -> bool:
    drivers = (csi_node or {"spec": {}})["spec"].get("drivers") or ()
    return any(d["name"] == volume["spec"]["csi"]["driver"] for d in drivers)


def _name(volume: Object) -> str:
    return unique_name(volume["spec"]["csi"]["driver"], volume["spec"]["csi"]["volumeHandle"])


def _attached_volume(attachment: Object) -> str:
    return str(attachment["spec"]["source"].get("persistentVolumeName") or "")


def _itself(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    volume = new or old
    assert volume is not None
    if "csi" in volume["spec"]:
        yield "", volume["metadata"]["name"]


def _volumes_of_pod(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    for key in {*(claim_keys(old) if old else ()), *(claim_keys(new) if new else ())}:
        namespace, _, name = key.partition("/")
        claim = view.get(PERSISTENT_VOLUME_CLAIMS, name, namespace)
        if claim is not None and claim["spec"].get("volumeName"):
            yield "", claim["spec"]["volumeName"]


def _volume_of_claim(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    claim = new or old
    assert claim is not None
    if claim["spec"].get("volumeName"):
        yield "", claim["spec"]["volumeName"]


def _volume_of_attachment(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    attachment = new or old
    assert attachment is not None
    yield "", _attached_volume(attachment)


def _volumes_of_node(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    """A node matters by its taints, by whether it is ready, and by what it says it has mounted."""
    if old is not None and new is not None and _of_interest(old) == _of_interest(new):
        return
    node = new or old
    assert node is not None
    for attachment in view.all(VOLUME_ATTACHMENTS):
        if attachment["spec"]["nodeName"] == node["metadata"]["name"]:
            yield "", _attached_volume(attachment)


def _of_interest(node: Object) -> tuple[object, ...]:
    status = node.get("status", {})
    return node["spec"].get("taints"), status.get("volumesInUse"), conditions.is_true(node, "Ready")


def _volumes_of_registered(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    """A driver that has just come to a node may have pods waiting for its volumes."""
    if new is None or (old is not None and old["spec"] == new["spec"]):
        return
    for pod in view.all(PODS):
        if pod["spec"].get("nodeName") == new["metadata"]["name"]:
            yield from _volumes_of_pod(view, None, pod)
