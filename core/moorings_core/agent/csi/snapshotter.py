"""VolumeSnapshots: what snapshot-controller and the external-snapshotter do, for the volumes that this agent answers for.

A content object with its finalizer is written before CreateSnapshot and stays until DeleteSnapshot is done: no crash leaks a snapshot.

    snapshot, its claim bound > content (driver, volume handle) > CreateSnapshot > content's status > snapshot's status
    content made by hand with a snapshot's handle > bound to the snapshot it names

Source: external-snapshotter's API v1; CSI CreateSnapshot.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from moorings_core.client.events import EventRecorder
from moorings_core.client.informer import Informer
from moorings_core.client.keyed import KeyedWorker
from moorings_core.client.resources import (
    PERSISTENT_VOLUME_CLAIMS,
    VOLUME_GROUP_SNAPSHOTS,
    VOLUME_SNAPSHOT_CLASSES,
    VOLUME_SNAPSHOT_CONTENTS,
    VOLUME_SNAPSHOTS,
)
from moorings_core.log import get_logger
from moorings_core.ports.client import Client
from moorings_core.ports.errors import AlreadyExists, ApiError, Conflict, NotFound
from moorings_core.ports.objects import Key, Object, key_of
from moorings_core.protos import csi_pb2 as csi
from moorings_core.registry import volume_secrets

from . import groups, secrets
from .client import CsiError
from .finalizers import has, set_finalizers, with_, without
from .plugins import Driver
from .quantities import quantity
from .reach import Reach

log = get_logger(__name__)
SNAPSHOT_BOUND = "snapshot.storage.kubernetes.io/volumesnapshot-bound-protection"
SNAPSHOT_SOURCE = "snapshot.storage.kubernetes.io/volumesnapshot-as-source-protection"
CONTENT_BOUND = "snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection"
CLAIM_SOURCE = "snapshot.storage.kubernetes.io/pvc-as-source-protection"
OURS = (SNAPSHOT_BOUND, SNAPSHOT_SOURCE, groups.IN_GROUP)
DEFAULT_CLASS = "snapshot.storage.kubernetes.io/is-default-class"
PLACE = "storage.moorings.dev/topology"
"""JSON of the topology of the driver that took a snapshot: only it can delete one that is on one node."""
SYNC_SECONDS, READY_SECONDS, LOOK_AGAIN = 600.0, 1.0, 2.0


class Snapshotter:
    """Takes, binds and deletes snapshots."""

    def __init__(self, client: Client, reach: Reach, claims: Informer, volumes: Informer, events: EventRecorder) -> None:
        self._client, self._reach, self._claims, self._volumes, self._events = client, reach, claims, volumes, events
        self.snapshots = Informer(client, VOLUME_SNAPSHOTS)
        self.contents = Informer(client, VOLUME_SNAPSHOT_CONTENTS)
        self._classes = Informer(client, VOLUME_SNAPSHOT_CLASSES)
        self._snapshot_work: KeyedWorker[Key] = KeyedWorker("snapshot", self._snapshot)
        self._content_work: KeyedWorker[str] = KeyedWorker("snapshot content", self._content)

    async def run(self) -> None:
        """Work until cancelled."""
        self.snapshots.on_change(self._snapshot_changed)
        self.contents.on_change(self._content_changed)
        async with asyncio.TaskGroup() as tasks:
            informers = (self._classes, self.contents, self.snapshots)
            for informer in informers:
                tasks.create_task(informer.run())
            for informer in informers:
                await informer.synced(SYNC_SECONDS)
            tasks.create_task(self._snapshot_work.run())
            tasks.create_task(self._content_work.run())

    def look_again(self) -> None:
        """Work on everything that is there."""
        for snapshot in self.snapshots.items:
            self._snapshot_work.add(snapshot)
        for content in self.contents.items:
            self._content_work.add(content.name)

    def _snapshot_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._snapshot_work.add(key_of(new))
        bound = ((new or old or {}).get("status") or {}).get("boundVolumeSnapshotContentName")
        if bound:
            self._content_work.add(bound)

    def _content_changed(self, old: Object | None, new: Object | None) -> None:
        content = new or old
        assert content is not None
        reference = content["spec"].get("volumeSnapshotRef") or {}
        self._snapshot_work.add(Key(reference.get("namespace", ""), reference.get("name", "")))
        if new is not None:
            self._content_work.add(new["metadata"]["name"])

    async def _snapshot(self, key: Key) -> float | None:
        snapshot = self.snapshots.get(key.name, key.namespace)
        if snapshot is None:
            return None
        try:
            if "deletionTimestamp" in snapshot["metadata"]:
                return await self._let_go(snapshot)
            if snapshot["spec"]["source"].get("volumeSnapshotContentName"):
                return await self._bind_made_by_hand(snapshot)
            return await self._take(snapshot)
        except Conflict:
            return LOOK_AGAIN

    async def _take(self, snapshot: Object) -> float | None:
        """Bring a snapshot of a claim one step on: class, content, status."""
        group = groups.owner_of(snapshot)
        content = self._content_of_member(snapshot) if group else self.contents.get(content_name(snapshot))
        if content is not None:
            return await self._follow(snapshot, content)
        if group:
            return None  # it is taken with its group
        claim = self._claims.get(snapshot["spec"]["source"]["persistentVolumeClaimName"], snapshot["metadata"]["namespace"])
        volume = self._volumes.get(claim["spec"].get("volumeName") or "") if claim is not None else None
        if claim is None or volume is None or claim.get("status", {}).get("phase") != "Bound":
            return LOOK_AGAIN
        driver = self._reach.answers_for(volume)
        if driver is None or "CREATE_DELETE_SNAPSHOT" not in driver.controller:
            return None
        chosen = self._class_of(snapshot, driver)
        if chosen is None:
            name = snapshot["spec"].get("volumeSnapshotClassName")
            reason = f"class {name!r} is not there or of another driver" if name else f"there is no default class for {driver.name}"
            return await self._failed(snapshot, f"volume snapshot class: {reason}")
        if not snapshot["spec"].get("volumeSnapshotClassName"):
            patch = {"spec": {"volumeSnapshotClassName": chosen["metadata"]["name"]}}
            snapshot = await self._patch(snapshot, patch)
        snapshot = await self._protected(snapshot)
        if not has(claim, CLAIM_SOURCE):
            await set_finalizers(self._client, PERSISTENT_VOLUME_CLAIMS, claim, with_(claim, CLAIM_SOURCE))
        try:
            await self._client.create(VOLUME_SNAPSHOT_CONTENTS, _content_of(snapshot, volume, chosen, driver))
        except AlreadyExists:
            return None
        except ValueError as error:
            return await self._failed(snapshot, str(error))
        return None

    async def _follow(self, snapshot: Object, content: Object) -> float | None:
        """Let a snapshot say what its content has come to."""
        if self._answers_for(content) is None:
            return None
        found, told = content.get("status") or {}, snapshot.get("status") or {}
        wanted: Object = {"boundVolumeSnapshotContentName": content["metadata"]["name"], "readyToUse": bool(found.get("readyToUse"))}
        if found.get("creationTime"):
            wanted["creationTime"] = groups.written_time(found["creationTime"])
        if found.get("restoreSize") is not None:
            wanted["restoreSize"] = quantity(found["restoreSize"])
        wanted["error"] = found.get("error")
        if groups.owner_of(snapshot):
            wanted["volumeGroupSnapshotName"] = groups.owner_of(snapshot)
            snapshot = await self._protected(snapshot)
        if any(told.get(k) != v for k, v in wanted.items()):
            await self._patch(snapshot, {"status": wanted}, "status")
        if found.get("readyToUse"):
            await self._release_claim(snapshot)
        return None

    async def _protected(self, snapshot: Object) -> Object:
        """Return a snapshot that does not go before what was made of it, and for it, is settled."""
        for finalizer in (SNAPSHOT_BOUND, SNAPSHOT_SOURCE):
            if not has(snapshot, finalizer):
                snapshot = await set_finalizers(self._client, VOLUME_SNAPSHOTS, snapshot, with_(snapshot, finalizer))
        return snapshot

    def _content_of_member(self, snapshot: Object) -> Object | None:
        """Return the content that a member's group has bound to it."""
        uid = snapshot["metadata"]["uid"]
        return next((c for c in self.contents.items.values() if c["spec"]["volumeSnapshotRef"].get("uid") == uid), None)

    async def _release_claim(self, snapshot: Object) -> None:
        """Let the claim go that a snapshot was taken of, once none is being taken any more."""
        metadata, name = snapshot["metadata"], snapshot["spec"]["source"].get("persistentVolumeClaimName")
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

    async def _bind_made_by_hand(self, snapshot: Object) -> float | None:
        content = self.contents.get(snapshot["spec"]["source"]["volumeSnapshotContentName"])
        if content is None:
            return LOOK_AGAIN
        driver = self._answers_for(content)
        try:
            if driver is None or await self._listed(driver, content) is None:
                return None
        except ValueError as error:
            return await self._failed(snapshot, str(error))
        reference, metadata = content["spec"]["volumeSnapshotRef"], snapshot["metadata"]
        if (reference.get("namespace"), reference.get("name")) != (metadata["namespace"], metadata["name"]):
            return await self._failed(snapshot, f"content {content['metadata']['name']!r} names another volume snapshot")
        if reference.get("uid") not in (None, "", metadata["uid"]):
            return await self._failed(snapshot, f"content {content['metadata']['name']!r} is bound to another volume snapshot")
        snapshot = await self._protected(snapshot)
        if not reference.get("uid"):
            bound = {"spec": {"volumeSnapshotRef": {"uid": metadata["uid"]}}, "metadata": {"annotations": place_of(driver)}}
            content = await self._client.patch(VOLUME_SNAPSHOT_CONTENTS, content["metadata"]["name"], "", bound)
        return await self._follow(snapshot, content)

    async def _let_go(self, snapshot: Object) -> float | None:
        """A deleted snapshot goes once no claim is made from it; its content goes with it if its policy says so."""
        if not any(has(snapshot, f) for f in OURS):
            return None
        if await self._has_group(snapshot):
            text = "it belongs to a group snapshot, and is deleted with it"
            self._events.event(snapshot, "Warning", "SnapshotDeletePending", f"the individual volume snapshot is not deleted: {text}")
            return LOOK_AGAIN
        name = (snapshot.get("status") or {}).get("boundVolumeSnapshotContentName") or content_name(snapshot)
        content = self.contents.get(name)
        if content is not None and content["spec"]["volumeSnapshotRef"].get("uid") != snapshot["metadata"]["uid"]:
            content = None
        if content is not None and self._answers_for(content) is None:
            return None
        if content is None and not self._is_mine(snapshot):
            return None
        if self.is_source(snapshot):
            return LOOK_AGAIN
        if content is not None and content["spec"]["deletionPolicy"] == "Delete":
            if "deletionTimestamp" not in content["metadata"]:
                await self._client.delete(VOLUME_SNAPSHOT_CONTENTS, name, uid=content["metadata"]["uid"])
            return None  # its end brings the snapshot back here
        await self._release_claim(snapshot)
        rest = [f for f in snapshot["metadata"]["finalizers"] if f not in OURS]
        await set_finalizers(self._client, VOLUME_SNAPSHOTS, snapshot, rest)
        return None

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

    def _is_mine(self, snapshot: Object) -> bool:
        """Whether this agent may let a snapshot go that has no content: the one that would have taken it, or, without its claim, any."""
        name = snapshot["spec"]["source"].get("persistentVolumeClaimName")
        claim = self._claims.get(name or "", snapshot["metadata"]["namespace"])
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

    async def _content(self, name: str) -> float | None:
        content = self.contents.get(name)
        driver = self._answers_for(content) if content is not None else None
        if content is None or driver is None:
            return None
        try:
            if "deletionTimestamp" in content["metadata"]:
                await self._delete(content, driver)
            elif (content.get("status") or {}).get("readyToUse"):
                return None
            elif groups.is_member(content) or content["spec"]["source"].get("snapshotHandle"):
                return await self._look_up(content, driver)
            else:
                return await self._create(content, driver)
        except Conflict:
            return LOOK_AGAIN
        return None

    async def _create(self, content: Object, driver: Driver) -> float | None:
        reference = content["spec"]["volumeSnapshotRef"]
        chosen = self._classes.get(content["spec"].get("volumeSnapshotClassName") or "")
        parameters = groups.own_parameters(chosen or {})
        name = f"snapshot-{reference['uid']}"
        try:
            answer = await driver.client.call(
                "CreateSnapshot",
                name=name,
                source_volume_id=content["spec"]["source"]["volumeHandle"],
                parameters=parameters,
                secrets=await self._secrets(content),
            )
        except CsiError as error:
            await self._tell_error(content, "SnapshotCreationFailed", str(error))
            raise
        made = answer.snapshot
        await self._tell(content, _status_of(made))
        return None if made.ready_to_use else READY_SECONDS

    async def _look_up(self, content: Object, driver: Driver) -> float | None:
        """Ask for a snapshot that is not taken here until it is ready: one that somebody has made, or that its group has."""
        handle = _handle(content)
        if not handle:
            return None
        try:
            found = await self._listed(driver, content)
        except (CsiError, ApiError, ValueError) as error:
            if not driver.topology or PLACE in (content["metadata"].get("annotations") or {}):  # it is of no other node
                await self._tell_error(
                    content, "SnapshotContentCheckandUpdateFailed", f"Failed to check and update snapshot content: {error}"
                )
            raise
        if found is None:
            return None
        if not groups.is_member(content) and not has(content, CONTENT_BOUND):
            content = await set_finalizers(self._client, VOLUME_SNAPSHOT_CONTENTS, content, with_(content, CONTENT_BOUND))
        if "LIST_SNAPSHOTS" not in driver.controller:
            await self._tell(content, {"readyToUse": True, "snapshotHandle": handle})
            return None
        await self._tell(content, _status_of(found))
        return None if found.ready_to_use else READY_SECONDS

    async def _listed(self, driver: Driver, content: Object) -> Any:
        """Return what a driver says of the snapshot that a content names; one that lists none is believed to have it.

        None: it has it not. Raises CsiError, ApiError, and ValueError where the class does not say which secret it is told.
        """
        if "LIST_SNAPSHOTS" not in driver.controller:
            return csi.Snapshot()
        confided = await secrets.read(self._client, self._listing_secret(content))
        answer = await driver.client.call("ListSnapshots", snapshot_id=_handle(content), secrets=confided)
        return answer.entries[0].snapshot if answer.entries else None

    def _listing_secret(self, content: Object) -> Key | None:
        """Return the secret for asking about a snapshot: as its class says now, for a member of a group that of its deletion."""
        if groups.is_member(content):
            return volume_secrets.for_deletion(VOLUME_SNAPSHOT_CONTENTS.kind, content)
        name = content["spec"].get("volumeSnapshotClassName")
        chosen = self._classes.get(name) if name else {}
        if chosen is None:
            raise ValueError(f"there is no volume snapshot class {name!r}")
        return volume_secrets.for_listing(content, chosen.get("parameters") or {})

    async def _delete(self, content: Object, driver: Driver) -> None:
        """Delete what a content stands for, if its policy says so, and let it go."""
        if not has(content, CONTENT_BOUND):
            return
        if groups.is_member(content):
            await set_finalizers(self._client, VOLUME_SNAPSHOT_CONTENTS, content, without(content, CONTENT_BOUND))
            return
        reference = content["spec"]["volumeSnapshotRef"]
        snapshot = self.snapshots.get(reference.get("name", ""), reference.get("namespace", ""))
        alive = snapshot is not None and snapshot["metadata"]["uid"] == reference.get("uid")
        if alive and snapshot is not None and "deletionTimestamp" not in snapshot["metadata"]:
            return  # the snapshot goes first
        if content["spec"]["deletionPolicy"] == "Delete":
            handle = (content.get("status") or {}).get("snapshotHandle") or content["spec"]["source"].get("snapshotHandle")
            if handle is None:
                handle = await self._remade(content, driver)
            if handle:
                await driver.client.call("DeleteSnapshot", snapshot_id=handle, secrets=await self._secrets(content))
        await set_finalizers(self._client, VOLUME_SNAPSHOT_CONTENTS, content, without(content, CONTENT_BOUND))

    async def _remade(self, content: Object, driver: Driver) -> str:
        """Return the handle of a snapshot that may or may not have been taken: the same call again tells it."""
        name, handle = f"snapshot-{content['spec']['volumeSnapshotRef']['uid']}", content["spec"]["source"]["volumeHandle"]
        try:
            confided = await self._secrets(content)
            answer = await driver.client.call("CreateSnapshot", name=name, source_volume_id=handle, secrets=confided)
        except CsiError as error:
            if error.final or error.code == "NOT_FOUND":
                return ""
            raise
        return str(answer.snapshot.snapshot_id)

    async def _secrets(self, content: Object) -> dict[str, str]:
        return await secrets.read(self._client, volume_secrets.for_deletion(VOLUME_SNAPSHOT_CONTENTS.kind, content))

    def _answers_for(self, content: Object) -> Driver | None:
        """Return the driver of a content if this agent is to work on it."""
        driver = self._reach.driver(content["spec"]["driver"])
        if driver is None or "CREATE_DELETE_SNAPSHOT" not in driver.controller or not self._reach.leads(driver):
            return None
        place = (content["metadata"].get("annotations") or {}).get(PLACE)
        return driver if place in (None, place_of(driver)[PLACE]) else None

    def _class_of(self, snapshot: Object, driver: Driver) -> Object | None:
        name = snapshot["spec"].get("volumeSnapshotClassName")
        if name:
            found = self._classes.get(name)
            return found if found is not None and found["driver"] == driver.name else None
        for candidate in self._classes.items.values():
            marked = (candidate["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true"
            if marked and candidate["driver"] == driver.name:
                return candidate
        return None

    async def _failed(self, snapshot: Object, message: str) -> float:
        if ((snapshot.get("status") or {}).get("error") or {}).get("message") != message:
            await self._patch(snapshot, {"status": {"readyToUse": False, "error": {"message": message, "time": now()}}}, "status")
            self._events.event(snapshot, "Warning", "SnapshotContentCreationFailed", message)
        return LOOK_AGAIN

    async def _patch(self, snapshot: Object, patch: Object, subresource: str = "") -> Object:
        metadata = snapshot["metadata"]
        return await self._client.patch(
            VOLUME_SNAPSHOTS, metadata["name"], metadata["namespace"], patch, type="merge", subresource=subresource
        )

    async def _tell(self, content: Object, status: Mapping[str, Any]) -> None:
        name = content["metadata"]["name"]
        await self._client.patch(
            VOLUME_SNAPSHOT_CONTENTS, name, "", {"status": {"error": None, **status}}, type="merge", subresource="status"
        )

    async def _tell_error(self, content: Object, reason: str, message: str) -> None:
        """Say what does not work; into the status only once, as each change of it brings the content back here at once."""
        self._events.event(content, "Warning", reason, message)
        if ((content.get("status") or {}).get("error") or {}).get("message") != message:
            await self._tell(content, {"readyToUse": False, "error": {"message": message, "time": now()}})


def content_name(snapshot: Object) -> str:
    """Return the name of the content that a snapshot of a claim gets."""
    return f"snapcontent-{snapshot['metadata']['uid']}"


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


def place_of(driver: Driver) -> dict[str, str]:
    """Return the annotation that says where the driver is that has taken a snapshot."""
    return {PLACE: json.dumps(dict(sorted(driver.topology.items())))}


def now() -> str:
    """Return the time as the API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
