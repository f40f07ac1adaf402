"""The agents' work on snapshots against the real API in memory, with a driver that keeps what it is told."""

from __future__ import annotations

import asyncio

from moorings_core.agent.csi.client import CsiError
from moorings_core.agent.csi.plugins import Driver
from moorings_core.client.resources import (
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    VOLUME_GROUP_SNAPSHOTS,
)
from moorings_core.protos import csi_pb2 as csi

DRIVER = "d.example.com"
GROUP = {"apiVersion": "groupsnapshot.storage.k8s.io/v1", "kind": "VolumeGroupSnapshot"}


class CsiDriver:
    """The snapshot methods of a driver; `broken` says what the next call fails with; `known` are snapshots that were made elsewhere."""

    def __init__(self):
        self.groups, self.calls, self.broken, self.known = {}, [], None, {}

    def of(self, rpc):
        """What it was told by all calls of a method."""
        return [fields for called, fields in self.calls if called == rpc]

    async def call(self, rpc, **fields):
        self.calls.append((rpc, fields))
        if self.broken:
            raise CsiError(rpc, self.broken, "as asked")
        return getattr(self, rpc)(**fields)

    def CreateVolumeGroupSnapshot(self, name, source_volume_ids, **rest):
        members = [csi.Snapshot(snapshot_id=f"s-{v}", source_volume_id=v, size_bytes=1 << 20, ready_to_use=True) for v in source_volume_ids]
        made = csi.VolumeGroupSnapshot(group_snapshot_id=f"g-{name}", snapshots=members, ready_to_use=True)
        self.groups[made.group_snapshot_id] = made
        return csi.CreateVolumeGroupSnapshotResponse(group_snapshot=made)

    def ListSnapshots(self, snapshot_id, **rest):
        found = self.known.get(snapshot_id)
        return csi.ListSnapshotsResponse(entries=[csi.ListSnapshotsResponse.Entry(snapshot=found)] if found else [])

    def GetVolumeGroupSnapshot(self, group_snapshot_id, **rest):
        if group_snapshot_id not in self.groups:
            raise CsiError("GetVolumeGroupSnapshot", "NOT_FOUND", "no such group")
        return csi.GetVolumeGroupSnapshotResponse(group_snapshot=self.groups[group_snapshot_id])

    def DeleteVolumeGroupSnapshot(self, group_snapshot_id, snapshot_ids, **rest):
        assert list(snapshot_ids) == [s.snapshot_id for s in self.groups[group_snapshot_id].snapshots]
        del self.groups[group_snapshot_id]


class Reach:
    """An agent that answers for the volumes of its one driver, except for those of another node."""

    def __init__(self, called):
        capability = frozenset({"CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT"})
        methods = frozenset({"CREATE_DELETE_SNAPSHOT", "LIST_SNAPSHOTS"})
        self._driver = Driver(DRIVER, called, "n", {"node": "n"}, 0, methods, in_groups=capability)

    def driver(self, name):
        return self._driver if name == DRIVER else None

    def leads(self, driver):
        return True

    def answers_for(self, volume):
        return self._driver if volume["metadata"].get("annotations", {}).get("node", "n") == "n" else None


class Events:
    def __init__(self):
        self.reasons = []

    def event(self, obj, kind, reason, message):
        self.reasons.append(reason)


class Cluster:
    def __init__(self, client, driver, events):
        self.client, self.driver, self.events = client, driver, events

    async def claim(self, name, labels=None, node="n"):
        volume = f"pv-{name}"
        reference = {"kind": "PersistentVolumeClaim", "namespace": "default", "name": name}
        spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "claimRef": reference}
        spec["csi"] = {"driver": DRIVER, "volumeHandle": f"h-{name}"}
        metadata = {"name": volume, "annotations": {"node": node}}
        await self.client.create(PERSISTENT_VOLUMES, {"metadata": metadata, "spec": spec})
        wanted = {"accessModes": ["ReadWriteOnce"], "volumeName": volume, "resources": {"requests": {"storage": "1Gi"}}}
        body = {"metadata": {"name": name, "namespace": "default", "labels": labels or {"app": "db"}}, "spec": wanted}
        await self.client.create(PERSISTENT_VOLUME_CLAIMS, body)

    async def group(self, name="g", **source):
        source = source or {"selector": {"matchLabels": {"app": "db"}}}
        body = {**GROUP, "metadata": {"name": name, "namespace": "default"}, "spec": {"source": source}}
        return await self.client.create(VOLUME_GROUP_SNAPSHOTS, body)

    async def status(self, name="g"):
        return (await self.client.get(VOLUME_GROUP_SNAPSHOTS, name, "default")).get("status") or {}

    async def items(self, resource):
        return (await self.client.list(resource)).items


async def until(look):
    """Wait until look answers something true; return that."""
    async with asyncio.timeout(20):
        while not (found := await look()):
            await asyncio.sleep(0.02)
    return found
