"""The image driver over its socket, with real loop devices, file systems and mounts."""

import errno
import os
import stat

import grpc
import pytest

from .driver_process import Mode, block_capability, mount_capability
from .volume import MIB, Volume


def fill(path) -> int:
    """Write until the file system refuses; return the bytes written."""
    written = 0
    with (path / "fill").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left") as refused:
        while True:
            written += file.write(bytes(MIB))
    assert refused.value.errno == errno.ENOSPC
    return written


@pytest.mark.parametrize("fs_type", ["ext4", "xfs"])
async def test_the_size_is_a_limit_and_the_neighbour_does_not_feel_it(driver, fs_type):
    await driver.start()
    size = 320 * MIB
    full = Volume(driver, "full", size, mount_capability(fs_type))
    neighbour = Volume(driver, "neighbour", size, mount_capability(fs_type))
    full_path, neighbour_path = await full.up(), await neighbour.up()
    written = fill(full_path)
    assert 0.7 * size < written <= size
    (neighbour_path / "file").write_bytes(bytes(8 * MIB))
    os.sync()
    assert (neighbour_path / "file").stat().st_size == 8 * MIB
    stats = await driver.call("NodeGetVolumeStats", volume_id=full.id, volume_path=str(full_path))
    assert stats.usage[0].total <= size
    await full.down()
    await neighbour.down()
    assert driver.leftovers() == []


async def test_data_outlives_unpublish_unstage_and_a_restart_of_the_driver(driver):
    await driver.start()
    volume = Volume(driver)
    path = await volume.up()
    (path / "hello").write_text("world")
    await volume.unpublish()
    await volume.unstage()
    assert driver.leftovers() == []
    await driver.stop()
    await driver.start()
    await volume.stage()
    await volume.publish()
    assert (path / "hello").read_text() == "world"
    await volume.down()


async def test_a_driver_restart_leaves_mounts_in_use_alone(driver):
    await driver.start()
    volume = Volume(driver)
    path = await volume.up()
    with (path / "open").open("w") as file:
        await driver.stop()
        file.write("still")
        file.flush()
        await driver.start()
        await volume.stage()
        await volume.publish()
        file.write(" here")
    assert (path / "open").read_text() == "still here"
    await volume.down()
    assert driver.leftovers() == []


async def test_a_block_volume_is_a_device_at_the_target(driver):
    await driver.start()
    volume = Volume(driver, capability=block_capability())
    path = await volume.up()
    assert stat.S_ISBLK(path.stat().st_mode)
    with path.open("r+b", buffering=0) as device:
        assert device.seek(0, os.SEEK_END) == volume.size
    await volume.down()
    assert not path.exists()


async def test_a_read_only_publish_refuses_writes_and_is_not_changed_by_another(driver):
    await driver.start()
    volume = Volume(driver)
    await volume.create()
    await volume.stage()
    path = await volume.publish(readonly=True)
    with pytest.raises(OSError, match="Read-only"):
        (path / "file").write_text("x")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await volume.publish(readonly=False)
    assert caught.value.code() == grpc.StatusCode.ALREADY_EXISTS
    await volume.down()


async def test_one_writer_means_one_target(driver):
    await driver.start()
    volume = Volume(driver, capability=mount_capability("ext4", Mode.SINGLE_NODE_SINGLE_WRITER))
    await volume.up()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await volume.publish(driver.root / "second")
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    await volume.down()


async def test_unpublish_keeps_a_user_s_files_in_an_unmounted_target(driver):
    await driver.start()
    volume = Volume(driver)
    await volume.create()
    volume.target.mkdir()
    (volume.target / "precious").write_text("x")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await volume.unpublish()
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert (volume.target / "precious").read_text() == "x"
    await volume.delete()


async def test_a_damaged_file_system_is_reported_and_not_touched(driver):
    await driver.start()
    volume = Volume(driver)
    await volume.up()
    await volume.unpublish()
    await volume.unstage()
    (file,) = (driver.root / "pool" / "volumes").iterdir()
    with file.open("r+b") as image:
        image.write(b"\xff" * 65536)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await volume.stage()
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "not touched" in (caught.value.details() or "")
    assert file.read_bytes()[:65536] == b"\xff" * 65536
    await volume.unstage()
    await volume.delete()
