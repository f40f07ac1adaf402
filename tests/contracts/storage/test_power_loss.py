"""Power fails after every write that the driver makes: what comes back is what was acknowledged, with or without the call under way.

Before and after each fsync of a directory the pool is copied as it is on disk; each copy is opened and recovered as after a reboot.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from moorings_core.kernel import loops, mounts
from moorings_csi import files, filesystem, hostpath_pool, journal
from moorings_csi.image_pool import ImagePool
from moorings_csi.ledger import Ledger
from moorings_csi.pool import VolumeRequest
from moorings_csi.snapshots import Snapshots
from moorings_csi.volumes import Volumes

MIB = 1 << 20


@dataclass
class Copy:
    """The pool as it was at one write: the number of calls acknowledged by then, and where it is."""

    acknowledged: int
    path: str


@pytest.fixture
def ground(tmp_path):
    """A file system on which copies are quick."""
    image = tmp_path / "ground.img"
    image.touch()
    with image.open("r+b") as file:
        file.truncate(600 * MIB)
    filesystem.make("xfs", image)
    loop, place = loops.attach(image), tmp_path / "ground"
    place.mkdir()
    mounts.mount(loop.path, place, "xfs")
    yield place
    mounts.unmount_all(place)
    loops.detach(loop.backing)


def opened(root):
    ledger = Ledger(root, ImagePool(root))
    return ledger, Volumes(ledger, ledger.pool.probe()), Snapshots(ledger)


def state(ledger):
    """What a caller can see of a pool."""
    volumes = {v.name: (v.size, dict(v.published), dict(v.parameters)) for v in ledger.volumes if v.state == "ready"}
    snapshots = {s.name for s in ledger.snapshots if s.state == "ready"}
    groups = {g.name for g in ledger.groups if g.state == "ready"}
    return volumes, snapshots, groups


def request(name, size=4 * MIB, source=""):
    return VolumeRequest(name, size, 0, fs_type="ext4", thin=True, source=source)


def calls(volumes, snapshots):
    """The calls of a day in a pool's life."""
    ids = {}

    def make(name, **more):
        ids[name] = volumes.create(request(name, **more)).id

    def snap(name, volume):
        ids[name] = snapshots.create(name, ids[volume]).id

    def group(name):
        ids[name] = snapshots.create_group(name, [ids["a"], ids["b"]]).id

    return [
        lambda: make("a"),
        lambda: make("b", size=8 * MIB),
        lambda: volumes.publish(ids["a"], "node-a", read_only=False, exclusive=True),
        lambda: snap("s", "a"),
        lambda: make("c", source=f"snapshot:{ids['s']}"),
        lambda: volumes.expand(ids["a"], 16 * MIB, 0),
        lambda: volumes.modify(ids["b"], {"readAheadKiB": "64"}),
        lambda: group("g"),
        lambda: volumes.unpublish(ids["a"], "node-a"),
        lambda: snapshots.delete(ids["s"]),
        lambda: volumes.delete(ids["a"]),
        lambda: snapshots.delete_group(ids["g"], []),
        lambda: volumes.delete(ids["c"]),
    ]


def test_power_that_fails_at_any_write_leaves_what_was_acknowledged(ground, monkeypatch):
    pool, copies, states = ground / "pool", [], []
    real = journal.sync_directory

    def copy():
        place = ground / f"copy-{len(copies)}"
        subprocess.run(["cp", "-a", "--reflink=auto", pool, place], check=True)
        copies.append(Copy(len(states) - 1, str(place)))

    def sync_directory(directory):
        copy()
        real(directory)
        copy()

    ledger, volumes, snapshots = opened(pool)
    for module in (journal, files, hostpath_pool):
        monkeypatch.setattr(module, "sync_directory", sync_directory)
    states.append(state(ledger))
    for call in calls(volumes, snapshots):
        call()
        states.append(state(ledger))
    ledger.close()
    monkeypatch.undo()
    assert len(copies) > 60
    for each in copies:
        check(each, states)
        shutil.rmtree(each.path)


def check(copy, states):
    root = Path(copy.path)
    ledger, volumes, snapshots = opened(root)
    try:
        volumes.recover()
        snapshots.recover()
        volumes.put_strays_aside()
        assert state(ledger) in states[copy.acknowledged : copy.acknowledged + 2], "neither before the call under way nor after it"
        known = {r.data for r in (*ledger.volumes, *ledger.snapshots)}
        assert set(ledger.pool.stored()) == known, "data without a record, or a record without data"
        assert all(v.state == "ready" and not v.target for v in ledger.volumes)
        sizes = {v.data: v.size for v in ledger.volumes}
        assert {name: (root / "volumes" / name).stat().st_size for name in sizes} == sizes
        assert not (root / "lost+found").exists(), "nothing of ours is a stray"
    finally:
        ledger.close()
