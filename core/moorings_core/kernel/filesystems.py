"""Mounted file systems: freeze, grow, share blocks between files. Every call is one system call, no process is spawned.

Calls block: run them in a thread. Source: ioctl_fsfreeze(2) (linux/fs.h), ioctl_ficlone(2), xfs_fs.h, linux/btrfs.h, ext4.h.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FIFREEZE, FITHAW, FICLONE = 0xC0045877, 0xC0045878, 0x40049409
FITRIM = 0xC0185879
XFS_GEOMETRY_V1, XFS_GROW_DATA = 0x80705864, 0x4010586E
BTRFS_RESIZE, BTRFS_NAME_BYTES = 0x50009403, 4088
EXT4_RESIZE = 0x40086610
XFS_FD_TO_HANDLE, XFS_OPEN_BY_HANDLE, XFS_HANDLE_BYTES = 0xC038586A, 0xC038586B, 64
_HANDLE_REQUEST = struct.Struct("=I4xQI4xQI4xQQ")
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def opened(path: str | Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    """Yield a descriptor of a file or directory."""
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_unstamped(path: str | Path, flags: int) -> int:
    """Open a file so that writes through the descriptor leave its times as they are, where the file system can do that (XFS); else as ever.

    A file whose only change is its data is synced without a word in the file system's log. Source: XFS_IOC_OPEN_BY_HANDLE, xfsctl(3).
    """
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    handle, length = ctypes.create_string_buffer(XFS_HANDLE_BYTES), ctypes.c_uint32(XFS_HANDLE_BYTES)
    asked = _HANDLE_REQUEST.pack(descriptor, 0, 0, 0, 0, ctypes.addressof(handle), ctypes.addressof(length))
    try:
        fcntl.ioctl(descriptor, XFS_FD_TO_HANDLE, asked)
        asked = _HANDLE_REQUEST.pack(0, 0, flags | os.O_LARGEFILE, ctypes.addressof(handle), length.value, 0, 0)
        with opened(os.path.dirname(os.path.realpath(path)), os.O_RDONLY | os.O_DIRECTORY) as directory:
            unstamped: int = fcntl.ioctl(directory, XFS_OPEN_BY_HANDLE, bytearray(asked))
    except OSError:
        return descriptor
    os.close(descriptor)
    os.set_inheritable(unstamped, False)
    return unstamped


def freeze(mount_point: str | Path) -> bool:
    """Write everything out and let no write through any more; return False where it was frozen already."""
    with opened(mount_point) as descriptor:
        try:
            fcntl.ioctl(descriptor, FIFREEZE, 0)
        except OSError as error:
            if error.errno == errno.EBUSY:
                return False
            raise
    return True


def thaw(mount_point: str | Path) -> bool:
    """Let writes through again; return False where nothing was frozen."""
    with opened(mount_point) as descriptor:
        try:
            fcntl.ioctl(descriptor, FITHAW, 0)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
                return False
            raise
    return True


def share(source: int, target: int) -> None:
    """Let the file behind descriptor target have the blocks of source. Raises OSError (EOPNOTSUPP: no such file system)."""
    fcntl.ioctl(target, FICLONE, source)


def shares_blocks(one: Path, other: Path) -> bool:
    """Whether a file can be given the blocks of another, whatever they hold: it is tried, and both are written to."""
    one.write_bytes(bytes(4096))
    try:
        with opened(one) as source, opened(other, os.O_RDWR) as target:
            share(source, target)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EXDEV):
            return False
        raise
    return True


def sync(path: str | Path) -> None:
    """Write a whole file system out."""
    with opened(path) as descriptor:
        if _libc.syncfs(descriptor) != 0:
            raise OSError(ctypes.get_errno(), "syncfs", str(path))


def trim(mount_point: str | Path) -> None:
    """Tell the device which blocks are free. Raises OSError (EOPNOTSUPP: the device refuses)."""
    with opened(mount_point) as descriptor:
        fcntl.ioctl(descriptor, FITRIM, struct.pack("=QQQ", 0, (1 << 64) - 1, 0))


def grow(mount_point: str | Path, fs_type: str, size: int) -> None:
    """Let a mounted file system fill its device of `size` bytes. Raises OSError (EPERM: this kernel or process may not)."""
    with opened(mount_point) as descriptor:
        _GROW[fs_type](descriptor, size)


def _grow_xfs(descriptor: int, size: int) -> None:
    """Grow as xfs_growfs does: the share of inodes stays. EINVAL means that the size is the present one."""
    geometry = bytearray(112)
    fcntl.ioctl(descriptor, XFS_GEOMETRY_V1, geometry)
    block_size, max_inodes = struct.unpack_from("=I", geometry, 0)[0], struct.unpack_from("=I", geometry, 28)[0]
    present = struct.unpack_from("=Q", geometry, 32)[0]
    if size // block_size > present:
        fcntl.ioctl(descriptor, XFS_GROW_DATA, struct.pack("=QI4x", size // block_size, max_inodes))


def _grow_btrfs(descriptor: int, size: int) -> None:
    fcntl.ioctl(descriptor, BTRFS_RESIZE, bytearray(struct.pack(f"=q{BTRFS_NAME_BYTES}s", 0, b"max")))


def _grow_ext4(descriptor: int, size: int) -> None:
    fcntl.ioctl(descriptor, EXT4_RESIZE, struct.pack("=Q", size // os.fstatvfs(descriptor).f_bsize))


_GROW = {"xfs": _grow_xfs, "btrfs": _grow_btrfs, "ext4": _grow_ext4}
