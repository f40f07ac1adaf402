"""A driver as a process of its own, so that it can be killed, and a client of its socket."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from moorings_core.kernel import loops, mounts
from moorings_core.protos import csi_pb2 as csi
from moorings_core.protos.services import CONTROLLER, IDENTITY, NODE

PROGRAM = """
import asyncio, pathlib, sys
from moorings_csi.image import DriverOptions, ImageDriver
root = pathlib.Path(sys.argv[1])
asyncio.run(ImageDriver(DriverOptions("node-a", root / "pool", root / "csi.sock", None, {"capacity": 1 << 30})).run())
"""
Mode = csi.VolumeCapability.AccessMode


class DriverProcess:
    """One driver below a directory; started, killed and started again as a test wants."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.socket = root / "csi.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: grpc.aio.Channel | None = None

    async def start(self, crash_at: str = "") -> None:
        """Start the driver and wait until it answers."""
        self.socket.unlink(missing_ok=True)
        environment = {**os.environ, "MOORINGS_CSI_CRASH_AT": crash_at}
        command = [sys.executable, "-c", PROGRAM, str(self.root)]
        self._process = await asyncio.to_thread(subprocess.Popen, command, env=environment)
        self._channel = grpc.aio.insecure_channel(f"unix://{self.socket}")
        await self.call("Probe", wait=True)

    async def stop(self) -> None:
        """Kill the driver, if it still lives, and wait for its end."""
        if self._channel is not None:
            await self._channel.close()
        if self._process is not None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
        self._process = self._channel = None

    @property
    def exit_code(self) -> int | None:
        """The driver's exit code once it has died."""
        assert self._process is not None
        return self._process.wait(10)

    async def call(self, method: str, wait: bool = False, **fields: Any) -> Any:
        """Call an RPC by name with the fields of its request."""
        service, types = next((s, m[method]) for s, m in (IDENTITY, CONTROLLER, NODE) if method in m)
        assert self._channel is not None
        call = self._channel.unary_unary(f"/{service}/{method}", types.request.SerializeToString, types.response.FromString)
        return await call(types.request(**fields), timeout=30, wait_for_ready=wait)

    def leftovers(self) -> list[str]:
        """Return mounts and loop devices that still refer to this driver's directory."""
        mounted = [m.path for m in mounts.mount_table() if m.path.startswith(str(self.root))]
        volumes = self.root / "pool" / "volumes"
        held = [str(f) for f in volumes.glob("*") if loops.find(loops.identity(f))] if volumes.exists() else []
        return mounted + held

    async def close(self) -> None:
        """Stop the driver and remove whatever it left in the kernel."""
        await self.stop()
        for path in reversed([m.path for m in mounts.mount_table() if m.path.startswith(str(self.root))]):
            mounts.unmount_all(path)
        volumes = self.root / "pool" / "volumes"
        for file in volumes.glob("*") if volumes.exists() else ():
            loops.detach(loops.identity(file))


def mount_capability(fs_type: str = "", mode: int = Mode.SINGLE_NODE_WRITER) -> csi.VolumeCapability:
    """Return a capability for a mounted file system."""
    mount = csi.VolumeCapability.MountVolume(fs_type=fs_type)
    return csi.VolumeCapability(mount=mount, access_mode=Mode(mode=mode))


def block_capability() -> csi.VolumeCapability:
    """Return a capability for a raw block device."""
    mode = Mode(mode=Mode.SINGLE_NODE_WRITER)
    return csi.VolumeCapability(block=csi.VolumeCapability.BlockVolume(), access_mode=mode)
