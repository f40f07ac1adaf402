"""What every pool promises (moorings_csi.pool.Pool), on real files and loop devices."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from moorings_core.kernel import loops
from moorings_csi.errors import NameTaken, NoSuchVolume, PoolFull, SizeOutOfRange, StorageError, WrongState
from moorings_csi.image_pool import ImagePool
from moorings_csi.pool import VolumeRequest

MIB = 1 << 20


@pytest.fixture(params=["image"])
def pool(request, tmp_path):
    pool = {"image": lambda: ImagePool(tmp_path / "pool", capacity=256 * MIB)}[request.param]()
    yield pool
    for record in pool.list():
        pool.detach(record.id)
    pool.close()


def request(name="a", required=64 * MIB, limit=0, **more):
    return VolumeRequest(name, required, limit, **more)


def test_probe_names_what_works(pool):
    features = pool.probe()
    assert "ext4" in features.fs_types
    assert features.block


def test_create_is_idempotent_and_the_size_is_kept(pool):
    first = pool.create(request())
    assert pool.create(request()) == first
    assert pool.get(first.id).size == 64 * MIB
    assert [r.id for r in pool.list()] == [first.id]


def test_a_name_stands_for_one_request(pool):
    pool.create(request())
    with pytest.raises(NameTaken):
        pool.create(request(required=128 * MIB))


@pytest.mark.parametrize(
    ("required", "limit"),
    [pytest.param(64 * MIB, 32 * MIB, id="required over limit"), pytest.param(0, MIB, id="limit below the smallest")],
)
def test_an_impossible_size_is_refused(pool, required, limit):
    with pytest.raises(SizeOutOfRange):
        pool.create(request(required=required, limit=limit))
    assert pool.list() == []


def test_capacity_is_what_create_goes_by(pool):
    before = pool.available()
    pool.create(request(required=64 * MIB))
    assert pool.available() == before - 64 * MIB
    with pytest.raises(PoolFull):
        pool.create(request("b", required=before))
    pool.create(request("c", required=pool.available()))
    assert pool.available() == 0


def test_many_at_once_never_promise_more_than_there_is(pool):
    def attempt(number):
        try:
            return pool.create(request(f"v{number}", required=64 * MIB)).size
        except PoolFull:
            return 0

    with ThreadPoolExecutor(8) as threads:
        sizes = list(threads.map(attempt, range(8)))
    assert sum(sizes) == 256 * MIB


def test_thick_means_reserved(pool, tmp_path):
    pool.create(request())
    (file,) = (tmp_path / "pool" / "volumes").iterdir()
    assert file.stat().st_blocks * 512 >= 64 * MIB


def test_delete_frees_and_is_idempotent(pool):
    before = pool.available()
    record = pool.create(request())
    pool.delete(record.id)
    pool.delete(record.id)
    assert pool.available() == before
    with pytest.raises(NoSuchVolume):
        pool.get(record.id)


def test_attach_is_idempotent_and_detach_gives_the_device_back(pool):
    record = pool.create(request())
    device = pool.attach(record.id)
    assert pool.attach(record.id) == device
    assert pool.detach(record.id)
    assert pool.detach(record.id)


def test_a_volume_in_use_is_not_deleted(pool):
    record = pool.create(request())
    with pool.attach(record.id).open("rb"):
        with pytest.raises(WrongState):
            pool.delete(record.id)
        assert pool.get(record.id) == record
    pool.delete(record.id)


def test_a_volume_is_formatted_once(pool):
    record = pool.create(request(fs_type="ext4"))
    device = pool.attach(record.id)
    assert pool.format(record.id, device).format == "formatted"
    superblock = device.read_bytes()[1024:2048]
    assert superblock[56:58] == b"\x53\xef", "the magic number of ext4"
    pool.format(record.id, device)
    assert device.read_bytes()[1024:2048] == superblock


def test_foreign_data_is_never_overwritten(pool):
    record = pool.create(request(fs_type="ext4"))
    device = pool.attach(record.id)
    device.write_bytes(b"precious")
    with pytest.raises(WrongState, match="refusing to overwrite"):
        pool.format(record.id, device)
    with device.open("rb") as file:
        assert file.read(8) == b"precious"


class TestImagePool:
    def test_a_second_process_is_kept_out(self, pool, tmp_path):
        with pytest.raises(StorageError, match="in use"):
            ImagePool(tmp_path / "pool")

    def test_a_file_of_no_volume_is_put_aside_not_deleted(self, pool, tmp_path):
        stray = tmp_path / "pool" / "volumes" / "stray"
        stray.write_bytes(b"somebody's")
        pool.recover()
        assert (tmp_path / "pool" / "lost+found" / "stray").read_bytes() == b"somebody's"

    def test_a_device_is_known_by_inode_not_by_name(self, tmp_path):
        file = tmp_path / "file"
        file.touch()
        os.truncate(file, MIB)
        loop = loops.attach(file)
        try:
            file.rename(tmp_path / "renamed")
            file.touch()
            assert loops.find(loops.identity(tmp_path / "renamed")) == loop
            assert loops.find(loops.identity(file)) is None
        finally:
            assert loops.detach(loop.backing)
