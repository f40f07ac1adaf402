"""Volumes: from CreateVolume to mounted in a pod's directory and back, snapshots, clones, growth, cycles.

Run: python -m tests.bench.bench_csi [VOLUMES]
Needs root, loop devices and fio; the driver is a process of its own, called by its socket, as the agent does.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Self

from tests.bench import report
from tests.e2e.storage.driver_process import DriverProcess, mount_capability
from tests.e2e.storage.volume import Volume, from_volume

SIZE = 1 << 30
KINDS = (("image", "ext4", "image on ext4, ext4"), ("image", "xfs", "image on ext4, xfs"))
SHARING = (("image-xfs", "xfs", "image on xfs, xfs"), ("btrfs", "btrfs", "btrfs subvolume"))
BUDGETS = {"image on ext4, xfs": "<= 20", "image on ext4, ext4": "<= 20", "image on xfs, xfs": "<= 20", "btrfs subvolume": "<= 31"}
CYCLES, AT_ONCE = 500, 16
SYNC_SECONDS, SYNC_BYTES, BLOCK, TURNS = 2, 64 << 20, 4096, 4
FIO = ("--name=synced", "--rw=write", "--ioengine=psync", "--fsync=1", "--fallocate=posix", "--time_based", "--output-format=json")


async def timed(call: Callable[[], Awaitable[object]]) -> float:
    """Return the milliseconds that a call takes."""
    start = time.perf_counter()
    await call()
    return 1000 * (time.perf_counter() - start)


async def mounts(driver: DriverProcess, fs_type: str, name: str, volumes: int) -> None:
    """Make, mount, unmount and delete volumes one after the other; print what that takes."""
    up, down = [], []
    for number in range(volumes + 1):
        volume = Volume(driver, f"{fs_type}{number}", SIZE, mount_capability(fs_type))
        up.append(await timed(volume.up))
        down.append(await timed(volume.down))
    report.spread(f"volume, 1 GiB {name}, create to mounted", up[1:], "ms", BUDGETS[name])
    report.spread(f"volume, 1 GiB {name}, unmounted and deleted", down[1:], "ms")


async def copies(driver: DriverProcess, fs_type: str, name: str, times: int) -> None:
    """Snapshot a volume under a writer, clone it, let it grow; print what that takes and how long the writer stood still."""
    volume = Volume(driver, "busy", SIZE, mount_capability(fs_type))
    path = await volume.up()
    (path / "content").write_bytes(os.urandom(64 << 20))
    taken, pauses, cloned, grown = [], [], [], []
    for number in range(times):
        with Pauses(path / "log") as writer:
            taken.append(await timed(lambda n=number: volume.snapshot(f"s{n}")))  # type: ignore[misc]
            pauses.append(1000 * writer.longest)
    for number in range(times):
        clone = Volume(driver, f"clone{number}", SIZE, mount_capability(fs_type), from_volume(volume.id))
        cloned.append(await timed(clone.create))
        await clone.delete()
    for number in range(times):
        size = SIZE + (number + 1) * (16 << 20)
        grown.append(await timed(lambda s=size: volume.expand(s)))  # type: ignore[misc]
    report.spread(f"snapshot of a busy 1 GiB {name}", taken, "ms")
    report.spread(f"snapshot of a busy 1 GiB {name}, writer held", pauses, "ms", "<= 50")
    report.spread(f"clone of 1 GiB {name}", cloned, "ms", "<= 10")
    report.spread(f"volume grows in use, {name}", grown, "ms", "<= 20")
    for how, again in (("overwriting", True), ("into fresh blocks", False)):
        ratio = against(driver.root / "pool" / "raw", path / "sync", again=again)
        report.figure(f"synced writes of 4 KiB {how}, {name}, of the pool's own file", ratio, "ratio", ">= 0.95" if again else "")
    for entry in (await driver.call("ListSnapshots")).entries:
        await driver.call("DeleteSnapshot", snapshot_id=entry.snapshot.snapshot_id)
    await volume.down()


class Pauses:
    """A writer, and the longest time in seconds between two of its writes."""

    def __init__(self, file: Path) -> None:
        self._file, self._end, self.longest = file, threading.Event(), 0.0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        time.sleep(0.1)
        self.longest = 0.0
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        last = time.perf_counter()
        with self._file.open("wb", buffering=0) as file:
            while not self._end.is_set():
                file.write(b"x" * 512)
                now = time.perf_counter()
                self.longest, last = max(self.longest, now - last), now
                time.sleep(0.0005)


def against(raw: Path, inside: Path, *, again: bool) -> float:
    """Return how fast synced writes in a volume are beside those in the pool's own file, in turns: the machine is not the same twice."""
    turns = [(synced_writes(inside, again=again), synced_writes(raw, again=again)) for _ in range(TURNS)]
    return sum(volume for volume, _ in turns) / sum(own for _, own in turns)


def synced_writes(file: Path, *, again: bool) -> float:
    """Return how many blocks a second fio writes and syncs one after the other into reserved blocks.

    again: into blocks that hold data, as databases do that use their logs anew; the file system's own log then says nothing of it.
    """
    options = [f"--size={SYNC_BYTES}", f"--bs={BLOCK}", f"--runtime={SYNC_SECONDS}", f"--overwrite={int(again)}", *FIO]
    try:
        done = subprocess.run(["fio", f"--filename={file}", *options], capture_output=True, text=True, check=True, timeout=60)
    finally:
        file.unlink(missing_ok=True)
    return float(json.loads(done.stdout)["jobs"][0]["write"]["iops"])


async def cycles(driver: DriverProcess, fs_type: str, name: str) -> None:
    """Run whole lives of volumes, many at once, and print how long they take and what they leave."""
    waiting, taken = iter(range(CYCLES)), []

    async def worker() -> None:
        for number in waiting:
            volume = Volume(driver, f"cycle{number}", 320 << 20, mount_capability(fs_type))
            taken.append(await timed(volume.up))
            await volume.down()

    seconds = await timed(lambda: asyncio.gather(*(worker() for _ in range(AT_ONCE)))) / 1000
    report.figure(f"{CYCLES} cycles, {AT_ONCE} at once, {name}", CYCLES / seconds, "1/s")
    report.spread(f"of them, create to mounted, {name}", taken, "ms")
    left = len(driver.leftovers()) + len(driver.stored()) + len(driver.devices())
    report.figure(f"left by them: loops, mounts, files, records, {name}", left, "", "0")


async def run(volumes: int) -> None:
    """Start a driver on each pool and measure."""
    for pool, fs_type, name in (*KINDS, *SHARING):
        with tempfile.TemporaryDirectory() as directory:
            driver = DriverProcess(Path(directory), pool)
            driver.more = ["--parameter", "capacity=0", "--parameter", "poolSize=24Gi"]
            await driver.start()
            try:
                await mounts(driver, fs_type, name, volumes)
                if (pool, fs_type, name) in SHARING:
                    await copies(driver, fs_type, name, 10)
                    await cycles(driver, fs_type, name)
            finally:
                await driver.close()


if __name__ == "__main__":
    asyncio.run(run(int((*sys.argv[1:], "20")[0])))
