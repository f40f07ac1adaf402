"""Making file systems. Every mkfs is told not to discard: a discard would punch away the space that a thick volume reserved."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from .errors import StorageError, WrongState
from .scratch import scratch

MKFS = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1"),
    "xfs": ("mkfs.xfs", "-q", "-f", "-K", "-s", "size=4096"),
    "btrfs": ("mkfs.btrfs", "-q", "-f", "-K"),
}
MINIMUM = {"ext4": 4 << 20, "xfs": 300 << 20, "btrfs": 110 << 20}
TEMPLATED = ("ext4", "xfs")
"""File systems of which many copies with one UUID can be mounted at once (xfs by `nouuid`)."""
MKFS_TIMEOUT = 120
BLANK_CHECK = 1 << 20
BLOCK = 4096
TEMPLATES = 16
E2FSCK_DAMAGED = 4


def available_types() -> tuple[str, ...]:
    """Return the file systems that this machine can make and mount."""
    known = {line.split()[-1] for line in Path("/proc/filesystems").read_text().splitlines()}
    return tuple(name for name, command in MKFS.items() if shutil.which(command[0]) and name in known)


def make(fs_type: str, device: Path) -> None:
    """Make a file system on a device or a file and wait until it is on disk. Raises StorageError with the tool's words."""
    _run([*MKFS[fs_type], str(device)])
    descriptor = os.open(device, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_blank(device: Path) -> bool:
    """Whether nothing was ever written where file systems keep their first superblock."""
    with device.open("rb") as file:
        return not any(file.read(BLANK_CHECK))


def grow_unmounted(fs_type: str, device: Path) -> None:
    """Let an ext4 file system that is not mounted fill its device. Raises WrongState where it is damaged."""
    if fs_type != "ext4":
        return  # the others grow once they are mounted
    checked = _run(["e2fsck", "-f", "-p", str(device)], good=range(E2FSCK_DAMAGED))
    if checked >= E2FSCK_DAMAGED:
        raise WrongState(f"the file system on {device} is damaged: e2fsck -p answered {checked}")
    _run(["resize2fs", str(device)])


class Templates:
    """What mkfs writes, kept in memory per file system and size: the blocks that are not zero, a few hundred KiB.

    Writing them into the file of a new volume takes a few milliseconds, before there is a device at all.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known: OrderedDict[tuple[str, int], Sequence[tuple[int, bytes]]] = OrderedDict()
        self._lock = threading.Lock()

    def write(self, fs_type: str, size: int, descriptor: int) -> bool:
        """Write the file system into a file of zeros; return False for a file system that must be made one by one."""
        if fs_type not in TEMPLATED:
            return False
        for offset, block in self._blocks(fs_type, size):
            os.pwrite(descriptor, block, offset)
        return True

    def _blocks(self, fs_type: str, size: int) -> Sequence[tuple[int, bytes]]:
        key = (fs_type, size)
        with self._lock:
            if key not in self._known:
                self._known[key] = self._make(fs_type, size)
                while len(self._known) > TEMPLATES:
                    self._known.popitem(last=False)
            self._known.move_to_end(key)
            return self._known[key]

    def _make(self, fs_type: str, size: int) -> Sequence[tuple[int, bytes]]:
        with scratch(self._directory, "template") as file:
            os.truncate(file, size)
            _run([*MKFS[fs_type], str(file)])
            return _written(file)


def _written(file: Path) -> Sequence[tuple[int, bytes]]:
    """Return the blocks of a sparse file that are not zero, neighbours joined."""
    found: list[tuple[int, bytearray]] = []
    zero = bytes(BLOCK)
    with file.open("rb", buffering=0) as opened:
        descriptor, end = opened.fileno(), file.stat().st_size
        position = 0
        while position < end:
            try:
                position = os.lseek(descriptor, position, os.SEEK_DATA) // BLOCK * BLOCK
            except OSError:  # ENXIO: no data behind this point
                break
            hole = os.lseek(descriptor, position, os.SEEK_HOLE)
            while position < hole:
                block = os.pread(descriptor, BLOCK, position)
                if block != zero[: len(block)]:
                    _append(found, position, block)
                position += BLOCK
    return [(offset, bytes(data)) for offset, data in found]


def _append(found: list[tuple[int, bytearray]], offset: int, block: bytes) -> None:
    if found and found[-1][0] + len(found[-1][1]) == offset:
        found[-1][1].extend(block)
    else:
        found.append((offset, bytearray(block)))


def _run(command: Sequence[str], good: range = range(1)) -> int:
    done = subprocess.run(command, capture_output=True, text=True, timeout=MKFS_TIMEOUT, check=False)
    if done.returncode not in good and good == range(1):
        raise StorageError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.returncode
