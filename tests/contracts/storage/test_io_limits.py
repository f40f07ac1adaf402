"""Limits of a volume's I/O, on a kernel with cgroup v2: what a pod's process writes waits for its turn."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from moorings_core.kernel import io_limits
from moorings_csi.capabilities import check_mutable
from moorings_csi.errors import InvalidRequest, StorageError
from moorings_csi.image_pool import ImagePool
from moorings_csi.ledger import Ledger
from moorings_csi.pool import VolumeRequest
from moorings_csi.volumes import Volumes

MIB = 1 << 20
PODS = io_limits.ROOT / "moorings-test" / "pods"


def prepare():
    """Return why this kernel cannot limit I/O; the small machine of tests/vm mounts nothing by itself."""
    if os.geteuid() != 0:
        return "cgroups need root"
    if not os.path.ismount(io_limits.ROOT):
        subprocess.run(["mount", "-t", "cgroup2", "cgroup2", str(io_limits.ROOT)], check=False, capture_output=True)
    if not os.path.exists("/dev/loop-control"):
        subprocess.run(["modprobe", "loop"], check=False, capture_output=True)
    return io_limits.enable(PODS)


@pytest.fixture
def pool(tmp_path):
    reason = prepare()
    if reason:
        pytest.skip(f"{reason}: `python -m tests.vm` has one")
    pool = ImagePool(tmp_path, "ext4", PODS)
    yield pool
    for directory in (PODS / "one", PODS, PODS.parent):
        if directory.exists():
            directory.rmdir()


def test_io_limits_of_a_volume_hold_for_the_pods_of_a_node_and_go_with_the_volume(pool, tmp_path):
    features = pool.probe()
    assert {"writeBytesPerSecond", "readsPerSecond"} <= set(features.mutable)
    ledger = Ledger(tmp_path, pool)
    volumes = Volumes(ledger, features)
    made = volumes.create(VolumeRequest("slow", 16 * MIB, 0, block=True, parameters={"writeBytesPerSecond": str(MIB)}))
    device = pool.attach(made)
    assert io_limits.limits(PODS, str(device)) == {"wbps": MIB}
    (PODS / "one").mkdir()
    started = time.monotonic()
    script = f"echo $$ > {PODS}/one/cgroup.procs && dd if=/dev/zero of={device} bs=64k count=64 oflag=direct"
    subprocess.run(["sh", "-c", script], check=True, capture_output=True, timeout=60)
    assert time.monotonic() - started > 3, "4 MiB at 1 MiB a second"
    volumes.modify(made.id, {"writeBytesPerSecond": str(64 * MIB), "readsPerSecond": "50"})
    assert io_limits.limits(PODS, str(device)) == {"wbps": 64 * MIB, "riops": 50}
    pool.detach(made)
    other = volumes.create(VolumeRequest("other", 16 * MIB, 0, block=True))
    assert io_limits.limits(PODS, str(pool.attach(other))) == {}, "the number of a device is used again, its limits are not"
    pool.detach(other)
    ledger.close()


@pytest.mark.parametrize("value", ["0", "-1", "fast", "1.5"])
def test_io_limits_are_numbers_above_nothing(pool, value):
    with pytest.raises(InvalidRequest, match="above 0"):
        check_mutable({"writeBytesPerSecond": value}, pool.probe())


def test_io_limits_that_the_kernel_cannot_hold_are_refused_at_the_start(tmp_path):
    if not prepare():
        pytest.skip("this kernel can limit I/O")
    with pytest.raises(StorageError, match="ioCgroup"):
        ImagePool(tmp_path, "ext4", PODS).probe()
