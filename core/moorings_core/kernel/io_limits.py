"""How fast the processes of a cgroup may read and write a block device: io.max of cgroup v2, which holds for all cgroups below, too.

cgroup v1 has no such thing: there every group counts by itself, and what is written through the page cache counts for nobody.
Source: Documentation/admin-guide/cgroup-v2.rst, IO Interface Files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
KEYS = ("rbps", "wbps", "riops", "wiops")
"""Bytes read and written, and reads and writes, each a second"""
MOST = "max"


def enable(cgroup: Path) -> str:
    """Let a cgroup below ROOT, made if need be, have limits of I/O; return why it cannot, or "". Blocks."""
    if "io" not in _words(ROOT / "cgroup.controllers"):
        return f"{ROOT} is no cgroup v2 with the controller io"
    try:
        cgroup.mkdir(parents=True, exist_ok=True)
        for parent in reversed([p for p in cgroup.parents if p == ROOT or ROOT in p.parents]):
            if "io" not in _words(parent / "cgroup.subtree_control"):
                (parent / "cgroup.subtree_control").write_text("+io")
    except OSError as error:
        return f"the controller io is not for {cgroup}: {error.strerror}"
    return "" if (cgroup / "io.max").exists() else f"{cgroup} has no io.max"


def limit(cgroup: Path, device: str, limits: Mapping[str, int]) -> None:
    """Give a device its limits in a cgroup; what is not among KEYS given has none. Raises OSError."""
    number = os.stat(device).st_rdev
    values = " ".join(f"{key}={limits.get(key, MOST)}" for key in KEYS)
    (cgroup / "io.max").write_text(f"{os.major(number)}:{os.minor(number)} {values}")


def limits(cgroup: Path, device: str) -> dict[str, int]:
    """Return the limits of a device in a cgroup. Raises OSError."""
    number = os.stat(device).st_rdev
    name = f"{os.major(number)}:{os.minor(number)}"
    found = next((line.split()[1:] for line in (cgroup / "io.max").read_text().splitlines() if line.split()[0] == name), [])
    pairs = (word.split("=") for word in found)
    return {key: int(value) for key, value in pairs if value != MOST}


def _words(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []
