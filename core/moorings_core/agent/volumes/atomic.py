"""A directory of files that changes as a whole: each set lies in a hidden directory of its own, `..data` points to the one that counts.

Readers that go through the links see all old files or all new ones. Source: upstream's atomic writer.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

DATA, NEXT = "..data", "..data_tmp"


class File(NamedTuple):
    """A file's content and permission bits."""

    content: bytes
    mode: int


Payload = Mapping[str, File]
"""Files by relative path"""


def write(directory: Path, payload: Payload, group: int | None = None) -> bool:
    """Make a directory show exactly the payload; return whether anything changed. group owns the files, if given."""
    directory.mkdir(parents=True, exist_ok=True)
    current = directory / DATA
    if current.exists() and read(current) == {name: f.content for name, f in payload.items()}:
        return False
    old = directory / os.readlink(current) if current.is_symlink() else None
    fresh = directory / f"..{time.strftime('%Y_%m_%d_%H_%M_%S')}.{time.monotonic_ns() % 10**9:09d}"
    for name, file in payload.items():
        _write_file(fresh / name, file, group)
    fresh.mkdir(exist_ok=True)
    temporary = directory / NEXT
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(fresh.name)
    temporary.rename(current)
    _link_names(directory, {name.split("/")[0] for name in payload})
    if old is not None and old != fresh:
        shutil.rmtree(old, ignore_errors=True)
    return True


def read(directory: Path) -> dict[str, bytes]:
    """Return the files below a directory by relative path."""
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def _write_file(path: Path, file: File, group: int | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.content)
    if group is not None:
        os.chown(path, -1, group)
    path.chmod(file.mode | (0o440 if group is not None else 0))


def _link_names(directory: Path, names: set[str]) -> None:
    for name in names:
        link = directory / name
        if not link.is_symlink():
            link.symlink_to(f"{DATA}/{name}")
    for entry in directory.iterdir():
        if entry.is_symlink() and entry.name not in names and not entry.name.startswith(".."):
            entry.unlink()
