"""What an agent takes for mounted: what the mount table says, not what happens to be there."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace

import pytest

from moorings_core.agent.csi.volumes import CsiVolumes, Published
from moorings_core.kernel import mounts


@pytest.fixture
def volume(tmp_path):
    """A volume whose driver was stopped after it had made the target directory."""
    if os.geteuid() != 0:
        pytest.skip("mounts need root")
    target = tmp_path / "pods/uid/volumes/kubernetes.io~csi/pv/mount"
    target.mkdir(parents=True)
    published = Published("d", "handle", "pv", "uid", False, str(target), "")
    remember(published)
    yield published
    mounts.unmount_all(target)


def remember(published):
    data = os.path.join(os.path.dirname(published.target), "vol_data.json")
    with open(data, "w") as file:
        json.dump(asdict(published), file)


def mounted(tmp_path):
    return [p.pv for p in CsiVolumes(None, None, None, tmp_path, "n").mounted()]


def test_a_directory_is_no_mount(volume, tmp_path):
    assert mounted(tmp_path) == []
    mounts.mount("tmpfs", volume.target, "tmpfs", ["size=64k"])
    assert mounted(tmp_path) == ["pv"]
    mounts.unmount(volume.target)
    assert mounted(tmp_path) == []


def test_of_mounts_that_hide_each_other_the_one_that_is_seen_counts(tmp_path):
    """A lab's node's directory is mounted on itself, in the same peer group: what is mounted below it is there twice."""
    if os.geteuid() != 0:
        pytest.skip("mounts need root")
    outer, source = tmp_path / "outer", tmp_path / "source"
    inner = outer / "inner"
    target = inner / "target"
    for directory in (source, target):
        directory.mkdir(parents=True)
    try:
        mounts.bind(outer, outer)
        mounts.set_propagation(outer, mounts.MountFlag.PRIVATE)
        mounts.set_propagation(outer, mounts.MountFlag.SHARED)
        mounts.bind(inner, inner)
        mounts.bind(source, target, read_only=True)
        assert len([m for m in mounts.mount_table() if m.path == str(target)]) == 2
        found = mounts.mount_at(target)
        assert found is not None and found.read_only
        mounts.unmount_all(target)
        assert mounts.mount_at(target) is None
        assert mounts.mount_at(tmp_path / "nothing") is None
    finally:
        for path in (target, inner, outer):
            mounts.unmount_all(path)


def test_a_driver_that_mounts_nothing_is_believed(volume, tmp_path):
    remember(replace(volume, bare=True))
    assert mounted(tmp_path) == ["pv"]
