"""The snapshot methods of the Controller service, and the GroupController service."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from moorings_core.protos import csi_pb2 as csi

from .controller import Controller, paged, require
from .ledger import id_of
from .locks import Locks
from .records import GroupRecord, SnapshotRecord
from .snapshots import Snapshots

GroupRpc = csi.GroupControllerServiceCapability.RPC


class SnapshottingController(Controller):
    """A Controller that also keeps volumes as they were."""

    async def CreateSnapshot(self, request: csi.CreateSnapshotRequest) -> csi.CreateSnapshotResponse:
        """Keep what a volume holds now."""
        require(request, "name", "source_volume_id")
        with self._locks.holding(id_of("snap", request.name), shared=[request.source_volume_id]):
            record = await asyncio.to_thread(self._snapshots.create, request.name, request.source_volume_id)
        return csi.CreateSnapshotResponse(snapshot=message(record))

    async def DeleteSnapshot(self, request: csi.DeleteSnapshotRequest) -> csi.DeleteSnapshotResponse:
        """Remove a snapshot; an unknown one is gone already."""
        require(request, "snapshot_id")
        with self._locks.holding(request.snapshot_id):
            await asyncio.to_thread(self._snapshots.delete, request.snapshot_id)
        return csi.DeleteSnapshotResponse()

    async def ListSnapshots(self, request: csi.ListSnapshotsRequest) -> csi.ListSnapshotsResponse:
        """Return snapshots by id, all or those of a volume or the one that was named."""
        found: Sequence[SnapshotRecord] = self._snapshots.list()
        if request.snapshot_id:
            found = [r for r in found if r.id == request.snapshot_id]
        if request.source_volume_id:
            found = [r for r in found if r.volume == request.source_volume_id]
        page, token = paged(found, request.starting_token, request.max_entries)
        entries = [csi.ListSnapshotsResponse.Entry(snapshot=message(record)) for record in page]
        return csi.ListSnapshotsResponse(entries=entries, next_token=token)

    async def GetSnapshot(self, request: csi.GetSnapshotRequest) -> csi.GetSnapshotResponse:
        """Return one snapshot."""
        require(request, "snapshot_id")
        return csi.GetSnapshotResponse(snapshot=message(self._snapshots.get(request.snapshot_id)))


class GroupController:
    """Snapshots of several volumes at one moment."""

    def __init__(self, snapshots: Snapshots, locks: Locks) -> None:
        self._snapshots, self._locks = snapshots, locks

    async def GroupControllerGetCapabilities(
        self, _: csi.GroupControllerGetCapabilitiesRequest
    ) -> csi.GroupControllerGetCapabilitiesResponse:
        """Return the one thing that this service offers."""
        capability = csi.GroupControllerServiceCapability(rpc=GroupRpc(type=GroupRpc.CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT))
        return csi.GroupControllerGetCapabilitiesResponse(capabilities=[capability])

    async def CreateVolumeGroupSnapshot(self, request: csi.CreateVolumeGroupSnapshotRequest) -> csi.CreateVolumeGroupSnapshotResponse:
        """Keep what the volumes hold at one moment."""
        require(request, "name", "source_volume_ids")
        volumes = list(request.source_volume_ids)
        with self._locks.holding(id_of("group", request.name), shared=volumes):
            group = await asyncio.to_thread(self._snapshots.create_group, request.name, volumes)
        return csi.CreateVolumeGroupSnapshotResponse(group_snapshot=self._message(group))

    async def DeleteVolumeGroupSnapshot(self, request: csi.DeleteVolumeGroupSnapshotRequest) -> csi.DeleteVolumeGroupSnapshotResponse:
        """Remove a group with its snapshots; an unknown one is gone already."""
        require(request, "group_snapshot_id")
        with self._locks.holding(request.group_snapshot_id, *request.snapshot_ids):
            await asyncio.to_thread(self._snapshots.delete_group, request.group_snapshot_id, list(request.snapshot_ids))
        return csi.DeleteVolumeGroupSnapshotResponse()

    async def GetVolumeGroupSnapshot(self, request: csi.GetVolumeGroupSnapshotRequest) -> csi.GetVolumeGroupSnapshotResponse:
        """Return a group."""
        require(request, "group_snapshot_id")
        group = self._snapshots.get_group(request.group_snapshot_id, list(request.snapshot_ids))
        return csi.GetVolumeGroupSnapshotResponse(group_snapshot=self._message(group))

    def _message(self, group: GroupRecord) -> csi.VolumeGroupSnapshot:
        members = [message(record) for record in self._snapshots.members(group)]
        return csi.VolumeGroupSnapshot(group_snapshot_id=group.id, snapshots=members, creation_time=_time(group.created), ready_to_use=True)


def message(record: SnapshotRecord) -> csi.Snapshot:
    """Return a snapshot as the specification words it."""
    return csi.Snapshot(
        size_bytes=record.size,
        snapshot_id=record.id,
        source_volume_id=record.volume,
        creation_time=_time(record.created),
        ready_to_use=True,
        group_snapshot_id=record.group,
    )


def _time(seconds: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromNanoseconds(int(seconds * 1_000_000_000))
    return stamp
