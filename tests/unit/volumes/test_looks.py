"""What an agent looks at again when volumes come: no more than what is new, and what is its own."""

from __future__ import annotations

import asyncio
import copy
import os
import subprocess
import sys

import pytest

from moorings_core.agent.csi.capacities import Capacities
from moorings_core.agent.csi.stats import VolumeStats
from moorings_core.agent.csi.volumes import Published
from moorings_core.agent.network import _says_the_same
from moorings_core.kernel import mounts
from moorings_core.protos import csi_pb2 as csi

NODE = {
    "metadata": {"name": "n", "annotations": {"a": "b"}, "resourceVersion": "1"},
    "spec": {"podCIDR": "10.0.0.0/24"},
    "status": {
        "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
        "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}],
    },
}


def changed(path, value):
    node = copy.deepcopy(NODE)
    place = node
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return node


@pytest.mark.parametrize(
    ("path", "value", "same"),
    [
        (("status", "conditions", 0, "lastHeartbeatTime"), "2026-01-01T00:00:10Z", True),
        (("status", "conditions", 0, "status"), "Unknown", False),
        (("status", "addresses", 0, "address"), "192.0.2.2", False),
        (("metadata", "annotations", "a"), "c", False),
        (("spec", "podCIDR"), "10.0.1.0/24", False),
    ],
)
def test_that_a_node_lives_is_nothing_to_its_peers_and_what_it_says_is(path, value, same):
    assert _says_the_same(NODE, changed(path, value)) is same
    assert not _says_the_same(None, NODE)
    assert not _says_the_same(NODE, None)


class Mounted:
    """Volumes of a node, each of which is asked about by its handle."""

    def __init__(self):
        self.handles, self.asked = [], []

    def mounted(self):
        return [Published("d", handle, f"pv-{handle}", "u", False, "/t", "/s") for handle in self.handles]

    async def stats(self, published):
        self.asked.append(published.handle)
        return csi.NodeGetVolumeStatsResponse(usage=[csi.VolumeUsage(total=1, unit=csi.VolumeUsage.BYTES)])


class Volumes:
    def get(self, name):
        return {"spec": {"claimRef": {"namespace": "default", "name": name, "uid": name}}}


async def until(holds):
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)


async def test_a_volume_that_is_mounted_is_asked_about_and_the_others_are_not(monkeypatch):
    monkeypatch.setattr("moorings_core.agent.csi.stats.SETTLE_SECONDS", 0.01)
    mounted = Mounted()
    mounted.handles = ["one"]
    stats = VolumeStats(mounted, Volumes(), None)
    task = asyncio.create_task(stats.run())
    try:
        await until(lambda: mounted.asked == ["one"])
        mounted.handles = ["one", "two"]
        stats.ask_soon()
        await until(lambda: mounted.asked == ["one", "two"])
        assert set(stats._told) == {"one", "two"}
        mounted.handles = ["two"]
        stats.ask_soon()
        await until(lambda: set(stats._told) == {"two"})
        assert mounted.asked == ["one", "two"]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Reach:
    def answers_for(self, volume):
        return "driver" if volume["metadata"]["name"] == "here" else None


def test_room_is_asked_for_again_when_a_volume_comes_or_goes_here():
    def asks(old, new):
        capacities = Capacities(None, Reach(), None, "n")
        capacities._volume_changed(old, new)
        return capacities._asked.is_set()

    here, there = {"metadata": {"name": "here"}}, {"metadata": {"name": "there"}}
    assert asks(None, here)
    assert asks(here, None)
    assert not asks(here, here)
    assert not asks(None, there)
    assert not asks(there, None)


MOUNTS = """
import os, sys
from moorings_core.kernel import mounts
base = sys.argv[1]
mounts.mount("tmpfs", base, "tmpfs")
inner = os.path.join(base, "in ner")
os.mkdir(inner)
assert mounts.is_mount_point(base) and not mounts.is_mount_point(inner)
assert mounts.mount_at(inner) is None and mounts.mount_of(inner).path == os.path.realpath(base)
mounts.bind(inner, inner, read_only=True)
assert mounts.is_mount_point(inner) and mounts.mount_at(inner).read_only and mounts.mount_at(inner).root == "/in ner"
mounts.unmount_all(inner)
assert not mounts.is_mount_point(inner)
mounts.unmount_all(base)
assert not mounts.is_mount_point(base)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_a_mount_point_is_known_by_what_its_parent_is_on(tmp_path):
    command = ["unshare", "-m", "--propagation", "private", sys.executable, "-c", MOUNTS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_what_is_not_there_is_no_mount_point_and_the_root_is_one(tmp_path):
    assert not mounts.is_mount_point(tmp_path / "absent")
    assert mounts.mount_at(tmp_path / "absent") is None
    assert mounts.is_mount_point("/")
