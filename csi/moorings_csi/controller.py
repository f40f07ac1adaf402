"""The Controller service: volumes are made, listed, changed and removed. Every method is idempotent and may be killed at any point."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from moorings_core.protos import csi_pb2 as csi

from . import capabilities
from .errors import InvalidRequest, NoSuchVolume, PoolFull, StaleToken
from .journal import HasId
from .ledger import id_of
from .locks import Locks
from .pool import Features, VolumeRequest
from .records import VolumeRecord
from .snapshots import Snapshots
from .volumes import Volumes

Rpc = csi.ControllerServiceCapability.RPC
BASIC = (
    Rpc.CREATE_DELETE_VOLUME,
    Rpc.PUBLISH_UNPUBLISH_VOLUME,
    Rpc.LIST_VOLUMES,
    Rpc.GET_CAPACITY,
    Rpc.PUBLISH_READONLY,
    Rpc.EXPAND_VOLUME,
    Rpc.LIST_VOLUMES_PUBLISHED_NODES,
    Rpc.VOLUME_CONDITION,
    Rpc.GET_VOLUME,
    Rpc.SINGLE_NODE_MULTI_WRITER,
)
WITH_SNAPSHOTS = (Rpc.CREATE_DELETE_SNAPSHOT, Rpc.LIST_SNAPSHOTS, Rpc.CLONE_VOLUME, Rpc.GET_SNAPSHOT)
PagedRecord = TypeVar("PagedRecord", bound=HasId)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the driver is and what it can do there: node id, topology, features."""

    node: str
    topology: csi.Topology
    features: Features


class Controller:
    """Answers for the volumes of one pool that the node with this topology reaches."""

    def __init__(self, volumes: Volumes, snapshots: Snapshots, locks: Locks, place: Place) -> None:
        self._volumes, self._snapshots, self._locks = volumes, snapshots, locks
        self._place, self._features = place, place.features

    async def CreateVolume(self, request: csi.CreateVolumeRequest) -> csi.CreateVolumeResponse:
        """Make a volume by name, empty or with the content of a snapshot or another volume."""
        require(request, "name")
        wanted = self._wanted(request)
        self._check_topology(request)
        kind, _, source = wanted.source.partition(":")
        with self._locks.holding(id_of("vol", request.name), shared=[source] if kind else []):
            record = await asyncio.to_thread(self._volumes.create, wanted)
        volume = self._volume(record)
        if request.HasField("volume_content_source"):
            volume.content_source.CopyFrom(request.volume_content_source)
        return csi.CreateVolumeResponse(volume=volume)

    async def DeleteVolume(self, request: csi.DeleteVolumeRequest) -> csi.DeleteVolumeResponse:
        """Remove a volume; an unknown one is gone already."""
        require(request, "volume_id")
        with self._locks.holding(request.volume_id):
            await asyncio.to_thread(self._volumes.delete, request.volume_id)
        return csi.DeleteVolumeResponse()

    async def ControllerPublishVolume(self, request: csi.ControllerPublishVolumeRequest) -> csi.ControllerPublishVolumeResponse:
        """Let the node have the volume; of writers only one node may."""
        require(request, "volume_id", "node_id")
        capabilities.check([request.volume_capability] if request.volume_capability.ByteSize() else [])
        self._volumes.get(request.volume_id)
        if self._place.topology.segments and request.node_id != self._place.node:
            raise NoSuchVolume(f"no node {request.node_id!r}: the volumes of this driver are on {self._place.node}")
        exclusive = request.volume_capability.access_mode.mode in capabilities.SINGLE_NODE
        with self._locks.holding(request.volume_id):
            await asyncio.to_thread(
                self._volumes.publish, request.volume_id, request.node_id, read_only=request.readonly, exclusive=exclusive
            )
        return csi.ControllerPublishVolumeResponse()

    async def ControllerUnpublishVolume(self, request: csi.ControllerUnpublishVolumeRequest) -> csi.ControllerUnpublishVolumeResponse:
        """Take the volume from the node; what is not there is taken already."""
        require(request, "volume_id")
        with self._locks.holding(request.volume_id):
            await asyncio.to_thread(self._volumes.unpublish, request.volume_id, request.node_id)
        return csi.ControllerUnpublishVolumeResponse()

    async def ValidateVolumeCapabilities(self, request: csi.ValidateVolumeCapabilitiesRequest) -> csi.ValidateVolumeCapabilitiesResponse:
        """Say whether a volume can be used in these ways."""
        require(request, "volume_id")
        capabilities.check(request.volume_capabilities)
        record = self._volumes.get(request.volume_id)
        reason = capabilities.unsupported(request.volume_capabilities, self._features)
        if not reason and any(c.HasField("block") != record.block for c in request.volume_capabilities):
            reason = f"{record.id} is a {'block' if record.block else 'file system'} volume"
        if reason:
            return csi.ValidateVolumeCapabilitiesResponse(message=reason)
        confirmed = csi.ValidateVolumeCapabilitiesResponse.Confirmed(
            volume_context=request.volume_context,
            volume_capabilities=request.volume_capabilities,
            parameters=request.parameters,
            mutable_parameters=request.mutable_parameters,
        )
        return csi.ValidateVolumeCapabilitiesResponse(confirmed=confirmed)

    async def ListVolumes(self, request: csi.ListVolumesRequest) -> csi.ListVolumesResponse:
        """Return volumes by id; the token is the last id of the page before."""
        page, token = paged(self._volumes.list(), request.starting_token, request.max_entries)
        stored = await asyncio.to_thread(self._volumes.stored)
        entries = [csi.ListVolumesResponse.Entry(volume=self._volume(r), status=self._status(r, stored)) for r in page]
        return csi.ListVolumesResponse(entries=entries, next_token=token)

    async def ControllerGetVolume(self, request: csi.ControllerGetVolumeRequest) -> csi.ControllerGetVolumeResponse:
        """Return a volume and its condition."""
        require(request, "volume_id")
        record = self._volumes.get(request.volume_id)
        found = self._status(record, await asyncio.to_thread(self._volumes.stored))
        status = csi.ControllerGetVolumeResponse.VolumeStatus(
            published_node_ids=found.published_node_ids, volume_condition=found.volume_condition
        )
        return csi.ControllerGetVolumeResponse(volume=self._volume(record), status=status)

    async def GetCapacity(self, request: csi.GetCapacityRequest) -> csi.GetCapacityResponse:
        """Return the bytes that can still be promised here; none elsewhere."""
        elsewhere = request.HasField("accessible_topology") and not self._is_here(request.accessible_topology)
        if elsewhere or capabilities.unsupported(request.volume_capabilities, self._features):
            return csi.GetCapacityResponse(available_capacity=0)
        return csi.GetCapacityResponse(available_capacity=await asyncio.to_thread(self._volumes.available))

    async def ControllerExpandVolume(self, request: csi.ControllerExpandVolumeRequest) -> csi.ControllerExpandVolumeResponse:
        """Let a volume hold more; the file system on a device follows on the node."""
        require(request, "volume_id")
        if not request.capacity_range.required_bytes:
            raise InvalidRequest("capacity_range has no required_bytes")
        size = request.capacity_range
        with self._locks.holding(request.volume_id):
            record = await asyncio.to_thread(self._volumes.expand, request.volume_id, size.required_bytes, size.limit_bytes)
        on_node = self._features.block and not record.block
        return csi.ControllerExpandVolumeResponse(capacity_bytes=record.size, node_expansion_required=on_node)

    async def ControllerModifyVolume(self, request: csi.ControllerModifyVolumeRequest) -> csi.ControllerModifyVolumeResponse:
        """Change parameters of a volume in use."""
        require(request, "volume_id")
        self._volumes.get(request.volume_id)
        capabilities.check_mutable(request.mutable_parameters, self._features)
        with self._locks.holding(request.volume_id):
            await asyncio.to_thread(self._volumes.modify, request.volume_id, dict(request.mutable_parameters))
        return csi.ControllerModifyVolumeResponse()

    async def ControllerGetCapabilities(self, _: csi.ControllerGetCapabilitiesRequest) -> csi.ControllerGetCapabilitiesResponse:
        """Return what this service offers on this machine."""
        offered = [*BASIC, *(WITH_SNAPSHOTS if self._features.snapshots else ()), *((Rpc.MODIFY_VOLUME,) if self._features.mutable else ())]
        found = [csi.ControllerServiceCapability(rpc=Rpc(type=kind)) for kind in offered]
        return csi.ControllerGetCapabilitiesResponse(capabilities=found)

    def _wanted(self, request: csi.CreateVolumeRequest) -> VolumeRequest:
        capabilities.check(request.volume_capabilities)
        reason = capabilities.unsupported(request.volume_capabilities, self._features)
        if reason:
            raise InvalidRequest(reason)
        fs_type, thin = capabilities.class_parameters(request.parameters)
        asked = capabilities.fs_type(request.volume_capabilities) or fs_type
        if asked and asked not in self._features.fs_types:
            raise InvalidRequest(f"fsType {asked!r} can not be made here; available: {', '.join(self._features.fs_types) or 'none'}")
        capabilities.check_mutable(request.mutable_parameters, self._features)
        size = request.capacity_range
        return VolumeRequest(
            request.name,
            size.required_bytes,
            size.limit_bytes,
            asked,
            thin,
            capabilities.is_block(request.volume_capabilities),
            self._source(request),
            dict(request.mutable_parameters),
        )

    def _source(self, request: csi.CreateVolumeRequest) -> str:
        kind = request.volume_content_source.WhichOneof("type")
        if kind is None:
            return ""
        if not self._features.snapshots:
            raise InvalidRequest("the file system below this pool shares no blocks: volumes are not made from others")
        source = request.volume_content_source
        return f"snapshot:{source.snapshot.snapshot_id}" if kind == "snapshot" else f"volume:{source.volume.volume_id}"

    def _check_topology(self, request: csi.CreateVolumeRequest) -> None:
        wanted = request.accessibility_requirements
        asked = [*wanted.requisite, *wanted.preferred]
        if asked and not any(self._is_here(t) for t in asked):
            raise PoolFull(f"the volumes of this driver are on {self._place.node}, and another place was asked for")

    def _is_here(self, topology: csi.Topology) -> bool:
        return all(self._place.topology.segments.get(k) == v for k, v in topology.segments.items())

    def _volume(self, record: VolumeRecord) -> csi.Volume:
        here = [self._place.topology] if self._place.topology.segments else []
        volume = csi.Volume(volume_id=record.id, capacity_bytes=record.size, accessible_topology=here)
        kind, _, source = record.source.partition(":")
        if kind == "snapshot":
            volume.content_source.snapshot.snapshot_id = source
        elif kind == "volume":
            volume.content_source.volume.volume_id = source
        return volume

    def _status(self, record: VolumeRecord, stored: frozenset[str]) -> csi.ListVolumesResponse.VolumeStatus:
        wrong = self._volumes.condition(record, stored)
        condition = csi.VolumeCondition(abnormal=bool(wrong), message=wrong or "as it should be")
        return csi.ListVolumesResponse.VolumeStatus(published_node_ids=sorted(record.published), volume_condition=condition)


def require(request: object, *fields: str) -> None:
    """Raise InvalidRequest naming the first field that is empty."""
    for field in fields:
        if not getattr(request, field):
            raise InvalidRequest(f"{field} is missing")


def paged(records: Sequence[PagedRecord], token: str, most: int) -> tuple[Sequence[PagedRecord], str]:
    """Return one page of records that are sorted by id, and the token of the next. Raises StaleToken, InvalidRequest."""
    if most < 0:
        raise InvalidRequest("max_entries is negative")
    if token:
        if token not in {record.id for record in records}:
            raise StaleToken(f"starting_token {token!r} is not valid: list from the start")
        records = [record for record in records if record.id > token]
    page = records[: most or None]
    return page, page[-1].id if len(page) < len(records) else ""
