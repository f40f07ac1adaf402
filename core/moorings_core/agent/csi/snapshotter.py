"""VolumeSnapshots: what snapshot-controller and the external-snapshotter do, for the volumes that this agent answers for.

Their life is told in `contents`. Source: external-snapshotter's API v1; CSI CreateSnapshot.
"""

from __future__ import annotations

from typing import Any

from moorings_core.client.events import EventRecorder
from moorings_core.client.informer import Informer
from moorings_core.client.resources import (
    PERSISTENT_VOLUME_CLAIMS,
    VOLUME_GROUP_SNAPSHOTS,
    VOLUME_SNAPSHOT_CLASSES,
    VOLUME_SNAPSHOT_CONTENTS,
    VOLUME_SNAPSHOTS,
)
from moorings_core.ports.client import Client
from moorings_core.ports.errors import AlreadyExists, ApiError, NotFound
from moorings_core.ports.objects import Key, Object
from moorings_core.protos import csi_pb2 as csi
from moorings_core.registry import volume_secrets

from . import groups, secrets
from .client import CsiError
from .contents import LOOK_AGAIN, PLACE, READY_SECONDS, Contents, Words, place_of
from .finalizers import has, set_finalizers, with_, without
from .plugins import Driver
from .quantities import quantity
from .reach import Reach

SNAPSHOT_BOUND = "snapshot.storage.kubernetes.io/volumesnapshot-bound-protection"
SNAPSHOT_SOURCE = "snapshot.storage.kubernetes.io/volumesnapshot-as-source-protection"
CONTENT_BOUND = "snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection"
CLAIM_SOURCE = "snapshot.storage.kubernetes.io/pvc-as-source-protection"
DEFAULT_CLASS = "snapshot.storage.kubernetes.io/is-default-class"
CREATES, LISTS = "CREATE_DELETE_SNAPSHOT", "LIST_SNAPSHOTS"


def content_name(snapshot: Object) -> str:
    """Return the name of the content that a snapshot of a claim gets."""
    return f"snapcontent-{snapshot['metadata']['uid']}"


WORDS = Words(
    name="snapshot",
    reason="Snapshot",
    asked=VOLUME_SNAPSHOTS,
    content=VOLUME_SNAPSHOT_CONTENTS,
    classes=VOLUME_SNAPSHOT_CLASSES,
    reference="volumeSnapshotRef",
    by_hand="volumeSnapshotContentName",
    bound="boundVolumeSnapshotContentName",
    class_name="volumeSnapshotClassName",
    content_finalizer=CONTENT_BOUND,
    finalizers=(SNAPSHOT_BOUND, SNAPSHOT_SOURCE, groups.IN_GROUP),
    content_name=content_name,
    takes=lambda driver: CREATES in driver.controller,
)


class Snapshotter:
    """Takes, binds and deletes snapshots."""

    def __init__(self, client: Client, reach: Reach, claims: Informer, volumes: Informer, events: EventRecorder) -> None:
        self._client, self._reach, self._claims, self._volumes, self._events = client, reach, claims, volumes, events
        self._life = Contents(client, reach, events, WORDS, self)
        self.snapshots, self.contents = self._life.asked, self._life.contents

    async def run(self) -> None:
        """Work until cancelled."""
        await self._life.run()

    def look_again(self) -> None:
        """Work on everything that is there."""
        self._life.look_again()

    async def take(self, asked: Object) -> float | None:
        """Bring a snapshot of a claim one step on: class, content, status."""
        group = groups.owner_of(asked)
        content = self._content_of_member(asked) if group else self.contents.get(content_name(asked))
        if content is not None:
            return await self.follow(asked, content)
        if group:
            return None  # it is taken with its group
        claim = self._claims.get(asked["spec"]["source"]["persistentVolumeClaimName"], asked["metadata"]["namespace"])
        volume = self._volumes.get(claim["spec"].get("volumeName") or "") if claim is not None else None
        if claim is None or volume is None or claim.get("status", {}).get("phase") != "Bound":
            return LOOK_AGAIN
        driver = self._reach.answers_for(volume)
        return await self._take_of(asked, claim, volume, driver) if driver is not None and WORDS.takes(driver) else None

    async def _take_of(self, snapshot: Object, claim: Object, volume: Object, driver: Driver) -> float | None:
        chosen = self._class_of(snapshot, driver)
        if chosen is None:
            name = snapshot["spec"].get("volumeSnapshotClassName")
            reason = f"class {name!r} is not there or of another driver" if name else f"there is no default class for {driver.name}"
            return await self._failed(snapshot, f"volume snapshot class: {reason}")
        snapshot = await self.protected(await self._life.with_class(snapshot, chosen))
        if not has(claim, CLAIM_SOURCE):
            await set_finalizers(self._client, PERSISTENT_VOLUME_CLAIMS, claim, with_(claim, CLAIM_SOURCE))
        try:
            await self._client.create(VOLUME_SNAPSHOT_CONTENTS, _content_of(snapshot, volume, chosen, driver))
        except AlreadyExists:
            return None
        except ValueError as error:
            return await self._failed(snapshot, str(error))
        return None

    async def follow(self, asked: Object, content: Object) -> float | None:
        """Let a snapshot say what its content has come to."""
        if self._life.answers_for(content) is None:
            return None
        found = content.get("status") or {}
        wanted: Object = {"boundVolumeSnapshotContentName": content["metadata"]["name"], "readyToUse": bool(found.get("readyToUse"))}
        if found.get("creationTime"):
            wanted["creationTime"] = groups.written_time(found["creationTime"])
        if found.get("restoreSize") is not None:
            wanted["restoreSize"] = quantity(found["restoreSize"])
        wanted["error"] = found.get("error")
        if groups.owner_of(asked):
            wanted["volumeGroupSnapshotName"] = groups.owner_of(asked)
            asked = await self.protected(asked)
        await self._life.told(asked, wanted)
        if found.get("readyToUse"):
            await self.left(asked)
        return None

    async def protected(self, asked: Object) -> Object:
        """Return a snapshot that does not go before what was made of it, and for it, is settled."""
        return await self._life.protected(asked, SNAPSHOT_BOUND, SNAPSHOT_SOURCE)

    def _content_of_member(self, snapshot: Object) -> Object | None:
        """Return the content that a member's group has bound to it."""
        uid = snapshot["metadata"]["uid"]
        return next((c for c in self.contents.items.values() if c["spec"]["volumeSnapshotRef"].get("uid") == uid), None)

    async def left(self, asked: Object) -> None:
        """Let the claim go that a snapshot was taken of, once none is being taken any more."""
        metadata, name = asked["metadata"], asked["spec"]["source"].get("persistentVolumeClaimName")
        claim = self._claims.get(name or "", metadata["namespace"])
        if claim is None or not has(claim, CLAIM_SOURCE):
            return
        waiting = [
            s
            for s in self.snapshots.items.values()
            if s["metadata"]["namespace"] == metadata["namespace"]
            and s["spec"]["source"].get("persistentVolumeClaimName") == name
            and s["metadata"]["uid"] != metadata["uid"]
            and not (s.get("status") or {}).get("readyToUse")
            and "deletionTimestamp" not in s["metadata"]
        ]
        if not waiting:
            await set_finalizers(self._client, PERSISTENT_VOLUME_CLAIMS, claim, without(claim, CLAIM_SOURCE))

    async def _has_group(self, snapshot: Object) -> bool:
        """Whether a snapshot is a member of a group that is to stay. Raises ApiError."""
        name = groups.owner_of(snapshot)
        if not name:
            return False
        try:
            group = await self._client.get(VOLUME_GROUP_SNAPSHOTS, name, snapshot["metadata"]["namespace"])
        except NotFound:
            return False
        return groups.is_of(snapshot, group) and "deletionTimestamp" not in group["metadata"]

    def is_mine(self, asked: Object) -> bool:
        """Whether this agent may let a snapshot go that has no content: the one that would have taken it, or, without its claim, any."""
        name = asked["spec"]["source"].get("persistentVolumeClaimName")
        claim = self._claims.get(name or "", asked["metadata"]["namespace"])
        volume = self._volumes.get(claim["spec"].get("volumeName") or "") if claim is not None else None
        return volume is None or self._reach.answers_for(volume) is not None

    def is_source(self, snapshot: Object) -> bool:
        """Whether a claim is being made from a snapshot."""
        for claim in self._claims.items.values():
            source = claim["spec"].get("dataSource") or {}
            if (source.get("kind"), source.get("name")) != ("VolumeSnapshot", snapshot["metadata"]["name"]):
                continue
            if claim["metadata"]["namespace"] == snapshot["metadata"]["namespace"] and not claim["spec"].get("volumeName"):
                return True
        return False

    async def has(self, driver: Driver, content: Object) -> bool:
        """Whether a driver has the snapshot that a content made by hand names."""
        return await self._listed(driver, content) is not None

    async def is_held(self, asked: Object) -> bool:
        """Whether a snapshot is one of a group, with which it goes, or a claim is being made from it."""
        if not await self._has_group(asked):
            return self.is_source(asked)
        text = "it belongs to a group snapshot, and is deleted with it"
        self._events.event(asked, "Warning", "SnapshotDeletePending", f"the individual volume snapshot is not deleted: {text}")
        return True

    async def leave(self, asked: Object) -> None:
        """Nothing comes before the end of a content."""

    async def bring_on(self, content: Object, driver: Driver) -> float | None:
        """Have a snapshot taken, or ask for it: one that others have made, or that its group has."""
        if groups.is_member(content) or content["spec"]["source"].get("snapshotHandle"):
            return await self._look_up(content, driver)
        chosen = self._life.class_of(content) or {}
        try:
            made = await self._made(content, driver, parameters=groups.own_parameters(chosen))
        except CsiError as error:
            await self._life.tell_error(content, "SnapshotCreationFailed", str(error))
            raise
        await self._life.tell(content, _status_of(made))
        return None if made.ready_to_use else READY_SECONDS

    async def _made(self, content: Object, driver: Driver, **more: Any) -> Any:
        """Take a snapshot, or be told of the one that the same call took before."""
        name, handle = f"snapshot-{content['spec']['volumeSnapshotRef']['uid']}", content["spec"]["source"]["volumeHandle"]
        confided = await self._secrets(content)
        answer = await driver.client.call("CreateSnapshot", name=name, source_volume_id=handle, secrets=confided, **more)
        return answer.snapshot

    async def _look_up(self, content: Object, driver: Driver) -> float | None:
        """Ask for a snapshot that is not taken here until it is ready: one that somebody has made, or that its group has."""
        handle = _handle(content)
        if not handle:
            return None
        try:
            found = await self._listed(driver, content)
        except (CsiError, ApiError, ValueError) as error:
            if not driver.topology or PLACE in (content["metadata"].get("annotations") or {}):  # it is of no other node
                await self._life.tell_error(
                    content, "SnapshotContentCheckandUpdateFailed", f"Failed to check and update snapshot content: {error}"
                )
            raise
        if found is None:
            return None
        if not groups.is_member(content):
            content = await self._life.secured(content)
        if LISTS not in driver.controller:
            await self._life.tell(content, {"readyToUse": True, "snapshotHandle": handle})
            return None
        await self._life.tell(content, _status_of(found))
        return None if found.ready_to_use else READY_SECONDS

    async def _listed(self, driver: Driver, content: Object) -> Any:
        """Return what a driver says of the snapshot that a content names; one that lists none is believed to have it.

        None: it has it not. Raises CsiError, ApiError, and ValueError where the class does not say which secret it is told.
        """
        if LISTS not in driver.controller:
            return csi.Snapshot()
        confided = await secrets.read(self._client, self._listing_secret(content))
        answer = await driver.client.call("ListSnapshots", snapshot_id=_handle(content), secrets=confided)
        return answer.entries[0].snapshot if answer.entries else None

    def _listing_secret(self, content: Object) -> Key | None:
        """Return the secret for asking about a snapshot: as its class says now, for a member of a group that of its deletion."""
        if groups.is_member(content):
            return volume_secrets.for_deletion(VOLUME_SNAPSHOT_CONTENTS.kind, content)
        name = content["spec"].get("volumeSnapshotClassName")
        chosen = self._life.class_of(content) if name else {}
        if chosen is None:
            raise ValueError(f"there is no volume snapshot class {name!r}")
        return volume_secrets.for_listing(content, chosen.get("parameters") or {})

    async def destroy(self, content: Object, driver: Driver) -> None:
        """Delete a snapshot; a member of a group is deleted with that."""
        if groups.is_member(content):
            return
        handle = _handle(content) or await self._remade(content, driver)
        if handle:
            await driver.client.call("DeleteSnapshot", snapshot_id=handle, secrets=await self._secrets(content))

    async def _remade(self, content: Object, driver: Driver) -> str:
        """Return the handle of a snapshot that may or may not have been taken: the same call again tells it."""
        try:
            return str((await self._made(content, driver)).snapshot_id)
        except CsiError as error:
            if error.final or error.code == "NOT_FOUND":
                return ""
            raise

    async def _secrets(self, content: Object) -> dict[str, str]:
        return await secrets.read(self._client, volume_secrets.for_deletion(VOLUME_SNAPSHOT_CONTENTS.kind, content))

    def _class_of(self, snapshot: Object, driver: Driver) -> Object | None:
        if snapshot["spec"].get("volumeSnapshotClassName"):
            return self._life.class_named(snapshot, driver)
        for candidate in self._life.classes.items.values():
            marked = (candidate["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true"
            if marked and candidate["driver"] == driver.name:
                return candidate
        return None

    async def _failed(self, snapshot: Object, message: str) -> float:
        return await self._life.failed(snapshot, "SnapshotContentCreationFailed", message)


def _content_of(snapshot: Object, volume: Object, chosen: Object, driver: Driver) -> Object:
    metadata = snapshot["metadata"]
    reference = {
        "apiVersion": "snapshot.storage.k8s.io/v1",
        "kind": "VolumeSnapshot",
        "name": metadata["name"],
        "namespace": metadata["namespace"],
        "uid": metadata["uid"],
    }
    words = {"volumesnapshotcontent.name": content_name(snapshot), "volumesnapshot.name": metadata["name"]}
    words["volumesnapshot.namespace"] = metadata["namespace"]
    secret = volume_secrets.reference(volume_secrets.SNAPSHOTTER, chosen.get("parameters") or {}, words)
    annotations = place_of(driver) | volume_secrets.deletion_annotations(VOLUME_SNAPSHOT_CONTENTS.kind, secret)
    return {
        "apiVersion": "snapshot.storage.k8s.io/v1",
        "kind": "VolumeSnapshotContent",
        "metadata": {"name": content_name(snapshot), "finalizers": [CONTENT_BOUND], "annotations": annotations},
        "spec": {
            "deletionPolicy": chosen["deletionPolicy"],
            "driver": driver.name,
            "source": {"volumeHandle": volume["spec"]["csi"]["volumeHandle"]},
            "sourceVolumeMode": volume["spec"].get("volumeMode", "Filesystem"),
            "volumeSnapshotClassName": chosen["metadata"]["name"],
            "volumeSnapshotRef": reference,
        },
    }


def _status_of(made: Any) -> Object:
    status: Object = {
        "snapshotHandle": made.snapshot_id,
        "readyToUse": made.ready_to_use,
        "creationTime": made.creation_time.ToNanoseconds(),
    }
    return status | ({"restoreSize": made.size_bytes} if made.size_bytes else {})


def _handle(content: Object) -> str:
    """Return what a driver calls a snapshot that is not taken here, "" where that is not known yet."""
    return str(content["spec"]["source"].get("snapshotHandle") or (content.get("status") or {}).get("snapshotHandle") or "")
