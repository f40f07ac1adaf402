"""VolumeGroupSnapshots: several volumes at one moment, for the volumes that this agent answers for.

    group, its claims by selector > content (driver, volume handles) > CreateVolumeGroupSnapshot > content's status
    > for each member a VolumeSnapshot with its content, bound to each other > group's status
    content made by hand with a group's handles > bound to the group it names

A content object with its finalizer is written before the driver is asked and stays until DeleteVolumeGroupSnapshot is done: no crash
leaks a group. Members are deleted with their group and not before. A driver that is on every node by itself takes groups of volumes
of one node. Source: external-snapshotter's API v1, CSI GroupController.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from moorings_core.client.events import EventRecorder
from moorings_core.client.informer import Informer
from moorings_core.client.keyed import KeyedWorker
from moorings_core.client.resources import (
    VOLUME_GROUP_SNAPSHOT_CLASSES,
    VOLUME_GROUP_SNAPSHOT_CONTENTS,
    VOLUME_GROUP_SNAPSHOTS,
    VOLUME_SNAPSHOT_CONTENTS,
    VOLUME_SNAPSHOTS,
)
from moorings_core.ports.client import Client
from moorings_core.ports.errors import AlreadyExists, Conflict
from moorings_core.ports.objects import Key, Object, Resource, key_of
from moorings_core.registry.selectors import from_label_selector

from . import groups, secrets
from .client import CsiError
from .finalizers import has, set_finalizers, with_, without
from .groups import CONTENT_BOUND, GROUP_BOUND
from .plugins import Driver
from .reach import Reach
from .snapshotter import LOOK_AGAIN, READY_SECONDS, SYNC_SECONDS, Snapshotter, now, place_of

CREATES = "CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT"


class GroupSnapshotter:
    """Takes, binds and deletes groups of snapshots."""

    def __init__(
        self, client: Client, reach: Reach, claims: Informer, volumes: Informer, single: Snapshotter, events: EventRecorder
    ) -> None:
        self._client, self._reach, self._claims, self._volumes, self._single, self._events = client, reach, claims, volumes, single, events
        self._groups = Informer(client, VOLUME_GROUP_SNAPSHOTS)
        self._contents = Informer(client, VOLUME_GROUP_SNAPSHOT_CONTENTS)
        self._classes = Informer(client, VOLUME_GROUP_SNAPSHOT_CLASSES)
        self._group_work: KeyedWorker[Key] = KeyedWorker("group snapshot", self._group)
        self._content_work: KeyedWorker[str] = KeyedWorker("group snapshot content", self._content)

    async def run(self) -> None:
        """Work until cancelled."""
        self._groups.on_change(self._group_changed)
        self._contents.on_change(self._content_changed)
        informers = (self._classes, self._contents, self._groups)
        async with asyncio.TaskGroup() as tasks:
            for informer in informers:
                tasks.create_task(informer.run())
            for informer in (*informers, self._single.snapshots):
                await informer.synced(SYNC_SECONDS)
            tasks.create_task(self._group_work.run())
            tasks.create_task(self._content_work.run())

    def look_again(self) -> None:
        """Work on everything that is there."""
        for group in self._groups.items:
            self._group_work.add(group)
        for content in self._contents.items:
            self._content_work.add(content.name)

    def _group_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._group_work.add(key_of(new))
        bound = ((new or old or {}).get("status") or {}).get("boundVolumeGroupSnapshotContentName")
        if bound:
            self._content_work.add(bound)

    def _content_changed(self, old: Object | None, new: Object | None) -> None:
        reference = ((new or old or {}).get("spec") or {}).get("volumeGroupSnapshotRef") or {}
        self._group_work.add(Key(reference.get("namespace", ""), reference.get("name", "")))
        if new is not None:
            self._content_work.add(new["metadata"]["name"])

    async def _group(self, key: Key) -> float | None:
        group = self._groups.get(key.name, key.namespace)
        if group is None:
            return None
        try:
            if "deletionTimestamp" in group["metadata"]:
                return await self._let_go(group)
            if group["spec"]["source"].get("volumeGroupSnapshotContentName"):
                return await self._bind_made_by_hand(group)
            return await self._take(group)
        except Conflict:
            return LOOK_AGAIN

    async def _take(self, group: Object) -> float | None:
        """Bring a group one step on: class, content, members, status."""
        content = self._contents.get(groups.content_name(group))
        if content is not None:
            return await self._follow(group, content)
        members = self._members_wanted(group)
        if members is None:
            return LOOK_AGAIN
        if not members:
            return await self._without_members(group)
        driver = self._reach.answers_for(members[0])
        if driver is None or CREATES not in driver.in_groups:
            return None
        chosen = self._class_of(group, driver)
        if chosen is None:
            return await self._failed(
                group, f"there is no volume group snapshot class for {driver.name} of the name given, or no default one"
            )
        for volume in members:
            if self._reach.answers_for(volume) is not driver:
                name = volume["metadata"]["name"]
                return await self._failed(group, f"volume {name!r} is not reachable where {members[0]['metadata']['name']!r} is")
        if not group["spec"].get("volumeGroupSnapshotClassName"):
            group = await self._patch(group, {"spec": {"volumeGroupSnapshotClassName": chosen["metadata"]["name"]}})
        if not has(group, GROUP_BOUND):
            group = await set_finalizers(self._client, VOLUME_GROUP_SNAPSHOTS, group, with_(group, GROUP_BOUND))
        try:
            made = groups.content_of(group, members, chosen, place_of(driver))
            await self._client.create(VOLUME_GROUP_SNAPSHOT_CONTENTS, made)
        except ValueError as error:
            return await self._failed(group, str(error))
        except AlreadyExists:
            return None
        text = f"Waiting for a group snapshot {key_of(group)} to be created by the CSI driver."
        self._events.event(group, "Normal", "CreatingGroupSnapshot", text)
        return None

    async def _without_members(self, group: Object) -> float:
        """Tell of a group whose selector names no claim, where a driver of its class is."""
        chosen = self._classes.get(group["spec"].get("volumeGroupSnapshotClassName") or "")
        if chosen is not None and self._reach.driver(chosen["driver"]) is not None:
            return await self._failed(group, "the label selector of the group snapshot is not that of any PersistentVolumeClaim")
        return LOOK_AGAIN

    def _members_wanted(self, group: Object) -> list[Object] | None:
        """Return the volumes of the claims that the selector names, by the claims' names; None while one of them is not bound."""
        selector, namespace = from_label_selector(group["spec"]["source"].get("selector")), group["metadata"]["namespace"]
        claims = [
            claim
            for key, claim in sorted(self._claims.items.items())
            if key.namespace == namespace and selector.matches(claim["metadata"].get("labels") or {})
        ]
        found = [self._volumes.get(claim["spec"].get("volumeName") or "") for claim in claims]
        bound = [volume for volume in found if volume is not None]
        return sorted(bound, key=lambda volume: "csi" not in volume["spec"]) if len(bound) == len(claims) else None

    async def _follow(self, group: Object, content: Object) -> float | None:
        """Make the members of a group that was taken, and let it say what its content has come to."""
        if self._answers_for(content) is None:
            return None
        found = content.get("status") or {}
        if found.get("volumeGroupSnapshotHandle") and content["spec"]["source"].get("volumeHandles"):
            for member in found.get("volumeSnapshotInfoList") or ():
                await self._make_member(group, content, member)
        wanted: Object = {
            "boundVolumeGroupSnapshotContentName": content["metadata"]["name"],
            "readyToUse": bool(found.get("readyToUse")),
            "error": found.get("error"),
        }
        if found.get("creationTime"):
            wanted["creationTime"] = found["creationTime"]
        told = group.get("status") or {}
        if any(told.get(k) != v for k, v in wanted.items()):
            await self._patch(group, {"status": wanted}, "status")
            if wanted["readyToUse"]:
                self._events.event(group, "Normal", "GroupSnapshotReady", f"GroupSnapshot {key_of(group)} is ready to use.")
        return None

    async def _make_member(self, group: Object, content: Object, member: Object) -> None:
        """Make the snapshot of one volume of a group, with its content, and bind them; what is there is left as it is."""
        name, handle = groups.member_name(group, member), content["status"]["volumeGroupSnapshotHandle"]
        if self._single.snapshots.get(name, group["metadata"]["namespace"]) is not None:
            known = self._single.contents.get(groups.member_content_name(group, member))
            if known is None or (known.get("status") or {}).get("snapshotHandle"):
                return
        volume = next((v for v in self._volumes.items.values() if _handle(v) == (content["spec"]["driver"], member["volumeHandle"])), None)
        made = await self._create(VOLUME_SNAPSHOT_CONTENTS, groups.member_content(group, content, member, volume))
        snapshot = await self._create(VOLUME_SNAPSHOTS, groups.member_snapshot(group, member, volume))
        bound = {"spec": {"volumeSnapshotRef": {"uid": snapshot["metadata"]["uid"]}}}
        await self._client.patch(VOLUME_SNAPSHOT_CONTENTS, made["metadata"]["name"], "", bound, type="merge")
        status = {"status": groups.member_status(member, handle)}
        await self._client.patch(VOLUME_SNAPSHOT_CONTENTS, made["metadata"]["name"], "", status, type="merge", subresource="status")

    async def _create(self, resource: Resource, obj: Object) -> Object:
        try:
            return await self._client.create(resource, obj)
        except AlreadyExists:
            return await self._client.get(resource, obj["metadata"]["name"], obj["metadata"].get("namespace", ""))

    async def _bind_made_by_hand(self, group: Object) -> float | None:
        content = self._contents.get(group["spec"]["source"]["volumeGroupSnapshotContentName"])
        if content is None:
            return LOOK_AGAIN
        driver = self._answers_for(content)
        if driver is None or await _asked(driver, content) is None:
            return None
        reference, metadata = content["spec"]["volumeGroupSnapshotRef"], group["metadata"]
        same = (reference.get("namespace"), reference.get("name")) == (metadata["namespace"], metadata["name"])
        if not same or reference.get("uid") not in (None, "", metadata["uid"]):
            return await self._failed(
                group, f"VolumeGroupSnapshotContent [{content['metadata']['name']}] is bound to a different group snapshot"
            )
        if not has(group, GROUP_BOUND):
            group = await set_finalizers(self._client, VOLUME_GROUP_SNAPSHOTS, group, with_(group, GROUP_BOUND))
        if not reference.get("uid"):
            bound = {"spec": {"volumeGroupSnapshotRef": {"uid": metadata["uid"]}}, "metadata": {"annotations": place_of(driver)}}
            content = await self._client.patch(VOLUME_GROUP_SNAPSHOT_CONTENTS, content["metadata"]["name"], "", bound, type="merge")
        return await self._follow(group, content)

    async def _let_go(self, group: Object) -> float | None:
        """A deleted group goes with its members, once no claim is made from one of them."""
        if not has(group, GROUP_BOUND):
            return None
        name = (group.get("status") or {}).get("boundVolumeGroupSnapshotContentName") or groups.content_name(group)
        content = self._contents.get(name)
        if content is not None and content["spec"]["volumeGroupSnapshotRef"].get("uid") != group["metadata"]["uid"]:
            content = None
        if content is not None and self._answers_for(content) is None:
            return None
        members = [s for s in self._single.snapshots.items.values() if groups.is_of(s, group)]
        if any(self._single.is_source(member) for member in members):
            return LOOK_AGAIN
        for member in members:
            if "deletionTimestamp" not in member["metadata"]:
                await self._client.delete(VOLUME_SNAPSHOTS, *_name(member), uid=member["metadata"]["uid"])
        if content is not None and content["spec"]["deletionPolicy"] == "Delete":
            if "deletionTimestamp" not in content["metadata"]:
                await self._client.delete(VOLUME_GROUP_SNAPSHOT_CONTENTS, name, uid=content["metadata"]["uid"])
            return None  # its end brings the group back here
        await set_finalizers(self._client, VOLUME_GROUP_SNAPSHOTS, group, without(group, GROUP_BOUND))
        return None

    async def _content(self, name: str) -> float | None:
        content = self._contents.get(name)
        driver = self._answers_for(content) if content is not None else None
        if content is None or driver is None:
            return None
        try:
            if "deletionTimestamp" in content["metadata"]:
                await self._delete(content, driver)
            elif not (content.get("status") or {}).get("readyToUse"):
                return await self._bring_on(content, driver)
        except Conflict:
            return LOOK_AGAIN
        return None

    async def _bring_on(self, content: Object, driver: Driver) -> float | None:
        """Ask the driver for a group until it is ready: to take it, or what has become of one made by other means."""
        by_hand = content["spec"]["source"].get("groupSnapshotHandles")
        if by_hand and not content["spec"]["volumeGroupSnapshotRef"].get("uid"):
            return None  # no group has asked for it yet
        if not has(content, CONTENT_BOUND):
            content = await set_finalizers(self._client, VOLUME_GROUP_SNAPSHOT_CONTENTS, content, with_(content, CONTENT_BOUND))
        try:
            made = await _asked(driver, content) if by_hand else await self._made(content, driver)
        except CsiError as error:
            await self._tell(content, {"readyToUse": False, "error": {"message": str(error), "time": now()}})
            self._events.event(content, "Warning", "GroupSnapshotCreationFailed", f"Failed to create group snapshot: {error}")
            raise
        if made is None:
            return None
        await self._tell(content, groups.content_status(made, with_members=not by_hand))
        return None if made.ready_to_use else READY_SECONDS

    async def _made(self, content: Object, driver: Driver) -> Any:
        """Take a group, or be told of what the same call made before."""
        chosen = self._classes.get(content["spec"].get("volumeGroupSnapshotClassName") or "") or {}
        answer = await driver.client.call(
            "CreateVolumeGroupSnapshot",
            name=f"groupsnapshot-{content['spec']['volumeGroupSnapshotRef']['uid']}",
            source_volume_ids=content["spec"]["source"]["volumeHandles"],
            parameters=groups.own_parameters(chosen),
            secrets=await self._secrets(content),
        )
        return answer.group_snapshot

    async def _delete(self, content: Object, driver: Driver) -> None:
        """Delete what a content stands for, if its policy says so, and let it go."""
        if not has(content, CONTENT_BOUND):
            return
        reference = content["spec"]["volumeGroupSnapshotRef"]
        group = self._groups.get(reference.get("name", ""), reference.get("namespace", ""))
        if group is not None and group["metadata"]["uid"] == reference.get("uid") and "deletionTimestamp" not in group["metadata"]:
            return  # the group goes first
        if content["spec"]["deletionPolicy"] == "Delete":
            handle, members = groups.handles(content)
            if not handle:
                handle, members = await self._remade(content, driver)
            if handle:
                confided = await self._secrets(content)
                await driver.client.call("DeleteVolumeGroupSnapshot", group_snapshot_id=handle, snapshot_ids=members, secrets=confided)
        await set_finalizers(self._client, VOLUME_GROUP_SNAPSHOT_CONTENTS, content, without(content, CONTENT_BOUND))

    async def _remade(self, content: Object, driver: Driver) -> tuple[str, list[str]]:
        """Return the handles of a group that may or may not have been taken: the same call again tells them."""
        try:
            made = await self._made(content, driver)
        except CsiError as error:
            if error.final or error.code == "NOT_FOUND":
                return "", []
            raise
        return made.group_snapshot_id, [s.snapshot_id for s in made.snapshots]

    def _answers_for(self, content: Object) -> Driver | None:
        """Return the driver of a content if this agent is to work on it."""
        driver = self._reach.driver(content["spec"]["driver"])
        if driver is None or CREATES not in driver.in_groups or not self._reach.leads(driver):
            return None
        place, annotations = place_of(driver), content["metadata"].get("annotations") or {}
        return driver if all(annotations.get(key, value) == value for key, value in place.items()) else None

    def _class_of(self, group: Object, driver: Driver) -> Object | None:
        name = group["spec"].get("volumeGroupSnapshotClassName")
        if name:
            found = self._classes.get(name)
            return found if found is not None and found["driver"] == driver.name else None
        marked = [c for c in self._classes.items.values() if groups.is_default(c) and c["driver"] == driver.name]
        return marked[0] if len(marked) == 1 else None

    async def _secrets(self, content: Object) -> dict[str, str]:
        return await secrets.read(self._client, groups.secret_of(content))

    async def _failed(self, group: Object, message: str) -> float:
        if ((group.get("status") or {}).get("error") or {}).get("message") != message:
            await self._patch(group, {"status": {"readyToUse": False, "error": {"message": message, "time": now()}}}, "status")
            self._events.event(group, "Warning", "GroupSnapshotContentCreationFailed", message)
        return LOOK_AGAIN

    async def _patch(self, group: Object, patch: Object, subresource: str = "") -> Object:
        return await self._client.patch(VOLUME_GROUP_SNAPSHOTS, *_name(group), patch, type="merge", subresource=subresource)

    async def _tell(self, content: Object, status: Mapping[str, Any]) -> None:
        patch = {"status": {"error": None, **status}}
        await self._client.patch(VOLUME_GROUP_SNAPSHOT_CONTENTS, content["metadata"]["name"], "", patch, type="merge", subresource="status")


async def _asked(driver: Driver, content: Object) -> Any:
    """Return what a driver says of a group made by other means; None: it is another node's. Raises CsiError."""
    known = content["spec"]["source"]["groupSnapshotHandles"]
    try:
        answer = await driver.client.call(
            "GetVolumeGroupSnapshot", group_snapshot_id=known["volumeGroupSnapshotHandle"], snapshot_ids=known["volumeSnapshotHandles"]
        )
    except CsiError as error:
        if error.code == "NOT_FOUND" and driver.topology:
            return None
        raise
    return answer.group_snapshot


def _handle(volume: Object) -> tuple[str, str]:
    source = volume["spec"].get("csi") or {}
    return source.get("driver", ""), source.get("volumeHandle", "")


def _name(obj: Object) -> tuple[str, str]:
    return obj["metadata"]["name"], obj["metadata"].get("namespace", "")
