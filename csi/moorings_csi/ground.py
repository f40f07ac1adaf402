"""The file system that a pool is on. Where the machine has none of the wanted type, it is made in a file behind a loop device.

ROOT.img is beside ROOT and is mounted on it; both are found again after a restart, and the file system is made once.
"""

from __future__ import annotations

import os
from pathlib import Path

from moorings_core.durable import sync_directory
from moorings_core.kernel import loops, mounts
from moorings_core.log import get_logger

from . import filesystem
from .errors import StorageError, WrongState

log = get_logger(__name__)
SMALLEST = 512 << 20
OPTIONS = {"btrfs": ["noatime"], "xfs": ["noatime"], "ext4": ["noatime"]}


def type_of(directory: Path) -> str:
    """Return the type of the file system that a directory is on."""
    found = mounts.mount_of(directory)
    if found is None:
        raise StorageError(f"{directory} is on no mount that is seen here")
    return found.fs_type


def prepare(root: Path, fs_type: str, size: int) -> None:
    """Let root be on a file system of a type, made in a file of `size` bytes if need be. Raises StorageError, WrongState."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    if type_of(root) == fs_type:
        return
    if not size:
        raise StorageError(
            f"{root} is on {type_of(root)}, the pool needs {fs_type}: mount one there, or give poolSize to have it made in a file"
        )
    if size < SMALLEST:
        raise StorageError(f"poolSize {size} is too small for {fs_type}: give at least {SMALLEST}")
    file = root.with_name(f"{root.name}.img")
    if not file.exists():
        _make(file, fs_type, size)
    loop = loops.attach(file)
    try:
        mounts.mount(loop.path, root, fs_type, OPTIONS[fs_type])
    except OSError as error:
        raise WrongState(f"{file} does not mount as {fs_type}: {error}; it was not touched") from error
    loops.set_autoclear(loop.path)
    log.info("file system of the pool mounted", root=str(root), type=fs_type)


def _make(file: Path, fs_type: str, size: int) -> None:
    """Make the file under another name first: one that has its final name holds a whole file system."""
    fresh = file.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    os.truncate(fresh, size)
    filesystem.make(fs_type, fresh)
    fresh.rename(file)
    sync_directory(file.parent)
