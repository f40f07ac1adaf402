"""VolumeGroupSnapshots: several volumes at one moment, for the volumes that this agent answers for.

    group, its claims by selector > content (driver, volume handles) > CreateVolumeGroupSnapshot > content's status
    > for each member a VolumeSnapshot with its content, bound to each other > group's status

The rest of their life is told in `contents`. Members are deleted with their group and not before. A driver that is on every node by
itself takes groups of volumes of one node. Source: external-snapshotter's API v1, CSI GroupController.
"""

from __future__ import annotations

from typing import Any

from moorings_core.client.events import EventRecorder
from moorings_core.client.informer import Informer
from moorings_core.client.resources import (
    VOLUME_GROUP_SNAPSHOT_CLASSES,
    VOLUME_GROUP_SNAPSHOT_CONTENTS,
    VOLUME_GROUP_SNAPSHOTS,
    VOLUME_SNAPSHOT_CONTENTS,
    VOLUME_SNAPSHOTS,
)
from moorings_core.ports.client import Client
from moorings_core.ports.errors import AlreadyExists
from moorings_core.ports.objects import Object, Resource, key_of
from moorings_core.registry.selectors import from_label_selector

from . import groups, secrets
from .client import CsiError
from .contents import LOOK_AGAIN, READY_SECONDS, Contents, Words, place_of
from .groups import CONTENT_BOUND, GROUP_BOUND
from .plugins import Driver
from .reach import Reach
from .snapshotter import Snapshotter

CREATES = "CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT"
WORDS = Words(
    name="group snapshot",
    reason="GroupSnapshot",
    asked=VOLUME_GROUP_SNAPSHOTS,
    content=VOLUME_GROUP_SNAPSHOT_CONTENTS,
    classes=VOLUME_GROUP_SNAPSHOT_CLASSES,
    reference="volumeGroupSnapshotRef",
    by_hand="volumeGroupSnapshotContentName",
    bound="boundVolumeGroupSnapshotContentName",
    class_name="volumeGroupSnapshotClassName",
    content_finalizer=CONTENT_BOUND,
    finalizers=(GROUP_BOUND,),
    content_name=groups.content_name,
    takes=lambda driver: CREATES in driver.in_groups,
)


class GroupSnapshotter:
    """Takes, binds and deletes groups of snapshots."""

    def __init__(
        self, client: Client, reach: Reach, claims: Informer, volumes: Informer, single: Snapshotter, events: EventRecorder
    ) -> None:
        self._client, self._reach, self._claims, self._volumes, self._single, self._events = client, reach, claims, volumes, single, events
        self._life = Contents(client, reach, events, WORDS, self)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._life.run(self._single.snapshots)

    def look_again(self) -> None:
        """Work on everything that is there."""
        self._life.look_again()

    async def take(self, asked: Object) -> float | None:
        """Bring a group one step on: class, content, members, status."""
        content = self._life.contents.get(groups.content_name(asked))
        if content is not None:
            return await self.follow(asked, content)
        members = self._members_wanted(asked)
        if members is None:
            return LOOK_AGAIN
        if not members:
            return await self._without_members(asked)
        driver = self._reach.answers_for(members[0])
        return await self._take_of(asked, members, driver) if driver is not None and WORDS.takes(driver) else None

    async def _take_of(self, group: Object, members: list[Object], driver: Driver) -> float | None:
        chosen = self._class_of(group, driver)
        if chosen is None:
            return await self._failed(
                group, f"there is no volume group snapshot class for {driver.name} of the name given, or no default one"
            )
        for volume in members:
            if self._reach.answers_for(volume) is not driver:
                name = volume["metadata"]["name"]
                return await self._failed(group, f"volume {name!r} is not reachable where {members[0]['metadata']['name']!r} is")
        group = await self.protected(await self._life.with_class(group, chosen))
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
        chosen = self._life.class_of(group)
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

    async def follow(self, asked: Object, content: Object) -> float | None:
        """Make the members of a group that was taken, and let it say what its content has come to."""
        if self._life.answers_for(content) is None:
            return None
        found = content.get("status") or {}
        if found.get("volumeGroupSnapshotHandle") and content["spec"]["source"].get("volumeHandles"):
            for member in found.get("volumeSnapshotInfoList") or ():
                await self._make_member(asked, content, member)
        wanted: Object = {
            "boundVolumeGroupSnapshotContentName": content["metadata"]["name"],
            "readyToUse": bool(found.get("readyToUse")),
            "error": found.get("error"),
        }
        if found.get("creationTime"):
            wanted["creationTime"] = found["creationTime"]
        if await self._life.told(asked, wanted) and wanted["readyToUse"]:
            self._events.event(asked, "Normal", "GroupSnapshotReady", f"GroupSnapshot {key_of(asked)} is ready to use.")
        return None

    async def protected(self, asked: Object) -> Object:
        """Return a group that does not go before what was made for it is settled."""
        return await self._life.protected(asked, GROUP_BOUND)

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

    async def has(self, driver: Driver, content: Object) -> bool:
        """Whether a driver has the group that a content made by hand names."""
        return await _asked(driver, content) is not None

    def is_mine(self, asked: Object) -> bool:
        """Whoever sees a group that has no content lets it go."""
        return True

    async def is_held(self, asked: Object) -> bool:
        """Whether a claim is being made from a member."""
        return any(self._single.is_source(member) for member in self._members(asked))

    async def leave(self, asked: Object) -> None:
        """Delete the members."""
        for member in self._members(asked):
            if "deletionTimestamp" not in member["metadata"]:
                await self._client.delete(VOLUME_SNAPSHOTS, *_name(member), uid=member["metadata"]["uid"])

    async def left(self, asked: Object) -> None:
        """Nothing comes after the end of a content."""

    def _members(self, group: Object) -> list[Object]:
        return [snapshot for snapshot in self._single.snapshots.items.values() if groups.is_of(snapshot, group)]

    async def bring_on(self, content: Object, driver: Driver) -> float | None:
        """Ask the driver for a group until it is ready: to take it, or what has become of one made by other means."""
        by_hand = content["spec"]["source"].get("groupSnapshotHandles")
        if by_hand and not content["spec"]["volumeGroupSnapshotRef"].get("uid"):
            return None  # no group has asked for it yet
        content = await self._life.secured(content)
        try:
            made = await _asked(driver, content) if by_hand else await self._made(content, driver)
        except CsiError as error:
            text = f"Failed to create group snapshot: {error}"
            await self._life.tell_error(content, "GroupSnapshotCreationFailed", str(error), event=text)
            raise
        if made is None:
            return None
        await self._life.tell(content, groups.content_status(made, with_members=not by_hand))
        return None if made.ready_to_use else READY_SECONDS

    async def _made(self, content: Object, driver: Driver) -> Any:
        """Take a group, or be told of what the same call made before."""
        chosen = self._life.class_of(content) or {}
        answer = await driver.client.call(
            "CreateVolumeGroupSnapshot",
            name=f"groupsnapshot-{content['spec']['volumeGroupSnapshotRef']['uid']}",
            source_volume_ids=content["spec"]["source"]["volumeHandles"],
            parameters=groups.own_parameters(chosen),
            secrets=await self._secrets(content),
        )
        return answer.group_snapshot

    async def destroy(self, content: Object, driver: Driver) -> None:
        """Delete a group with its members."""
        handle, members = groups.handles(content)
        if not handle:
            handle, members = await self._remade(content, driver)
        if handle:
            confided = await self._secrets(content)
            await driver.client.call("DeleteVolumeGroupSnapshot", group_snapshot_id=handle, snapshot_ids=members, secrets=confided)

    async def _remade(self, content: Object, driver: Driver) -> tuple[str, list[str]]:
        """Return the handles of a group that may or may not have been taken: the same call again tells them."""
        try:
            made = await self._made(content, driver)
        except CsiError as error:
            if error.final or error.code == "NOT_FOUND":
                return "", []
            raise
        return made.group_snapshot_id, [s.snapshot_id for s in made.snapshots]

    def _class_of(self, group: Object, driver: Driver) -> Object | None:
        if group["spec"].get("volumeGroupSnapshotClassName"):
            return self._life.class_named(group, driver)
        marked = [c for c in self._life.classes.items.values() if groups.is_default(c) and c["driver"] == driver.name]
        return marked[0] if len(marked) == 1 else None

    async def _secrets(self, content: Object) -> dict[str, str]:
        return await secrets.read(self._client, groups.secret_of(content))

    async def _failed(self, group: Object, message: str) -> float:
        return await self._life.failed(group, "GroupSnapshotContentCreationFailed", message)


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
