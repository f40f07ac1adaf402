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


def test_a_driver_that_mounts_nothing_is_believed(volume, tmp_path):
    remember(replace(volume, bare=True))
    assert mounted(tmp_path) == ["pv"]
