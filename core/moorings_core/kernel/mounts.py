"""Mounts of this process' mount namespace: the mount table, and mount(2) and umount2(2) without spawning a process.

Calls block while file systems are read: run them in a thread. Source: mount(2), umount(2), proc_pid_mountinfo(5).
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)


class MountFlag(IntFlag):
    """Flags of mount(2)."""

    READ_ONLY = 1
    NO_SUID = 2
    NO_DEV = 4
    NO_EXEC = 8
    REMOUNT = 32
    NO_ATIME = 1024
    BIND = 4096
    MOVE = 8192
    RECURSIVE = 16384
    PRIVATE = 1 << 18
    SLAVE = 1 << 19
    SHARED = 1 << 20


_OPTION_FLAGS = {
    "ro": MountFlag.READ_ONLY,
    "nosuid": MountFlag.NO_SUID,
    "nodev": MountFlag.NO_DEV,
    "noexec": MountFlag.NO_EXEC,
    "noatime": MountFlag.NO_ATIME,
}
_IGNORED_OPTIONS = {"rw", "defaults"}
DETACH = 2
"""MNT_DETACH: the mount leaves the name space at once and the file system when its last user does."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the mount table. device is "major:minor"; root is the directory of the file system that is mounted."""

    id: int
    path: str
    device: str
    root: str
    fs_type: str
    source: str
    options: tuple[str, ...]
    super_options: tuple[str, ...]

    @property
    def read_only(self) -> bool:
        """Whether writes through this mount are refused."""
        return "ro" in self.options


def mount_table(process: str = "self") -> list[Mount]:
    """Return the mounts that a process sees, oldest first."""
    return [_parse(line) for line in Path(f"/proc/{process}/mountinfo").read_text().splitlines()]


def mount_at(path: str | Path) -> Mount | None:
    """Return the mount whose mount point is exactly path and that is seen there, or None.

    The table may have others of that path: below a directory that is mounted on itself, as a lab's node's is, each mount is also made
    in the hidden peer, with options of its own.
    """
    real = os.path.realpath(path)
    try:
        if not _is_mount_point(real):
            return None
        found = _mount_with(_mount_id(real))
    except FileNotFoundError:
        return None
    except OSError:  # what is mounted there does not answer
        return next((m for m in reversed(mount_table()) if m.path == real), None)
    return found if found is not None and found.path == real else None


def is_mount_point(path: str | Path) -> bool:
    """Whether something is mounted at exactly path; costs less than to ask what it is, for the table is not read."""
    real = os.path.realpath(path)
    try:
        return _is_mount_point(real)
    except FileNotFoundError:
        return False
    except OSError:  # what is mounted there does not answer
        return any(m.path == real for m in mount_table())


def mount_of(path: str | Path) -> Mount | None:
    """Return the mount that a path is on, as it is seen there. Raises OSError where there is no such path."""
    return _mount_with(_mount_id(os.path.realpath(path)))


def _is_mount_point(real: str) -> bool:
    return real == "/" or _mount_id(real) != _mount_id(os.path.dirname(real))


def _mount_with(mount_id: int) -> Mount | None:
    """Return the mount of an id; of the table's lines only that one is taken apart."""
    begin = f"{mount_id} "
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        return next((_parse(line.rstrip("\n")) for line in table if line.startswith(begin)), None)


def _mount_id(path: str) -> int:
    """Return the id of the mount that a path is on."""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        told = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
    finally:
        os.close(descriptor)
    return int(told.partition("mnt_id:")[2].split()[0])


def split_options(options: Sequence[str]) -> tuple[MountFlag, str]:
    """Return (flags, data) of mount(2) for a list of options as mount(8) takes them."""
    flags, data = MountFlag(0), []
    for option in options:
        if option in _OPTION_FLAGS:
            flags |= _OPTION_FLAGS[option]
        elif option not in _IGNORED_OPTIONS:
            data.append(option)
    return flags, ",".join(data)


def mount(source: str | Path, target: str | Path, fs_type: str = "", options: Sequence[str] = ()) -> None:
    """Mount a file system. Raises OSError with the kernel's errno."""
    flags, data = split_options(options)
    _mount(str(source), str(target), fs_type, flags, data)


def bind(source: str | Path, target: str | Path, *, read_only: bool = False, recursive: bool = False) -> None:
    """Make source visible at target; a read-only bind takes two calls, and a failure of the second undoes the first."""
    flags = MountFlag.BIND | (MountFlag.RECURSIVE if recursive else MountFlag(0))
    _mount(str(source), str(target), "", flags, "")
    if not read_only:
        return
    try:
        _mount("", str(target), "", MountFlag.BIND | MountFlag.REMOUNT | MountFlag.READ_ONLY, "")
    except OSError:
        unmount(target)
        raise


def remount_bind(target: str | Path, options: Sequence[str]) -> None:
    """Give a bind mount options of its own: ro, nosuid, nodev, noexec, noatime. Raises OSError."""
    flags, _ = split_options(options)
    _mount("", str(target), "", MountFlag.BIND | MountFlag.REMOUNT | flags, "")


def set_propagation(target: str | Path, flags: MountFlag) -> None:
    """Set how mounts below target are shared: SHARED, SLAVE or PRIVATE, with RECURSIVE for the whole tree."""
    _mount("", str(target), "", flags, "")


def unmount(target: str | Path, *, detach: bool = False) -> None:
    """Unmount the topmost mount at target. Raises OSError (EBUSY: in use; EINVAL: no mount point)."""
    if _libc.umount2(os.fsencode(target), DETACH if detach else 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), str(target))


def unmount_all(target: str | Path) -> None:
    """Unmount until nothing is mounted at target; doing it to an unmounted or missing path is no error."""
    while is_mount_point(target):
        unmount(target)


def _mount(source: str, target: str, fs_type: str, flags: MountFlag, data: str) -> None:
    arguments = (os.fsencode(source), os.fsencode(target), fs_type.encode(), ctypes.c_ulong(flags), data.encode() or None)
    if _libc.mount(*arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), source, None, target)


def _parse(line: str) -> Mount:
    left, _, right = line.partition(" - ")
    fields, rest = left.split(" "), right.split(" ")
    return Mount(
        id=int(fields[0]),
        path=_unescape(fields[4]),
        device=fields[2],
        root=_unescape(fields[3]),
        fs_type=rest[0],
        source=_unescape(rest[1]),
        options=tuple(fields[5].split(",")),
        super_options=tuple(rest[2].split(",")),
    )


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
