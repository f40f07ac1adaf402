"""What a volume's device writes leaves the times of its file as they are, where the pool's file system can do that."""

import os
import subprocess

import pytest

from moorings_core.kernel import filesystems, loops, mounts

MIB = 1 << 20


@pytest.fixture
def xfs(tmp_path):
    """A directory on an XFS of its own."""
    if os.geteuid() != 0:
        pytest.skip("mounts need root")
    image, place = tmp_path / "xfs.img", tmp_path / "xfs"
    image.touch()
    os.truncate(image, 320 * MIB)
    place.mkdir()
    subprocess.run(["mkfs.xfs", "-q", str(image)], check=True)
    loop = loops.attach(image)
    mounts.mount(loop.path, place, "xfs")
    loops.set_autoclear(loop.path)
    yield place
    mounts.unmount(place, detach=True)


def overwritten(file):
    """Write through a device of a file; return whether the file says that it has changed."""
    file.write_bytes(bytes(4 * MIB))
    os.utime(file, ns=(0, 0))
    loop = loops.attach(file)
    try:
        with filesystems.opened(loop.path, os.O_RDWR) as device:
            os.pwrite(device, b"content", 4096)
            os.fsync(device)
    finally:
        loops.detach(loop.backing)
    assert file.read_bytes()[4096:4103] == b"content"
    return file.stat().st_mtime_ns != 0


def test_the_file_of_a_device_on_xfs_is_not_stamped(xfs):
    assert not overwritten(xfs / "volume")
    descriptor = filesystems.open_unstamped(xfs / "volume", os.O_RDWR)
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


def test_elsewhere_a_file_is_opened_as_ever(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"")
    descriptor = filesystems.open_unstamped(file, os.O_RDWR)
    os.write(descriptor, b"x")
    os.close(descriptor)
    assert file.read_bytes() == b"x"
    with pytest.raises(FileNotFoundError):
        filesystems.open_unstamped(tmp_path / "nothing", os.O_RDONLY)
