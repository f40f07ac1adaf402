"""Sandboxes that containerd has lost track of: it died while it made one, and no list shows it any more, but its processes run on.

Each has a shim, whose directory is the sandbox's bundle. Source: containerd issues 6860 and 10421; runtime/v2 shim protocol (delete).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from moorings_core.log import get_logger

log = get_logger(__name__)
PROC = Path("/proc")
KIND, SANDBOX = "io.kubernetes.cri.container-type", "sandbox"
DELETE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Shim:
    """The process that keeps a sandbox's containers; program and bundle are paths."""

    pid: int
    id: str
    namespace: str
    program: str
    bundle: Path


def shims(socket: Path) -> list[Shim]:
    """Return the shims of all sandboxes that the containerd at a socket has ever made and that still run."""
    found = (_shim(directory, str(socket)) for directory in PROC.iterdir() if directory.name.isdigit())
    return [shim for shim in found if shim is not None and _is_sandbox(shim.bundle)]


def lost(running: Sequence[Shim], known: Collection[str], suspects: Collection[str]) -> list[Shim]:
    """Return the shims whose sandbox is known neither now nor was when it became a suspect. Pure."""
    return [shim for shim in running if shim.id not in known and shim.id in suspects]


def end(shim: Shim) -> None:
    """Kill a shim and have its own program take its containers, mounts and cgroups away. Raises OSError, SubprocessError."""
    os.kill(shim.pid, signal.SIGKILL)
    words = [shim.program, "-namespace", shim.namespace, "-id", shim.id, "-bundle", str(shim.bundle), "delete"]
    subprocess.run(words, cwd=shim.bundle, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=DELETE_SECONDS, check=True)
    shutil.rmtree(shim.bundle, ignore_errors=True)
    log.warning("a sandbox that the runtime had lost was ended", sandbox=shim.id)


def _shim(directory: Path, socket: str) -> Shim | None:
    try:
        words = (directory / "cmdline").read_bytes().decode(errors="replace").split("\0")
        if not Path(words[0]).name.startswith("containerd-shim"):
            return None
        options = dict(zip(words[1::2], words[2::2], strict=False))
        if options.get("-address") != socket:
            return None
        bundle = Path(os.readlink(directory / "cwd"))
        return Shim(int(directory.name), options["-id"], options["-namespace"], words[0], bundle)
    except (OSError, KeyError):
        return None  # it ended while it was looked at


def _is_sandbox(bundle: Path) -> bool:
    try:
        config = json.loads((bundle / "config.json").read_bytes())
    except (OSError, ValueError):
        return False
    return (config.get("annotations") or {}).get(KIND) == SANDBOX
