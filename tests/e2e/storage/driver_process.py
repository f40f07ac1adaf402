"""A driver as a process of its own, so that it can be killed, and a client of its socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from moorings_core.kernel import loops, mounts
from moorings_core.protos import csi_pb2 as csi
from moorings_core.protos.services import CONTROLLER, GROUP_CONTROLLER, IDENTITY, NODE

from . import zygote

Mode = csi.VolumeCapability.AccessMode


RECONNECT = (("grpc.initial_reconnect_backoff_ms", 20), ("grpc.max_reconnect_backoff_ms", 20), ("grpc.min_reconnect_backoff_ms", 20))
POOLS = {
    "image": ("--pool", "image", "--parameter", "capacity=1Gi", "--parameter", "fsType=ext4"),
    "image-xfs": ("--pool", "image", "--parameter", "fsType=xfs", "--parameter", "poolFsType=xfs", "--parameter", "poolSize=6Gi"),
    "btrfs": ("--pool", "btrfs", "--parameter", "poolSize=4Gi"),
    "hostpath": ("--pool", "hostpath"),
}
"""What the tests call a pool, and how the driver is started on it."""


class DriverProcess:
    """One driver below a directory; started, killed and started again as a test wants."""

    def __init__(self, root: Path, pool: str = "image") -> None:
        self.root, self.pool, self.more = root, pool, list[str]()
        self.socket = root / "csi.sock"
        self._pid = 0
        self._exit_code: int | None = None
        self._channel: grpc.aio.Channel | None = None

    async def start(self, crash_at: str = "") -> None:
        """Start the driver and wait until it answers."""
        self.socket.unlink(missing_ok=True)
        where = ["--endpoint", f"unix://{self.socket}", "--root", str(self.root / "pool"), "--node-id", "node-a"]
        self._pid = await asyncio.to_thread(zygote.run, [*where, *POOLS[self.pool], *self.more], crash_at)
        self._exit_code = None
        self._channel = grpc.aio.insecure_channel(f"unix://{self.socket}", options=RECONNECT)
        probe = asyncio.ensure_future(self.call("Probe", wait=True))
        died = asyncio.ensure_future(asyncio.to_thread(_wait_for_end, self._pid, probe))
        await asyncio.wait([probe, died], return_when=asyncio.FIRST_COMPLETED)
        assert probe.done(), f"the driver ended with {self.exit_code} before it answered"
        await probe

    async def stop(self) -> None:
        """Kill the driver, if it still lives, and wait for its end."""
        if self._channel is not None:
            await self._channel.close()
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            _ = self.exit_code
        self._pid, self._channel = 0, None

    @property
    def exit_code(self) -> int:
        """The driver's exit code; waits for its end."""
        if self._exit_code is None:
            self._exit_code = zygote.wait(self._pid)
        return self._exit_code

    async def call(self, method: str, wait: bool = False, **fields: Any) -> Any:
        """Call an RPC by name with the fields of its request."""
        service, types = next((s, m[method]) for s, m in (IDENTITY, CONTROLLER, GROUP_CONTROLLER, NODE) if method in m)
        assert self._channel is not None
        call = self._channel.unary_unary(f"/{service}/{method}", types.request.SerializeToString, types.response.FromString)
        return await call(types.request(**fields), timeout=30, wait_for_ready=wait)

    def leftovers(self) -> list[str]:
        """Return mounts and loop devices that still refer to volumes of this driver."""
        pool = str(self.root / "pool")
        mounted = [m.path for m in mounts.mount_table() if m.path.startswith(f"{self.root}/") and m.path != pool]
        held = [str(f) for f in self._files() if loops.find(loops.identity(f))]
        return mounted + held

    def descriptors(self) -> list[str]:
        """Return what the driver has open, but for sockets and pipes, which come and go with calls."""
        found = (os.readlink(f"/proc/{self._pid}/fd/{fd}") for fd in os.listdir(f"/proc/{self._pid}/fd"))
        return sorted(f for f in found if f.startswith("/") and "/proc/" not in f)

    def devices(self) -> list[str]:
        """Return the loop devices of this driver's files, of removed ones, too."""
        found = []
        for entry in Path("/sys/block").glob("loop*/loop/backing_file"):
            with contextlib.suppress(OSError):  # detached meanwhile
                found.append(entry.read_text().strip())
        return sorted(f for f in found if f.startswith(f"{self.root}/pool/"))

    def stored(self) -> list[str]:
        """Return every file of data and of the journal."""
        directories = [self.root / "pool" / d for d in ("volumes", "subvolumes", "directories")]
        records = [*(self.root / "pool" / "meta").glob("*/*")]
        return [str(p) for d in directories if d.exists() for p in d.iterdir()] + [str(r) for r in records]

    async def close(self) -> None:
        """Stop the driver and remove whatever it left in the kernel."""
        await self.stop()
        pool = str(self.root / "pool")
        below = [m.path for m in mounts.mount_table() if m.path.startswith(f"{self.root}/")]
        for path in reversed([p for p in below if p != pool]):
            mounts.unmount_all(path)
        for file in self._files():
            loops.detach(loops.identity(file))
        mounts.unmount_all(pool)
        if (self.root / "pool.img").exists():
            loops.detach(loops.identity(self.root / "pool.img"))

    def _files(self) -> list[Path]:
        volumes = self.root / "pool" / "volumes"
        return list(volumes.glob("*")) if volumes.exists() else []


def _wait_for_end(pid: int, until: asyncio.Future[Any]) -> None:
    """Return when a process has ended, or when it no longer matters."""
    descriptor = os.pidfd_open(pid)
    try:
        while not until.done() and not select.select([descriptor], [], [], 0.01)[0]:
            pass
    finally:
        os.close(descriptor)


def mount_capability(fs_type: str = "", mode: int = Mode.SINGLE_NODE_WRITER) -> csi.VolumeCapability:
    """Return a capability for a mounted file system."""
    mount = csi.VolumeCapability.MountVolume(fs_type=fs_type)
    return csi.VolumeCapability(mount=mount, access_mode=Mode(mode=mode))


def block_capability() -> csi.VolumeCapability:
    """Return a capability for a raw block device."""
    mode = Mode(mode=Mode.SINGLE_NODE_WRITER)
    return csi.VolumeCapability(block=csi.VolumeCapability.BlockVolume(), access_mode=mode)
