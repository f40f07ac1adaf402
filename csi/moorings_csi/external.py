"""The backend `external`: any CSI driver's program, run beside the agent and registered with it; everything else is the driver's own.

    storage: [{name: other, backend: external, parameters: {driver: NAME, command: [PROGRAM, "{socket}", ...], attach: true}}]

In the command {socket}, {node} and {root} (a directory of the node's own) are filled in. The program is started again when it ends,
and ends with the agent, however that does.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moorings_core.kernel import processes
from moorings_core.log import get_logger
from moorings_core.ports.node import NodeContext
from moorings_core.protos.services import REGISTRATION

from .errors import StorageError
from .registration import Registration
from .server import STOP_GRACE, serve

log = get_logger(__name__)
SOCKET_SECONDS, POLL_SECONDS = 30.0, 0.05


@dataclass(frozen=True, slots=True)
class External:
    """A driver's program as a NodeComponent."""

    driver: str
    command: Sequence[str]
    socket: Path
    registry: Path

    async def run(self) -> None:
        """Run the program and tell the agent of it, until cancelled. Raises StorageError when it ends or never serves."""
        self.socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.socket.unlink(missing_ok=True)
        try:
            process = await start(self.command)
        except OSError as error:
            raise StorageError(f"driver {self.driver}: {self.command[0]}: {error.strerror}") from error
        try:
            await self._wait_for_socket(process)
            server = await serve(self.registry / f"{self.driver}-reg.sock", [(REGISTRATION, Registration(self.driver, self.socket))])
            try:
                code = await process.wait()
            finally:
                await server.stop(STOP_GRACE)
            raise StorageError(f"driver {self.driver} ended with {code}")
        finally:
            await end(process)

    async def _wait_for_socket(self, process: asyncio.subprocess.Process) -> None:
        end = asyncio.get_running_loop().time() + SOCKET_SECONDS
        while not self.socket.exists():
            if process.returncode is not None:
                raise StorageError(f"driver {self.driver} ended with {process.returncode} before it served on {self.socket}")
            if asyncio.get_running_loop().time() > end:
                raise StorageError(f"driver {self.driver} serves nothing on {self.socket} after {SOCKET_SECONDS:g} s")
            await asyncio.sleep(POLL_SECONDS)


async def start(command: Sequence[str]) -> asyncio.subprocess.Process:
    """Start a program that is killed with this process: two of them on the same volumes would destroy them. Raises OSError."""
    program = shutil.which(command[0])
    if program is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), command[0])
    return await asyncio.create_subprocess_exec(*processes.tied([program, *command[1:]]))


async def end(process: asyncio.subprocess.Process) -> None:
    """Ask a program that runs to end, and end it when it does not."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_GRACE):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def backend(context: NodeContext, parameters: Mapping[str, Any]) -> External:
    """Return a driver's program for a node. Raises StorageError where the cluster file lacks its name or command."""
    driver, command = str(parameters.get("driver") or ""), parameters.get("command")
    if not driver or not isinstance(command, list) or not command:
        raise StorageError("storage backend external: parameters need `driver` (its name) and `command` (a list)")
    socket, root = context.root / "plugins" / driver / "csi.sock", context.root / "volumes" / driver
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    words = {"socket": str(socket), "node": context.name, "root": str(root)}
    return External(driver, [str(word).format(**words) for word in command], socket, context.root / "plugins_registry")
