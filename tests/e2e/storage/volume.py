"""A volume on its way through a driver: each method is one RPC and can be called again."""

from __future__ import annotations

from typing import Any

from moorings_core.protos import csi_pb2 as csi

from .driver_process import DriverProcess, mount_capability

MIB = 1 << 20


class Volume:
    """A volume's way through the driver."""

    def __init__(self, driver: DriverProcess, name: str = "data", size: int = 64 * MIB, capability: Any = None, source: Any = None) -> None:
        self.driver, self.name, self.size, self.source = driver, name, size, source
        self.capability = capability or mount_capability("ext4")
        self.id = ""
        self.staging, self.target = driver.root / f"{name}-stage", driver.root / f"{name}-target"

    async def create(self):
        size = csi.CapacityRange(required_bytes=self.size)
        fields: dict[str, Any] = {"name": self.name, "capacity_range": size, "volume_capabilities": [self.capability]}
        if self.source is not None:
            fields["volume_content_source"] = self.source
        volume = (await self.driver.call("CreateVolume", **fields)).volume
        self.id = volume.volume_id
        return volume

    async def stage(self):
        self.staging.mkdir(exist_ok=True)
        await self._node("NodeStageVolume", staging_target_path=str(self.staging), volume_capability=self.capability)

    async def publish(self, target=None, **more):
        target = target or self.target
        fields = {"target_path": str(target), "volume_capability": self.capability, **more}
        await self._node("NodePublishVolume", staging_target_path=str(self.staging), **fields)
        return target

    async def unpublish(self, target=None):
        await self._node("NodeUnpublishVolume", target_path=str(target or self.target))

    async def unstage(self):
        await self._node("NodeUnstageVolume", staging_target_path=str(self.staging))

    async def attach(self):
        await self._node("ControllerPublishVolume", node_id="node-a", volume_capability=self.capability)

    async def detach(self):
        await self._node("ControllerUnpublishVolume", node_id="node-a")

    async def expand(self, size):
        await self.expand_controller(size)
        await self.expand_node()

    async def expand_controller(self, size):
        await self._node("ControllerExpandVolume", capacity_range=csi.CapacityRange(required_bytes=size))

    async def expand_node(self):
        await self._node("NodeExpandVolume", volume_path=str(self.target), staging_target_path=str(self.staging))

    async def modify(self, **parameters):
        await self._node("ControllerModifyVolume", mutable_parameters=parameters)

    async def snapshot(self, name):
        answer = await self.driver.call("CreateSnapshot", name=name, source_volume_id=self.id)
        return answer.snapshot

    async def stats(self):
        return await self.driver.call("NodeGetVolumeStats", volume_id=self.id, volume_path=str(self.target))

    async def delete(self):
        await self.driver.call("DeleteVolume", volume_id=self.id)

    async def up(self):
        """Create, stage and publish; return the target."""
        await self.create()
        await self.stage()
        return await self.publish()

    async def down(self):
        """Undo up."""
        await self.unpublish()
        await self.unstage()
        await self.delete()

    async def _node(self, method, **fields):
        await self.driver.call(method, volume_id=self.id, **fields)


def from_snapshot(snapshot_id: str) -> csi.VolumeContentSource:
    """Return a snapshot as the source of a volume."""
    return csi.VolumeContentSource(snapshot=csi.VolumeContentSource.SnapshotSource(snapshot_id=snapshot_id))


def from_volume(volume_id: str) -> csi.VolumeContentSource:
    """Return a volume as the source of another."""
    return csi.VolumeContentSource(volume=csi.VolumeContentSource.VolumeSource(volume_id=volume_id))
