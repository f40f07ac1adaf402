"""The driver is killed at every step that it takes, on every pool that has the step; the same calls, made again, finish the work."""

import os

import grpc
import pytest

from moorings_core.kernel import mounts
from moorings_csi.faults import POINTS

from .driver_process import DriverProcess, mount_capability
from .volume import MIB, Volume, from_snapshot

SIZES = {"image-xfs": 128 * MIB, "btrfs": 64 * MIB}
MUTABLE = {"image-xfs": {"readAheadKiB": "256"}, "btrfs": {"compression": "zstd"}}
OF_DEVICES = {"format.recorded", "format.made", "format.done", "grow.grown"}
"""Steps that a pool of directories has no use for."""
OF_GROUPS = {"group.recorded", "group.member", "group.ready", "group.deleting"}
"""Steps of pools that can hold the writers of several volumes at once."""
IN_ORDER = (
    *("create.recorded", "create.data", "create.format", "create.ready", "attach.recorded", "stage.attached"),
    *("format.recorded", "format.made", "format.done", "stage.mounted", "publish.target", "publish.bound"),
    *("snapshot.recorded", "snapshot.quiet", "snapshot.data", "snapshot.ready", "clone.data"),
    *("group.recorded", "group.member", "group.ready", "expand.recorded", "expand.data", "expand.done"),
    *("grow.device", "grow.grown", "modify.recorded", "modify.applied", "unpublish.unbound", "unstage.unmounted", "detach.recorded"),
    *("group.deleting", "snapshot.deleting", "snapshot.removed", "delete.recorded", "delete.data", "delete.forgotten"),
)
"""In the order in which the life of a volume passes them."""


@pytest.fixture(params=["image-xfs", "btrfs"])
async def pool_driver(request, tmp_path):
    driver = DriverProcess(tmp_path, request.param)
    yield driver
    await driver.close()


class Life:
    """The life of a volume as a list of calls, each of which can be made twice."""

    def __init__(self, driver: DriverProcess) -> None:
        self.driver, self.size = driver, SIZES[driver.pool]
        self.volume = Volume(driver, "data", self.size, mount_capability("btrfs"))
        self.clone = Volume(driver, "clone", self.size, mount_capability("btrfs"))
        self.content = os.urandom(1 * MIB)
        self.snapshot = self.group = ""

    def steps(self):
        volume, clone = self.volume, self.clone
        calls = [
            volume.create, volume.attach, volume.stage, volume.publish, self.write,
            self.take_snapshot, self.create_clone, self.take_group,
            self.expand, volume.expand_node, self.modify, self.check_volume,
            volume.unpublish, volume.unstage, volume.detach,
            clone.stage, clone.publish, self.check_clone, clone.unpublish, clone.unstage,
            self.delete_group, self.delete_snapshot, clone.delete, volume.delete,
        ]  # fmt: skip
        of_groups = (self.take_group, self.delete_group)
        return calls if self.driver.pool == "image-xfs" else [call for call in calls if call not in of_groups]

    async def write(self):
        with (self.volume.target / "file").open("wb") as file:
            file.write(self.content)
            os.fsync(file.fileno())

    async def take_snapshot(self):
        self.snapshot = (await self.volume.snapshot("snapshot")).snapshot_id

    async def create_clone(self):
        self.clone.source = from_snapshot(self.snapshot)
        await self.clone.create()

    async def take_group(self):
        sources = [self.volume.id, self.clone.id]
        answer = await self.driver.call("CreateVolumeGroupSnapshot", name="group", source_volume_ids=sources)
        assert len(answer.group_snapshot.snapshots) == 2
        self.group = answer.group_snapshot.group_snapshot_id

    async def expand(self):
        await self.volume.expand_controller(2 * self.size)

    async def modify(self):
        await self.volume.modify(**MUTABLE[self.driver.pool])

    async def check_volume(self):
        assert mounts.mount_at(self.volume.target) is not None
        assert (self.volume.target / "file").read_bytes() == self.content
        assert (await self.volume.stats()).usage[0].total > 1.5 * self.size

    async def check_clone(self):
        assert (self.clone.target / "file").read_bytes() == self.content

    async def delete_group(self):
        await self.driver.call("DeleteVolumeGroupSnapshot", group_snapshot_id=self.group)

    async def delete_snapshot(self):
        await self.driver.call("DeleteSnapshot", snapshot_id=self.snapshot)


async def alive(driver: DriverProcess, points: list[str], died: list[str]) -> None:
    """Start the driver, to die at the next of the points; some are passed while it recovers from the one before."""
    while True:
        crash_at = points[0] if points else ""
        try:
            await driver.start(crash_at)
        except AssertionError:
            assert driver.exit_code == -9, f"the driver does not start after {died[-1]}"
            died.append(points.pop(0))
        else:
            return


async def test_killed_at_every_step_the_same_calls_finish_the_work(pool_driver):
    driver = pool_driver
    points = [p for p in IN_ORDER if driver.pool != "btrfs" or p not in OF_DEVICES | OF_GROUPS]
    died: list[str] = []
    await alive(driver, points, died)
    for step in Life(driver).steps():
        while True:
            try:
                await step()
                break
            except grpc.aio.AioRpcError as error:
                told = error
            assert (told.code(), driver.exit_code) == (grpc.StatusCode.UNAVAILABLE, -9), told.details()
            died.append(points.pop(0))
            await driver.stop()
            await alive(driver, points, died)
    assert points == [], "nothing dies there: the point is not reached, or not in this order"
    assert driver.leftovers() == []
    assert driver.stored() == []


def test_the_order_of_the_test_has_every_point():
    assert sorted(IN_ORDER) == sorted(POINTS)
