"""What every pool promises (moorings_csi.pool.Pool), through Volumes and Snapshots, on real file systems and loop devices."""

import os
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from moorings_core.kernel import btrfs, loops, mounts
from moorings_csi.driver import DriverOptions, open_ledger
from moorings_csi.errors import NameTaken, NoSuchSnapshot, NoSuchVolume, PoolFull, SizeOutOfRange, StorageError, WrongState
from moorings_csi.files import Files
from moorings_csi.formats import Formats
from moorings_csi.image_pool import ImagePool
from moorings_csi.ledger import Ledger
from moorings_csi.pool import VolumeRequest
from moorings_csi.snapshots import Snapshots
from moorings_csi.volumes import Volumes

MIB = 1 << 20
PARAMETERS = {
    "image": {"fsType": "ext4"},
    "image-xfs": {"fsType": "ext4", "poolFsType": "xfs", "poolSize": 1024 * MIB},
    "btrfs": {"poolSize": 1024 * MIB},
    "hostpath": {},
}


@pytest.fixture(params=sorted(PARAMETERS))
def kind(request):
    return request.param


@pytest.fixture
def pool(kind, tmp_path):
    parameters = {**PARAMETERS[kind], "capacity": 256 * MIB}
    options = DriverOptions(kind.partition("-")[0], "node-a", tmp_path / "pool", tmp_path / "sock", parameters=parameters)
    ledger = open_ledger(options)
    features = ledger.pool.probe()
    volumes = Volumes(ledger, features)
    yield SimpleNamespace(
        volumes=volumes, snapshots=Snapshots(ledger), ledger=ledger, pool=ledger.pool, features=features, root=tmp_path / "pool"
    )
    for record in volumes.list():
        ledger.pool.detach(record)
    ledger.close()
    mounts.unmount_all(tmp_path / "pool")


def request(name="a", required=64 * MIB, limit=0, **more):
    return VolumeRequest(name, required, limit, **more)


def has_devices(pool):
    if not pool.features.block:
        pytest.skip("the pool has no devices")


def has_snapshots(pool):
    if not pool.features.snapshots:
        pytest.skip("the file system below the pool shares no blocks, and the driver offers no snapshots")


def test_create_is_idempotent_and_the_size_is_kept(pool):
    first = pool.volumes.create(request())
    assert pool.volumes.create(request()) == first
    assert pool.volumes.get(first.id).size == 64 * MIB
    assert [r.id for r in pool.volumes.list()] == [first.id]


def test_a_name_stands_for_one_request(pool):
    pool.volumes.create(request())
    with pytest.raises(NameTaken):
        pool.volumes.create(request(required=128 * MIB))


@pytest.mark.parametrize(
    ("required", "limit"),
    [pytest.param(64 * MIB, 32 * MIB, id="required over limit"), pytest.param(0, MIB // 2, id="limit below the smallest")],
)
def test_an_impossible_size_is_refused(pool, required, limit):
    with pytest.raises(SizeOutOfRange):
        pool.volumes.create(request(required=required, limit=limit))
    assert pool.volumes.list() == []


def test_capacity_is_what_create_goes_by(pool):
    before = pool.volumes.available()
    pool.volumes.create(request(required=64 * MIB))
    assert pool.volumes.available() == before - 64 * MIB
    with pytest.raises(PoolFull):
        pool.volumes.create(request("b", required=before))
    pool.volumes.create(request("c", required=pool.volumes.available()))
    assert pool.volumes.available() == 0


def test_many_at_once_never_promise_more_than_there_is(pool):
    def attempt(number):
        try:
            return pool.volumes.create(request(f"v{number}", required=64 * MIB)).size
        except PoolFull:
            return 0

    with ThreadPoolExecutor(8) as threads:
        sizes = list(threads.map(attempt, range(8)))
    assert sum(sizes) == 256 * MIB


def test_delete_frees_and_is_idempotent(pool):
    before = pool.volumes.available()
    record = pool.volumes.create(request())
    pool.volumes.delete(record.id)
    pool.volumes.delete(record.id)
    assert pool.volumes.available() == before
    assert list(pool.pool.stored()) == []
    with pytest.raises(NoSuchVolume):
        pool.volumes.get(record.id)


def test_attach_is_idempotent_and_detach_gives_the_device_back(pool):
    record = pool.volumes.create(request())
    device = pool.pool.attach(record)
    assert pool.pool.attach(record) == device
    assert pool.pool.detach(record)
    assert pool.pool.detach(record)


def test_a_volume_grows_and_never_shrinks(pool):
    record = pool.volumes.create(request(block=pool.features.block))
    grown = pool.volumes.expand(record.id, 100 * MIB, 0)
    assert grown.size == 100 * MIB
    assert pool.volumes.expand(record.id, 64 * MIB, 0) == grown
    with pytest.raises(PoolFull):
        pool.volumes.expand(record.id, 1024 * MIB, 0)
    with pytest.raises(SizeOutOfRange):
        pool.volumes.expand(record.id, 128 * MIB, 120 * MIB)
    assert pool.volumes.get(record.id) == grown
    if pool.features.block:
        assert loops.size(str(pool.pool.attach(grown))) == 100 * MIB


def test_a_device_grows_under_its_user(pool):
    has_devices(pool)
    record = pool.volumes.create(request(block=True))
    with pool.pool.attach(record).open("rb") as device:
        grown = pool.volumes.expand(record.id, 100 * MIB, 0)
        pool.pool.attach(grown)
        assert device.seek(0, os.SEEK_END) == 100 * MIB


def written(pool, record, content):
    """Write into a volume, a device or a directory."""
    place = pool.pool.attach(record)
    with (place / "file" if place.is_dir() else place).open("r+b" if not place.is_dir() else "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def read(pool, record, size):
    place = pool.pool.attach(record)
    with (place / "file" if place.is_dir() else place).open("rb") as file:
        return file.read(size)


@pytest.mark.parametrize("block", [False, True])
def test_a_snapshot_is_what_was_and_outlives_its_volume(pool, block):
    has_snapshots(pool)
    if block:
        has_devices(pool)
    old, new = os.urandom(MIB), os.urandom(MIB)
    volume = pool.volumes.create(request(block=block or pool.features.fs_types == ("ext4",)))
    written(pool, volume, old)
    snapshot = pool.snapshots.create("s", volume.id)
    assert pool.snapshots.create("s", volume.id) == snapshot
    written(pool, volume, new)
    assert read(pool, volume, MIB) == new
    assert pool.pool.detach(volume)
    pool.volumes.delete(volume.id)
    restored = pool.volumes.create(request("b", block=volume.block, source=f"snapshot:{snapshot.id}"))
    assert read(pool, restored, MIB) == old
    pool.snapshots.delete(snapshot.id)
    pool.snapshots.delete(snapshot.id)
    assert read(pool, restored, MIB) == old


def test_a_clone_is_a_volume_of_its_own(pool):
    has_snapshots(pool)
    old, new = os.urandom(MIB), os.urandom(MIB)
    volume = pool.volumes.create(request(block=pool.features.block))
    written(pool, volume, old)
    clone = pool.volumes.create(request("b", required=80 * MIB, block=volume.block, source=f"volume:{volume.id}"))
    assert clone.size == 80 * MIB
    written(pool, volume, new)
    assert read(pool, clone, MIB) == old
    with pytest.raises(SizeOutOfRange):
        pool.volumes.create(request("c", required=16 * MIB, block=volume.block, source=f"volume:{volume.id}"))


def test_a_source_that_is_not_there_is_named(pool):
    has_snapshots(pool)
    with pytest.raises(NoSuchSnapshot, match="snap-x"):
        pool.volumes.create(request(source="snapshot:snap-x"))
    with pytest.raises(NoSuchVolume, match="vol-x"):
        pool.volumes.create(request(source="volume:vol-x"))
    with pytest.raises(NoSuchVolume, match="vol-x"):
        pool.snapshots.create("s", "vol-x")


def test_a_snapshot_counts_for_what_it_may_come_to_hold(pool):
    has_snapshots(pool)
    volume = pool.volumes.create(request(required=100 * MIB))
    before = pool.volumes.available()
    snapshot = pool.snapshots.create("s", volume.id)
    assert pool.volumes.available() <= before - 100 * MIB
    with pytest.raises(PoolFull):
        pool.snapshots.create("t", volume.id)
    pool.snapshots.delete(snapshot.id)
    assert pool.volumes.available() == before


def test_a_group_is_made_and_removed_as_one(pool):
    has_snapshots(pool)
    volumes = [pool.volumes.create(request(name, required=32 * MIB)) for name in "ab"]
    group = pool.snapshots.create_group("g", [v.id for v in volumes])
    assert pool.snapshots.create_group("g", [v.id for v in volumes]) == group
    members = pool.snapshots.members(group)
    assert {m.volume for m in members} == {v.id for v in volumes}
    assert len({m.created for m in members}) == 1
    with pytest.raises(StorageError, match="part of"):
        pool.snapshots.delete(members[0].id)
    pool.snapshots.delete_group(group.id, [m.id for m in members])
    assert pool.snapshots.list() == []
    assert len(pool.pool.stored()) == 2


def test_a_group_with_a_volume_that_is_not_there_leaves_nothing(pool):
    has_snapshots(pool)
    volume = pool.volumes.create(request())
    with pytest.raises(NoSuchVolume):
        pool.snapshots.create_group("g", [volume.id, "vol-x"])
    assert pool.snapshots.list() == []
    assert len(pool.pool.stored()) == 1


def test_data_of_no_record_is_put_aside_not_deleted(pool):
    record = pool.volumes.create(request(block=pool.features.block))
    written(pool, record, b"somebody's")
    assert pool.pool.detach(record)
    pool.ledger.volumes.drop(record.id)
    pool.volumes.put_strays_aside()
    assert list(pool.pool.stored()) == []
    kept = pool.root / "lost+found" / record.data
    with (kept / "file" if kept.is_dir() else kept).open("rb") as file:
        assert file.read(10) == b"somebody's"


def test_data_that_is_missing_is_told(pool):
    record = pool.volumes.create(request())
    assert pool.volumes.condition(record) == ""
    pool.pool.remove(record)
    assert "missing" in pool.volumes.condition(record)


def test_a_second_process_is_kept_out(pool):
    with pytest.raises(StorageError, match="in use"):
        Ledger(pool.root, pool.pool)


class TestDevices:
    @pytest.fixture(params=["image", "btrfs"])
    def kind(self, request):
        return request.param

    def test_thick_means_reserved(self, pool):
        pool.volumes.create(request(block=True))
        (file,) = (pool.root / "volumes").iterdir()
        assert file.stat().st_blocks * 512 >= 64 * MIB

    def test_a_volume_in_use_is_not_deleted(self, pool):
        record = pool.volumes.create(request(block=True))
        with pool.pool.attach(record).open("rb"):
            with pytest.raises(WrongState):
                pool.volumes.delete(record.id)
            assert pool.volumes.get(record.id) == record
        pool.volumes.delete(record.id)

    def test_a_volume_is_formatted_once(self, pool):
        record, formats = pool.volumes.create(request(block=True, fs_type="ext4")), Formats(pool.ledger.formats)
        device = pool.pool.attach(record)
        assert formats.prepare(record, device).state == "formatted"
        superblock = device.read_bytes()[1024:2048]
        assert superblock[56:58] == b"\x53\xef", "the magic number of ext4"
        formats.prepare(record, device)
        assert device.read_bytes()[1024:2048] == superblock

    def test_foreign_data_is_never_overwritten(self, pool):
        record, formats = pool.volumes.create(request(block=True, fs_type="ext4")), Formats(pool.ledger.formats)
        device = pool.pool.attach(record)
        device.write_bytes(b"precious")
        with pytest.raises(WrongState, match="refusing to overwrite"):
            formats.prepare(record, device)
        with device.open("rb") as file:
            assert file.read(8) == b"precious"

    def test_a_prepared_file_system_is_what_mkfs_makes(self, tmp_path):
        pool = ImagePool(tmp_path, "ext4")
        files = Files(tmp_path / "volumes")
        ledger = Ledger(tmp_path, pool)
        record = Volumes(ledger, pool.probe()).create(request(fs_type="ext4"))
        ledger.close()
        image = files.path(record).read_bytes()
        assert image[1024 + 56 : 1024 + 58] == b"\x53\xef"
        assert len(image) == 64 * MIB

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


class TestBtrfs:
    """What only subvolumes can lose: their limits, all at once, when the kernel's counts no longer agree."""

    @pytest.fixture(params=["btrfs"])
    def kind(self, request):
        return request.param

    def test_limits_hold_after_volumes_with_data_were_deleted(self, pool):
        kept = pool.volumes.create(request("kept", 16 * MIB))
        for number in range(8):
            gone = pool.volumes.create(request(f"gone-{number}", 16 * MIB))
            fill(pool.pool.attach(gone) / "data", 12 * MIB)
            pool.volumes.delete(gone.id)
            with pytest.raises(OSError, match="quota"):
                fill(pool.pool.attach(kept) / "data", 20 * MIB)
            assert not btrfs.is_inconsistent(pool.root)

    def test_copies_have_the_limit_of_their_own_size_whatever_their_source_had(self, pool):
        volume = pool.volumes.create(request("a", 16 * MIB))
        snapshot = pool.snapshots.create("s", volume.id)
        pool.volumes.expand(volume.id, 32 * MIB, 0)
        wanted = {"same": (32, "volume"), "more": (48, "volume"), "old": (16, "snapshot"), "grown": (64, "snapshot")}
        sources = {"volume": f"volume:{volume.id}", "snapshot": f"snapshot:{snapshot.id}"}
        copies = {name: pool.volumes.create(request(name, size * MIB, source=sources[of])) for name, (size, of) in wanted.items()}
        limits = {name: btrfs.limit_of(pool.pool.attach(record)) for name, record in copies.items()}
        assert limits == {name: size * MIB for name, (size, _) in wanted.items()}
        same = copies["same"]
        with pytest.raises(OSError, match="quota"):
            fill(pool.pool.attach(same) / "data", 40 * MIB)


def fill(file, size):
    """Write as many bytes durably."""
    with file.open("wb") as out:
        out.write(os.urandom(size))
        out.flush()
        os.fsync(out.fileno())
