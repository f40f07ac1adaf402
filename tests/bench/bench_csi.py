"""A volume from CreateVolume to mounted in a pod's directory, and back. Run: python -m tests.bench.bench_csi [VOLUMES]

Needs root and loop devices; the driver is a process of its own, called by its socket, as the agent does.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from moorings_core.protos import csi_pb2 as csi
from tests.bench import report
from tests.e2e.storage.driver_process import DriverProcess, mount_capability

SIZE = 1 << 30
BUDGETS = {"xfs": "<= 90"}


async def measure(driver: DriverProcess, fs_type: str, volumes: int) -> None:
    """Make, mount, unmount and delete volumes one after the other; print what that takes."""
    up, down = [], []
    for number in range(volumes):
        start = time.perf_counter()
        volume = await mounted(driver, f"{fs_type}{number}", fs_type)
        up.append(1000 * (time.perf_counter() - start))
        start = time.perf_counter()
        await removed(driver, volume)
        down.append(1000 * (time.perf_counter() - start))
    report.spread(f"volume, 1 GiB {fs_type}, create to mounted", up, "ms", BUDGETS.get(fs_type, ""))
    report.spread(f"volume, 1 GiB {fs_type}, unmounted and deleted", down, "ms")


async def mounted(driver: DriverProcess, name: str, fs_type: str) -> str:
    """Return the id of a new volume that is staged and published."""
    capability = mount_capability(fs_type)
    size = csi.CapacityRange(required_bytes=SIZE)
    made = await driver.call("CreateVolume", name=name, capacity_range=size, volume_capabilities=[capability])
    staging, target = driver.root / "stage", driver.root / "target"
    staging.mkdir(exist_ok=True)
    common = {"volume_id": made.volume.volume_id, "volume_capability": capability, "staging_target_path": str(staging)}
    await driver.call("NodeStageVolume", **common)
    await driver.call("NodePublishVolume", target_path=str(target), **common)
    return str(made.volume.volume_id)


async def removed(driver: DriverProcess, volume: str) -> None:
    """Undo `mounted`."""
    await driver.call("NodeUnpublishVolume", volume_id=volume, target_path=str(driver.root / "target"))
    await driver.call("NodeUnstageVolume", volume_id=volume, staging_target_path=str(driver.root / "stage"))
    await driver.call("DeleteVolume", volume_id=volume)


async def run(volumes: int) -> None:
    """Start a driver and measure both file systems."""
    with tempfile.TemporaryDirectory() as directory:
        driver = DriverProcess(Path(directory))
        await driver.start()
        try:
            for fs_type in ("xfs", "ext4"):
                await measure(driver, fs_type, volumes)
        finally:
            await driver.close()


if __name__ == "__main__":
    asyncio.run(run(int((*sys.argv[1:], "20")[0])))
