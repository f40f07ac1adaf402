"""Making file systems. Every mkfs is told not to discard: a discard would punch away the space that a thick volume reserved."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from .errors import StorageError

MKFS = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1"),
    "xfs": ("mkfs.xfs", "-q", "-f", "-K"),
    "btrfs": ("mkfs.btrfs", "-q", "-f", "-K"),
}
MINIMUM = {"ext4": 4 << 20, "xfs": 300 << 20, "btrfs": 110 << 20}
MKFS_TIMEOUT = 120
BLANK_CHECK = 1 << 20


def available_types() -> tuple[str, ...]:
    """Return the file systems that this machine can make and mount."""
    known = {line.split()[-1] for line in Path("/proc/filesystems").read_text().splitlines()}
    return tuple(name for name, command in MKFS.items() if shutil.which(command[0]) and name in known)


def make(fs_type: str, device: Path) -> None:
    """Make a file system and wait until it is on disk. Raises StorageError with the tool's words."""
    command = [*MKFS[fs_type], str(device)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=MKFS_TIMEOUT, check=False)
    if done.returncode != 0:
        raise StorageError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    descriptor = os.open(device, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_blank(device: Path) -> bool:
    """Whether nothing was ever written where file systems keep their first superblock."""
    with device.open("rb") as file:
        return not any(file.read(BLANK_CHECK))
