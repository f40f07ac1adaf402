"""The Controller service: volumes are made, listed and removed. Every method is idempotent and may be killed at any point."""

from __future__ import annotations

import asyncio

from moorings_core.protos import csi_pb2 as csi

from . import capabilities
from .errors import InvalidRequest, StaleToken
from .journal import VolumeRecord
from .locks import Locks
from .pool import Features, Pool, VolumeRequest

Rpc = csi.ControllerServiceCapability.RPC
OFFERED = (Rpc.CREATE_DELETE_VOLUME, Rpc.LIST_VOLUMES, Rpc.GET_CAPACITY, Rpc.SINGLE_NODE_MULTI_WRITER)
TRUE = ("true", "1", "yes")


class Controller:
    """Answers for the volumes of one pool that the node with this topology reaches."""

    def __init__(self, pool: Pool, features: Features, locks: Locks, topology: csi.Topology) -> None:
        self._pool, self._features, self._locks, self._topology = pool, features, locks, topology

    async def CreateVolume(self, request: csi.CreateVolumeRequest) -> csi.CreateVolumeResponse:
        """Make a volume by name."""
        if not request.name:
            raise InvalidRequest("name is missing")
        capabilities.check(request.volume_capabilities)
        if request.HasField("volume_content_source"):
            raise InvalidRequest("volumes from snapshots or other volumes are not offered")
        reason = capabilities.unsupported(request.volume_capabilities, self._features)
        if reason:
            raise InvalidRequest(reason)
        wanted = VolumeRequest(
            request.name,
            request.capacity_range.required_bytes,
            request.capacity_range.limit_bytes,
            capabilities.fs_type(request.volume_capabilities) or request.parameters.get("fsType", ""),
            request.parameters.get("thin", "").lower() in TRUE,
        )
        with self._locks.holding(request.name):
            record = await asyncio.to_thread(self._pool.create, wanted)
        return csi.CreateVolumeResponse(volume=self._volume(record))

    async def DeleteVolume(self, request: csi.DeleteVolumeRequest) -> csi.DeleteVolumeResponse:
        """Remove a volume; an unknown one is gone already."""
        if not request.volume_id:
            raise InvalidRequest("volume_id is missing")
        with self._locks.holding(request.volume_id):
            await asyncio.to_thread(self._pool.delete, request.volume_id)
        return csi.DeleteVolumeResponse()

    async def ValidateVolumeCapabilities(self, request: csi.ValidateVolumeCapabilitiesRequest) -> csi.ValidateVolumeCapabilitiesResponse:
        """Say whether a volume can be used in these ways."""
        if not request.volume_id:
            raise InvalidRequest("volume_id is missing")
        capabilities.check(request.volume_capabilities)
        self._pool.get(request.volume_id)
        reason = capabilities.unsupported(request.volume_capabilities, self._features)
        if reason:
            return csi.ValidateVolumeCapabilitiesResponse(message=reason)
        confirmed = csi.ValidateVolumeCapabilitiesResponse.Confirmed(
            volume_context=request.volume_context,
            volume_capabilities=request.volume_capabilities,
            parameters=request.parameters,
        )
        return csi.ValidateVolumeCapabilitiesResponse(confirmed=confirmed)

    async def ListVolumes(self, request: csi.ListVolumesRequest) -> csi.ListVolumesResponse:
        """Return volumes by id; the token is the last id of the page before."""
        if request.max_entries < 0:
            raise InvalidRequest("max_entries is negative")
        records = self._pool.list()
        if request.starting_token:
            if request.starting_token not in {record.id for record in records}:
                raise StaleToken(f"starting_token {request.starting_token!r} is not valid: list from the start")
            records = [record for record in records if record.id > request.starting_token]
        page = records[: request.max_entries or None]
        entries = [csi.ListVolumesResponse.Entry(volume=self._volume(record)) for record in page]
        return csi.ListVolumesResponse(entries=entries, next_token=page[-1].id if len(page) < len(records) else "")

    async def GetCapacity(self, request: csi.GetCapacityRequest) -> csi.GetCapacityResponse:
        """Return the bytes that can still be promised here; none elsewhere."""
        elsewhere = request.HasField("accessible_topology") and request.accessible_topology != self._topology
        if elsewhere or capabilities.unsupported(request.volume_capabilities, self._features):
            return csi.GetCapacityResponse(available_capacity=0)
        return csi.GetCapacityResponse(available_capacity=await asyncio.to_thread(self._pool.available))

    async def ControllerGetCapabilities(self, _: csi.ControllerGetCapabilitiesRequest) -> csi.ControllerGetCapabilitiesResponse:
        """Return what this service offers."""
        found = [csi.ControllerServiceCapability(rpc=Rpc(type=kind)) for kind in OFFERED]
        return csi.ControllerGetCapabilitiesResponse(capabilities=found)

    def _volume(self, record: VolumeRecord) -> csi.Volume:
        return csi.Volume(volume_id=record.id, capacity_bytes=record.size, accessible_topology=[self._topology])
