"""Subvolumes of btrfs and their limits (qgroups) by ioctl: each a millisecond, where the btrfs program takes ten to start.

Calls block: run them in a thread. Paths are of directories on a btrfs file system. Source: linux/btrfs.h, linux/btrfs_tree.h.
Arguments over 1 KiB go as bytearrays: Python copies immutable ones into a buffer of that size.
"""

from __future__ import annotations

import errno
import fcntl
import struct
from pathlib import Path

from .filesystems import opened

CREATE, DESTROY, SNAPSHOT, ROOT_OF = 0x5000940E, 0x5000940F, 0x50009417, 0xD0009412
QUOTA_CONTROL, QGROUP_CREATE, QGROUP_LIMIT = 0xC0109428, 0x4010942A, 0x8030942B
SYNC, FS_INFO = 0x9408, 0x8400941F
QUOTA_ENABLE, READ_ONLY, LIMIT_REFERENCED = 1, 1 << 1, 1
FIRST_OBJECT = 256
NAME_BYTES, SNAPSHOT_NAME_BYTES = 4088, 4040
SUBVOLUME_INODE = 256


def enable_quota(directory: Path) -> None:
    """Count what each subvolume holds; doing it twice is no error."""
    with opened(directory) as descriptor:
        fcntl.ioctl(descriptor, QUOTA_CONTROL, bytearray(struct.pack("=QQ", QUOTA_ENABLE, 0)))


def is_subvolume(path: Path) -> bool:
    """Whether the path is the root of a subvolume."""
    return path.is_dir() and path.stat().st_ino == SUBVOLUME_INODE


def create(path: Path) -> None:
    """Make an empty subvolume. Raises FileExistsError."""
    with opened(path.parent) as descriptor:
        fcntl.ioctl(descriptor, CREATE, bytearray(struct.pack(f"=q{NAME_BYTES}s", 0, path.name.encode())))


def snapshot(source: Path, path: Path, *, read_only: bool) -> None:
    """Make a subvolume with what source holds now, files that were not yet written out included; it is on disk then.

    The kernel makes copies as it commits, and copies the source's limit with them. Raises FileExistsError.
    """
    with opened(path.parent) as descriptor, opened(source) as origin:
        flags = READ_ONLY if read_only else 0
        name = path.name.encode()
        fcntl.ioctl(descriptor, SNAPSHOT, bytearray(struct.pack(f"=qQQ32x{SNAPSHOT_NAME_BYTES}s", origin, 0, flags, name)))


def delete(path: Path) -> None:
    """Remove a subvolume with all it holds; one that is not there is no error."""
    if not path.exists():
        return
    with opened(path.parent) as descriptor:
        fcntl.ioctl(descriptor, DESTROY, bytearray(struct.pack(f"=q{NAME_BYTES}s", 0, path.name.encode())))


def limit(path: Path, size: int) -> None:
    """Let a subvolume refer to at most `size` bytes."""
    with opened(path) as descriptor:
        group = _root_of(descriptor)
        fcntl.ioctl(descriptor, QGROUP_LIMIT, struct.pack("=QQQQQQ", group, LIMIT_REFERENCED, size, 0, 0, 0))


def limit_of(path: Path) -> int:
    """Return the bytes that a subvolume may refer to, 0 where there is no limit; a copy begins with its source's."""
    with opened(path) as descriptor:
        directory = _qgroups(descriptor) / f"0_{_root_of(descriptor)}"
    limited = int((directory / "limit_flags").read_text(), 0) & LIMIT_REFERENCED
    return int((directory / "max_referenced").read_text()) if limited else 0


def referenced(path: Path) -> int:
    """Return the bytes that a subvolume refers to, as of the last commit, plus what is reserved for writes under way."""
    with opened(path) as descriptor:
        directory = _qgroups(descriptor) / f"0_{_root_of(descriptor)}"
    return int((directory / "referenced").read_text()) + int((directory / "rsv_data").read_text())


def commit(path: Path) -> None:
    """Write the whole file system out, so that its counts are of now."""
    with opened(path) as descriptor:
        fcntl.ioctl(descriptor, SYNC, 0)


def groups(directory: Path) -> set[int]:
    """Return the ids of the qgroups of subvolumes; the file system's own root is not among them."""
    with opened(directory) as descriptor:
        found = _qgroups(descriptor)
    return {int(p.name[2:]) for p in found.glob("0_*") if int(p.name[2:]) >= FIRST_OBJECT}


def is_inconsistent(directory: Path) -> bool:
    """Whether the kernel has given up to count what subvolumes hold: limits are not kept then."""
    with opened(directory) as descriptor:
        return (_qgroups(descriptor) / "inconsistent").read_text().strip() != "0"


def group_of(path: Path) -> int:
    """Return the id of a subvolume's qgroup."""
    with opened(path) as descriptor:
        return _root_of(descriptor)


def remove_group(directory: Path, group: int) -> bool:
    """Remove the qgroup of a subvolume that is gone; return False while the kernel still frees the subvolume.

    One that still counts something stays: without it no sum is right any more, and the kernel would give up all limits.
    """
    with opened(directory) as descriptor:
        counts = _qgroups(descriptor) / f"0_{group}"
        try:
            if any(int((counts / name).read_text()) for name in ("referenced", "exclusive")):
                return False
            fcntl.ioctl(descriptor, QGROUP_CREATE, struct.pack("=QQ", 0, group))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINVAL, errno.ENODEV):  # the last: it went while it was read
                return True
            if error.errno == errno.EBUSY:
                return False
            raise
    return True


def _root_of(descriptor: int) -> int:
    found = bytearray(4096)
    struct.pack_into("=QQ", found, 0, 0, FIRST_OBJECT)
    fcntl.ioctl(descriptor, ROOT_OF, found)
    return int(struct.unpack_from("=Q", found)[0])


def _qgroups(descriptor: int) -> Path:
    info = bytearray(1024)
    fcntl.ioctl(descriptor, FS_INFO, info)
    raw = info[16:32].hex()
    uuid = "-".join((raw[:8], raw[8:12], raw[12:16], raw[16:20], raw[20:]))
    return Path("/sys/fs/btrfs") / uuid / "qgroups"
