"""Loop devices: a file as a block device. A device belongs to an inode, never to a path: paths are renamed and reused.

Calls block: run them in a thread. Source: loop(4), linux/loop.h.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import filesystems

LOOP_SET_CAPACITY, LOOP_CLR_FD, LOOP_GET_STATUS64, LOOP_CONFIGURE = 0x4C07, 0x4C01, 0x4C05, 0x4C0A
LOOP_CTL_GET_FREE, LOOP_SET_STATUS64 = 0x4C82, 0x4C04
READ_ONLY, AUTOCLEAR, DIRECT_IO = 1, 4, 16
_INFO = struct.Struct("=QQQQQIIII64s64s32sQQ")
_CONFIG_HEAD, _CONFIG_TAIL = struct.Struct("=II"), bytes(64)
_FLAGS_FIELD = 8
MAJOR = 7
SECTOR = 512
LOOK_SECONDS, POLL_SECONDS = 0.25, 0.005
BACKING_MOST = 1 << 13
"""Bytes of a backing file's path, which the kernel tells in one page"""
ATTACH_TRIES = 64
"""How many free numbers may be taken from under us before we give up; each lost race is somebody else's success."""


@dataclass(frozen=True, slots=True)
class Loop:
    """An attached loop device; the backing file is named by the device and inode that the kernel holds."""

    path: str
    backing: tuple[int, int]


def identity(path: str | Path) -> tuple[int, int]:
    """Return (device, inode) of a file."""
    status = os.stat(path)
    return status.st_dev, status.st_ino


def find(backing: tuple[int, int], name: str = "") -> Loop | None:
    """Return the device attached to an inode, or None.

    With the name that the file has always had only devices of files of that name are looked at: to look is to open a device, and
    one that is open is not detached. The device that the inode had last is looked at first: a machine may have hundreds.
    """
    last = _look(_last[backing], name) if backing in _last else None
    if last is not None and last.backing == backing:
        return last
    return next((loop for loop in attached(name) if loop.backing == backing), None)


def attached(name: str = "") -> Iterator[Loop]:
    """Yield every attached loop device, or those of files that have a name."""
    for device in sorted(entry for entry in os.listdir("/sys/block") if entry.startswith("loop")):
        found = _look(f"/dev/{device}", name)
        if found is not None:
            yield found


_last: dict[tuple[int, int], str] = {}
"""Where this process has attached inodes: a hint, which is never trusted unseen"""


def _look(path: str, name: str) -> Loop | None:
    return _status(path) if _may_have(path, name) else None


def _may_have(path: str, name: str) -> bool:
    try:
        descriptor = os.open(f"/sys/block/{os.path.basename(path)}/loop/backing_file", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # not attached
        return False
    try:
        file = os.fsdecode(os.read(descriptor, BACKING_MOST)).strip()
    except OSError:  # not any more
        return False
    finally:
        os.close(descriptor)
    return not name or file.removesuffix(" (deleted)").endswith(f"/{name}")


def attach(file: str | Path, *, read_only: bool = False, direct_io: bool = True, block_size: int = 0, name: str = "") -> Loop:
    """Return the device of a file, attaching one where there is none yet.

    Direct I/O avoids caching everything twice; where the file system refuses it the device is buffered. Callers serialise
    per file. block_size is the device's sector in bytes; 0 leaves it to the kernel, which makes it 4096 for a file that shares
    blocks on XFS and 512 for the same file before: a file system would fit one and not the other. name: see `find`.
    """
    backing = identity(file)
    known = find(backing, name)
    if known is not None:
        return known
    descriptor = filesystems.open_unstamped(file, os.O_RDONLY if read_only else os.O_RDWR)
    try:
        flags = (READ_ONLY if read_only else 0) | (DIRECT_IO if direct_io else 0)
        for _ in range(ATTACH_TRIES):
            path = f"/dev/loop{_free_number()}"
            if _configure(path, descriptor, flags, block_size):
                _last[backing] = path
                return Loop(path, backing)
    finally:
        os.close(descriptor)
    raise OSError(errno.EBUSY, "no free loop device", str(file))


def detach(backing: tuple[int, int], name: str = "") -> bool:
    """Detach the device of an inode; return whether it is gone (False: somebody still uses it and it goes with the last user).

    Who only looks at the device has it open for a moment, for which this waits. name: see `find`.
    """
    known = find(backing, name)
    if known is None:
        return True
    with _opened(known.path) as device:
        try:
            fcntl.ioctl(device, LOOP_CLR_FD, 0)
        except OSError as error:
            if error.errno not in (errno.ENXIO, errno.EBUSY):
                raise
    _last.pop(backing, None)
    end = time.monotonic() + LOOK_SECONDS
    while (held := _look(known.path, name) == known) and time.monotonic() < end and not _is_mounted(known.path):
        time.sleep(POLL_SECONDS)
    return not held


def _is_mounted(path: str) -> bool:
    return any(f" {path} " in line for line in Path("/proc/self/mountinfo").read_text().splitlines())


def refresh_capacity(path: str) -> None:
    """Tell an attached device that its file has grown."""
    with _opened(path) as device:
        fcntl.ioctl(device, LOOP_SET_CAPACITY, 0)


def size(path: str) -> int:
    """Return the bytes that a device offers."""
    return int(_attribute(path, "size").read_text()) * SECTOR


def is_direct(path: str) -> bool:
    """Whether a device bypasses the page cache of the file system below."""
    return _attribute(path, "loop/dio").read_text().strip() == "1"


def set_read_ahead(path: str, kibibytes: int) -> None:
    """Set how far ahead of a sequential reader the kernel reads."""
    _attribute(path, "queue/read_ahead_kb").write_text(str(kibibytes))


def refuse_discard(path: str) -> None:
    """Let a device say that it cannot discard: a discard would punch holes into a file whose blocks were reserved."""
    attribute = _attribute(path, "queue/discard_max_bytes")
    if attribute.read_text().strip() != "0":
        attribute.write_text("0")


def set_autoclear(path: str) -> None:
    """Let an attached device go with its last user: a mount that ends, also with its namespace, leaves nothing behind."""
    with _opened(path) as device:
        raw = bytearray(fcntl.ioctl(device, LOOP_GET_STATUS64, bytes(_INFO.size)))
        fields = list(_INFO.unpack(raw))
        fields[_FLAGS_FIELD] |= AUTOCLEAR
        fcntl.ioctl(device, LOOP_SET_STATUS64, _INFO.pack(*fields))


def _attribute(path: str, name: str) -> Path:
    return Path("/sys/block") / Path(path).name / name


@contextmanager
def _opened(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _free_number() -> int:
    with _opened("/dev/loop-control") as control:
        number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
    path = f"/dev/loop{number}"
    if not os.path.exists(path):  # a container's /dev may be a plain directory
        os.mknod(path, 0o60660, os.makedev(MAJOR, number))
    return number


def _configure(path: str, descriptor: int, flags: int, block_size: int) -> bool:
    """Attach; return False when somebody else took the number first."""
    info = _INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, flags, b"", b"", b"", 0, 0)
    argument = _CONFIG_HEAD.pack(descriptor, block_size) + info + _CONFIG_TAIL
    with _opened(path) as device:
        try:
            fcntl.ioctl(device, LOOP_CONFIGURE, argument)
        except OSError as error:
            if error.errno == errno.EBUSY:
                return False
            if error.errno == errno.EINVAL and flags & DIRECT_IO:
                return _configure(path, descriptor, flags & ~DIRECT_IO, block_size)
            raise
    return True


def _status(path: str) -> Loop | None:
    try:
        with _opened(path) as device:
            raw = fcntl.ioctl(device, LOOP_GET_STATUS64, bytes(_INFO.size))
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOENT):  # detached between the listing and now
            return None
        raise
    fields = _INFO.unpack(raw)
    return Loop(path, (fields[0], fields[1]))
