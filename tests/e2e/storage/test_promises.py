"""What a toy driver does not keep: names under concurrency, space that was promised, points in time, growth under writers."""

import asyncio
import contextlib
import hashlib
import os
import struct
import subprocess
import threading
import zlib
from pathlib import Path

import grpc
import pytest

from moorings_core.kernel import filesystems, mounts
from moorings_core.protos import csi_pb2 as csi

from .driver_process import DriverProcess, block_capability, mount_capability
from .volume import MIB, Volume, from_snapshot, from_volume

RECORD = struct.Struct("=QI")
SIZE = 320 * MIB


@pytest.fixture
async def xfs(tmp_path):
    """A driver on a pool whose files share blocks."""
    driver = DriverProcess(tmp_path, "image-xfs")
    await driver.start()
    yield driver
    await driver.close()


def code(error: BaseException) -> grpc.StatusCode:
    assert isinstance(error, grpc.aio.AioRpcError)
    return error.code()


class Writer:
    """Appends numbered, checksummed records to a file until it is stopped."""

    def __init__(self, file: Path) -> None:
        self._file, self._stop = file, threading.Event()
        self.written = 0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        while self.written < 100:
            pass
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive(), "a write hangs"

    def _run(self):
        with self._file.open("ab", buffering=0) as file:
            while not self._stop.is_set():
                body = struct.pack("=Q", self.written) * 64
                file.write(RECORD.pack(self.written, zlib.crc32(body)) + body)
                self.written += 1


def whole_records(file: Path) -> int:
    """Return how many records a file holds. Every one but a torn last must be whole and in order."""
    content, step, count = file.read_bytes(), RECORD.size + 512, 0
    for start in range(0, len(content) - step + 1, step):
        number, checksum = RECORD.unpack_from(content, start)
        assert (number, checksum) == (count, zlib.crc32(content[start + RECORD.size : start + step]))
        count += 1
    return count


async def test_one_name_asked_for_fifty_times_at_once_is_one_volume(xfs):
    answers = await asyncio.gather(*(Volume(xfs, "same", 16 * MIB, block_capability()).create() for _ in range(50)), return_exceptions=True)
    ids = {a.volume_id for a in answers if not isinstance(a, BaseException)}
    assert len(ids) == 1
    assert {code(a) for a in answers if isinstance(a, BaseException)} <= {grpc.StatusCode.ABORTED}
    assert len((await xfs.call("ListVolumes")).entries) == 1


async def test_one_name_asked_for_with_many_sizes_at_once_keeps_the_winner_s(xfs):
    sizes = [n * 16 * MIB for n in range(1, 9)]
    answers = await asyncio.gather(*(Volume(xfs, "same", s, block_capability()).create() for s in sizes), return_exceptions=True)
    (winner,) = (a for a in answers if not isinstance(a, BaseException))
    assert {code(a) for a in answers if isinstance(a, BaseException)} <= {grpc.StatusCode.ABORTED, grpc.StatusCode.ALREADY_EXISTS}
    (entry,) = (await xfs.call("ListVolumes")).entries
    assert entry.volume.capacity_bytes == winner.capacity_bytes
    assert [f.stat().st_size for f in (xfs.root / "pool" / "volumes").iterdir()] == [winner.capacity_bytes]


async def test_a_full_pool_says_so_and_every_volume_can_still_be_filled_to_the_last_block(xfs):
    made = []
    with pytest.raises(grpc.aio.AioRpcError) as full:
        for number in range(40):
            volume = Volume(xfs, f"v{number}", SIZE, mount_capability("xfs"))
            await volume.create()
            made.append(volume)
    assert full.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    volume = made[0]
    await volume.stage()
    await volume.publish()
    (volume.target / "filler").write_bytes(bytes(32 * MIB))
    (volume.target / "filler").unlink()
    filesystems.sync(volume.target)
    with pytest.raises(OSError):
        filesystems.trim(volume.target)
    room = os.statvfs(volume.target)
    with (volume.target / "all").open("wb", buffering=0) as file:
        for _ in range(room.f_bavail * room.f_frsize // MIB - 1):
            file.write(os.urandom(4096) + bytes(MIB - 4096))
        os.fsync(file.fileno())


async def test_a_thin_volume_on_a_pool_that_fills_is_told_before_writes_fail(tmp_path):
    driver = DriverProcess(tmp_path, "image-xfs")
    driver.more = ["--parameter", "thin=true"]
    await driver.start()
    try:
        volume = Volume(driver, "thin", 20 << 30)
        volume.capability = block_capability()
        await volume.create()

        async def wrong():
            return (await driver.call("ListVolumes")).entries[0].status.volume_condition

        assert not (await wrong()).abnormal
        hog = tmp_path / "pool" / "hog"
        with hog.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, (os.statvfs(hog).f_bavail - 8192) * os.statvfs(hog).f_frsize)
        condition = await wrong()
        assert condition.abnormal
        assert "thin" in condition.message
        await volume.delete()
    finally:
        await driver.close()


@pytest.mark.parametrize("fs_type", ["ext4", "xfs"])
async def test_a_snapshot_under_a_writer_is_one_point_in_time(xfs, fs_type):
    volume = Volume(xfs, "data", SIZE, mount_capability(fs_type))
    path = await volume.up()
    with Writer(path / "log") as writer:
        before = writer.written
        snapshot = await volume.snapshot("point")
        after = writer.written
    copy = Volume(xfs, "copy", SIZE, mount_capability(fs_type), from_snapshot(snapshot.snapshot_id))
    await copy.create()
    (file,) = (f for f in (xfs.root / "pool" / "volumes").iterdir() if f.name.startswith(copy.id))
    if fs_type == "ext4":
        assert subprocess.run(["e2fsck", "-fn", file], capture_output=True, check=False).returncode == 0, "clean without a repair"
    await copy.stage()
    restored = await copy.publish()
    assert before <= whole_records(restored / "log") <= after + 1
    await copy.down()
    await volume.down()
    await xfs.call("DeleteSnapshot", snapshot_id=snapshot.snapshot_id)
    assert xfs.leftovers() == []
    assert xfs.stored() == []


async def test_a_driver_killed_while_writers_are_held_lets_them_go_when_it_is_back(tmp_path):
    driver = DriverProcess(tmp_path, "image-xfs")
    await driver.start("snapshot.quiet")
    try:
        volume = Volume(driver, "data", SIZE, mount_capability("xfs"))
        path = await volume.up()
        with Writer(path / "log") as writer:
            with pytest.raises(grpc.aio.AioRpcError):
                await volume.snapshot("point")
            assert driver.exit_code == -9
            stuck = writer.written
            await driver.stop()
            await driver.start()
            async with asyncio.timeout(10):
                while writer.written <= stuck + 1:
                    await asyncio.sleep(0.01)
        await volume.down()
    finally:
        await driver.close()


async def test_a_clone_of_a_volume_that_is_written_outlives_it_and_mounts_beside_it(xfs):
    volume = Volume(xfs, "data", SIZE, mount_capability("xfs"))
    path = await volume.up()
    content = os.urandom(8 * MIB)
    (path / "file").write_bytes(content)
    with Writer(path / "log"):
        clone = Volume(xfs, "clone", SIZE, mount_capability("xfs"), from_volume(volume.id))
        await clone.create()
    await clone.stage()
    copied = await clone.publish()
    assert mounts.mount_at(path), "both are mounted at once, though their file systems have one UUID"
    await volume.down()
    filesystems.sync(copied)
    assert hashlib.sha256((copied / "file").read_bytes()).digest() == hashlib.sha256(content).digest()
    assert whole_records(copied / "log") >= 100
    await clone.down()


@pytest.mark.parametrize("fs_type", ["ext4", "xfs", "btrfs"])
async def test_a_copy_may_be_larger_and_shows_it_and_may_not_be_smaller(xfs, fs_type):
    capability = mount_capability(fs_type)
    volume = Volume(xfs, "data", SIZE, capability)
    path = await volume.up()
    (path / "file").write_text("kept")
    filesystems.sync(path)
    larger = Volume(xfs, "larger", 2 * SIZE, capability, from_volume(volume.id))
    await larger.create()
    await larger.stage()
    grown = await larger.publish()
    found = os.statvfs(grown)
    assert found.f_blocks * found.f_frsize > 1.7 * SIZE
    assert (grown / "file").read_text() == "kept"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await Volume(xfs, "smaller", SIZE // 2, capability, from_volume(volume.id)).create()
    assert refused.value.code() in (grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.INVALID_ARGUMENT)
    await larger.down()
    await volume.down()


async def test_a_volume_grows_under_a_writer_and_never_shrinks(xfs):
    volume = Volume(xfs, "data", SIZE, mount_capability("xfs"))
    path = await volume.up()
    with Writer(path / "log"):
        await volume.expand(2 * SIZE)
        await volume.expand(SIZE)
    found = os.statvfs(path)
    assert found.f_blocks * found.f_frsize > 1.7 * SIZE
    assert (await xfs.call("ListVolumes")).entries[0].volume.capacity_bytes == 2 * SIZE
    assert whole_records(path / "log") >= 100
    await volume.down()


async def test_ext4_that_may_not_grow_mounted_grows_when_it_is_staged_next(xfs):
    volume = Volume(xfs, "data", SIZE, mount_capability("ext4"))
    path = await volume.up()
    await volume.expand_controller(2 * SIZE)
    try:
        await volume.expand_node()
    except grpc.aio.AioRpcError as error:
        refused = error
        assert refused.code() == grpc.StatusCode.FAILED_PRECONDITION
    await volume.unpublish()
    await volume.unstage()
    await volume.stage()
    await volume.publish()
    assert os.statvfs(path).f_blocks * os.statvfs(path).f_frsize > 1.7 * SIZE
    await volume.down()


async def test_a_volume_that_a_process_in_another_mount_namespace_uses_is_not_given_away(xfs):
    volume = Volume(xfs, "data", SIZE, mount_capability("xfs"))
    await volume.up()
    holder = await asyncio.create_subprocess_exec(
        "unshare", "-m", "--propagation", "private", "sh", "-c", f"cd {volume.target} && echo held && read -r end", stdin=-1, stdout=-1
    )
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"held\n"
    before = (await xfs.call("GetCapacity")).available_capacity
    await volume.unpublish()
    await volume.unstage()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await volume.delete()
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert (await xfs.call("GetCapacity")).available_capacity == before, "its space is not free yet"
    await holder.communicate(b"end\n")
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await volume.delete()
                break
            await asyncio.sleep(0.05)
    assert xfs.leftovers() == []


async def test_a_call_whose_caller_has_gone_leaves_one_volume_that_the_same_call_finds(xfs):
    size = csi.CapacityRange(required_bytes=SIZE)
    fields = {"name": "data", "capacity_range": size, "volume_capabilities": [mount_capability("xfs")]}
    call = asyncio.ensure_future(xfs.call("CreateVolume", **fields))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                made = await xfs.call("CreateVolume", **fields)
                break
            await asyncio.sleep(0.01)
    assert [e.volume.volume_id for e in (await xfs.call("ListVolumes")).entries] == [made.volume.volume_id]
    await xfs.call("DeleteVolume", volume_id=made.volume.volume_id)
    assert xfs.stored() == []


@pytest.mark.parametrize("pool", ["image-xfs", "btrfs"])
async def test_many_cycles_at_once_leave_nothing(tmp_path, pool):
    driver = DriverProcess(tmp_path, pool)
    await driver.start()
    try:
        await one_life(driver, "warm")
        before = (driver.descriptors(), driver.devices())
        waiting = iter(range(40))

        async def worker():
            for number in waiting:
                await one_life(driver, f"v{number}")

        await asyncio.gather(*(worker() for _ in range(8)))
        assert driver.leftovers() == []
        assert driver.stored() == []
        assert (driver.descriptors(), driver.devices()) == before
    finally:
        await driver.close()


async def one_life(driver: DriverProcess, name: str) -> None:
    """Create, stage, publish, write, unpublish, unstage, delete."""
    fs_type = "btrfs" if driver.pool == "btrfs" else "xfs"
    volume = Volume(driver, name, SIZE if fs_type == "xfs" else 32 * MIB, mount_capability(fs_type))
    path = await volume.up()
    (path / "file").write_text(name)
    await volume.down()
