"""The objects of a group of snapshots, as external-snapshotter makes them. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from moorings_core.ports.objects import Key, Object
from moorings_core.registry import volume_secrets

API, SNAPSHOT_API = "groupsnapshot.storage.k8s.io/v1", "snapshot.storage.k8s.io/v1"
GROUP_BOUND = "groupsnapshot.storage.kubernetes.io/volumegroupsnapshot-bound-protection"
CONTENT_BOUND = "groupsnapshot.storage.kubernetes.io/volumegroupsnapshotcontent-bound-protection"
IN_GROUP = "snapshot.storage.kubernetes.io/volumesnapshot-in-group-protection"
"""On a member, until its group is gone"""
DEFAULT_CLASS = "groupsnapshot.storage.kubernetes.io/is-default-class"
HANDLE = "groupsnapshot.storage.k8s.io/volumeGroupSnapshotHandle"
"""On the content of a member: it is taken and deleted with its group"""
KIND, CONTENT_KIND = "VolumeGroupSnapshot", "VolumeGroupSnapshotContent"


def content_name(group: Object) -> str:
    """Return the name of the content that a group of claims gets."""
    return f"groupsnapcontent-{group['metadata']['uid']}"


def content_of(group: Object, volumes: Sequence[Object], chosen: Object, place: Mapping[str, str]) -> Object:
    """Return the content of a group that is to be taken. Raises ValueError where the class names no proper secret."""
    metadata, name = group["metadata"], content_name(group)
    words = {"volumegroupsnapshotcontent.name": name, "volumegroupsnapshot.name": metadata["name"]}
    words["volumegroupsnapshot.namespace"] = metadata["namespace"]
    secret = volume_secrets.reference(volume_secrets.GROUP_SNAPSHOTTER, chosen.get("parameters") or {}, words)
    annotations = {**place, **volume_secrets.deletion_annotations(CONTENT_KIND, secret)}
    reference = {"apiVersion": API, "kind": KIND} | {k: metadata[k] for k in ("name", "namespace", "uid")}
    return {
        "apiVersion": API,
        "kind": CONTENT_KIND,
        "metadata": {"name": name, "finalizers": [CONTENT_BOUND], "annotations": annotations},
        "spec": {
            "deletionPolicy": chosen["deletionPolicy"],
            "driver": chosen["driver"],
            "source": {"volumeHandles": [v["spec"]["csi"]["volumeHandle"] for v in volumes]},
            "volumeGroupSnapshotClassName": chosen["metadata"]["name"],
            "volumeGroupSnapshotRef": reference,
        },
    }


def content_status(made: Any, *, with_members: bool) -> Object:
    """Return a content's status from the driver's word for a group; the members of one made by hand are made by hand."""
    status: Object = {
        "volumeGroupSnapshotHandle": made.group_snapshot_id,
        "readyToUse": made.ready_to_use,
        "creationTime": written_time(made.creation_time.ToNanoseconds()),
    }
    if with_members:
        status["volumeSnapshotInfoList"] = [_member(snapshot) for snapshot in made.snapshots]
    return status


def handles(content: Object) -> tuple[str, list[str]]:
    """Return what a driver calls a group and its members, "" where that is not known."""
    status, by_hand = content.get("status") or {}, content["spec"]["source"].get("groupSnapshotHandles") or {}
    members = [info["snapshotHandle"] for info in status.get("volumeSnapshotInfoList") or ()]
    group = status.get("volumeGroupSnapshotHandle") or by_hand.get("volumeGroupSnapshotHandle") or ""
    return group, members or list(by_hand.get("volumeSnapshotHandles") or ())


def secret_of(content: Object) -> Key | None:
    """Return the secret that calls about a content's group take."""
    return volume_secrets.for_deletion(CONTENT_KIND, content)


def own_parameters(chosen: Object) -> dict[str, str]:
    """Return the parameters of a class that are the driver's."""
    return {k: v for k, v in (chosen.get("parameters") or {}).items() if not k.startswith(volume_secrets.PREFIX)}


def is_default(chosen: Object) -> bool:
    """Whether a class is the one for groups that name none."""
    return bool((chosen["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true")


def member_name(group: Object, member: Object) -> str:
    """Return the name of the snapshot of one volume."""
    return f"snapshot-{_digest(group, member)}"


def member_content_name(group: Object, member: Object) -> str:
    """Return the name of the content of the snapshot of one volume."""
    return f"snapcontent-{_digest(group, member)}"


def member_content(group: Object, content: Object, member: Object, volume: Object | None) -> Object:
    """Return the content of a member; volume: what it was taken of, if that is still there."""
    inherited = content["metadata"].get("annotations") or {}
    annotations = {HANDLE: content["status"]["volumeGroupSnapshotHandle"]} | {
        key: value for key, value in inherited.items() if key.startswith("storage.moorings.dev/")
    }
    annotations |= volume_secrets.deletion_annotations("VolumeSnapshotContent", secret_of(content))
    reference = {"kind": "VolumeSnapshot", "name": member_name(group, member), "namespace": group["metadata"]["namespace"]}
    spec: Object = {
        "deletionPolicy": content["spec"]["deletionPolicy"],
        "driver": content["spec"]["driver"],
        "source": {"volumeHandle": member["volumeHandle"]},
        "volumeSnapshotRef": {"apiVersion": SNAPSHOT_API, **reference},
    }
    if volume is not None:
        spec["sourceVolumeMode"] = volume["spec"].get("volumeMode", "Filesystem")
    metadata = {"name": member_content_name(group, member), "annotations": annotations}
    return {"apiVersion": SNAPSHOT_API, "kind": "VolumeSnapshotContent", "metadata": metadata, "spec": spec}


def member_snapshot(group: Object, member: Object, volume: Object | None) -> Object:
    """Return the snapshot of one volume of a group."""
    owner = {"apiVersion": API, "kind": KIND, "name": group["metadata"]["name"], "uid": group["metadata"]["uid"]}
    metadata = {"name": member_name(group, member), "namespace": group["metadata"]["namespace"]}
    claim = ((volume or {}).get("spec") or {}).get("claimRef") or {}
    return {
        "apiVersion": SNAPSHOT_API,
        "kind": "VolumeSnapshot",
        "metadata": {**metadata, "ownerReferences": [owner], "finalizers": [IN_GROUP]},
        "spec": {"source": {"persistentVolumeClaimName": claim.get("name", "")}},
    }


def member_status(member: Object, handle: str) -> Object:
    """Return the status of a member's content."""
    fields = ("snapshotHandle", "creationTime", "restoreSize", "readyToUse")
    return {"volumeGroupSnapshotHandle": handle} | {field: member[field] for field in fields if field in member}


def owner_of(snapshot: Object) -> str:
    """Return the name of the group that a snapshot is a member of, or ""."""
    owners = snapshot["metadata"].get("ownerReferences") or ()
    return next((o["name"] for o in owners if o["kind"] == KIND and o["apiVersion"].startswith("groupsnapshot.storage.k8s.io/")), "")


def is_of(snapshot: Object, group: Object) -> bool:
    """Whether a snapshot is a member of this group."""
    return any(owner["uid"] == group["metadata"]["uid"] for owner in snapshot["metadata"].get("ownerReferences") or ())


def is_member(content: Object) -> bool:
    """Whether the content of a snapshot is of a member of a group."""
    handle = (content.get("status") or {}).get("volumeGroupSnapshotHandle")
    return bool(handle) or HANDLE in (content["metadata"].get("annotations") or {})


def _member(snapshot: Any) -> Object:
    info: Object = {"volumeHandle": snapshot.source_volume_id, "snapshotHandle": snapshot.snapshot_id}
    info |= {"creationTime": snapshot.creation_time.ToNanoseconds(), "readyToUse": snapshot.ready_to_use}
    return info | ({"restoreSize": snapshot.size_bytes} if snapshot.size_bytes else {})


def _digest(group: Object, member: Object) -> str:
    return hashlib.sha256(f"{group['metadata']['uid']}{member['volumeHandle']}".encode()).hexdigest()


def written_time(nanoseconds: int) -> str:
    """Return a moment, in nanoseconds since 1970, as the API writes it."""
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
