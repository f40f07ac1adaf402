"""Volumes as files behind loop devices, and copies of them that share blocks, where the file system below can do that."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from moorings_core.durable import sync_directory
from moorings_core.kernel import filesystems, io_limits, loops, mounts
from moorings_core.log import get_logger

from .errors import PoolFull, StorageError
from .faults import point
from .filesystem import Templates
from .records import Record, SnapshotRecord, VolumeRecord
from .scratch import remove_scratch, scratch

log = get_logger(__name__)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
SECTOR = 4096
"""Of every volume's device: what direct I/O needs also where files share blocks."""
READ_AHEAD = "readAheadKiB"
LIMITS = {
    "readBytesPerSecond": "rbps",
    "writeBytesPerSecond": "wbps",
    "readsPerSecond": "riops",
    "writesPerSecond": "wiops",
}
"""Parameters that limit a volume's I/O, and the kernel's words for them"""


class Files:
    """Files of one directory by the name that their record gives them."""

    def __init__(self, directory: Path, io_cgroup: Path | None = None) -> None:
        self.directory, self._io_cgroup = directory, io_cgroup
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._templates = Templates(directory)

    def probe_loop(self) -> bool:
        """Attach a loop device to a file and let go of it; return whether I/O is direct. Raises StorageError."""
        with scratch(self.directory, "probe") as file:
            try:
                os.truncate(file, 1 << 20)
                loop = loops.attach(file, block_size=SECTOR)
                direct = loops.is_direct(loop.path)
                loops.detach(loop.backing)
            except OSError as error:
                raise StorageError(f"loop devices do not work on {self.directory}: {error}") from error
        return direct

    def probe_limits(self) -> bool:
        """Whether I/O can be limited. Raises StorageError where that was asked for and this machine cannot."""
        if self._io_cgroup is None:
            return False
        reason = io_limits.enable(self._io_cgroup)
        if reason:
            raise StorageError(f"ioCgroup: {reason}")
        return True

    def shares_blocks(self) -> bool:
        """Whether a file can be copied without copying its blocks."""
        with scratch(self.directory, "probe") as one, scratch(self.directory, "probe") as other:
            return filesystems.shares_blocks(one, other)

    def names(self) -> list[str]:
        """Return the names of all files that are not hidden."""
        return [name for name in os.listdir(self.directory) if not name.startswith(".")]

    def tidy(self) -> None:
        """Remove probes and templates of a driver that died."""
        remove_scratch(self.directory)

    def path(self, record: Record) -> Path:
        """Return the file of a record."""
        return self.directory / record.data

    def create(self, record: VolumeRecord, source: Record | None) -> bool:
        """Make the file; return whether a file system is on it."""
        formatted = False
        with _to_be_filled(self.path(record), record.size) as descriptor:
            if source is not None:
                with filesystems.opened(self.path(source)) as origin:
                    filesystems.share(origin, descriptor)
            _size(descriptor, record.size, thin=record.thin)
            if source is None and not record.block:
                formatted = self._templates.write(record.fs_type, record.size, descriptor)
        if source is not None:
            point("clone.data")
        sync_directory(self.directory)
        return formatted

    def snapshot(self, volume: VolumeRecord, snapshot: SnapshotRecord) -> None:
        """Share a volume's blocks with a snapshot's file."""
        with _to_be_filled(self.path(snapshot), volume.size) as target, filesystems.opened(self.path(volume)) as source:
            filesystems.share(source, target)
        sync_directory(self.directory)

    def remove(self, record: Record) -> None:
        """Remove a file durably."""
        self.path(record).unlink(missing_ok=True)
        sync_directory(self.directory)

    def resize(self, record: VolumeRecord, size: int) -> None:
        """Let a file be of `size` bytes; it never shrinks."""
        with filesystems.opened(self.path(record), os.O_RDWR) as descriptor:
            if os.fstat(descriptor).st_size < size:
                _filled(descriptor, size, thin=record.thin)
            os.fsync(descriptor)

    def attach(self, record: VolumeRecord) -> Path:
        """Return the loop device of a file; it has the file's present size."""
        file = self.path(record)
        loop = loops.attach(file, block_size=SECTOR, name=file.name)
        if loops.size(loop.path) < file.stat().st_size:
            loops.refresh_capacity(loop.path)
        if not record.thin:
            loops.refuse_discard(loop.path)
        self._set(record, loop.path)
        return Path(loop.path)

    def detach(self, record: VolumeRecord) -> bool:
        """Give the loop device back; return whether it is gone."""
        file = self.path(record)
        return not file.exists() or loops.detach(loops.identity(file), file.name)

    def modify(self, record: VolumeRecord) -> None:
        """Set the parameters of the device, if there is one."""
        loop = loops.find(loops.identity(self.path(record)), record.data) if record.parameters else None
        if loop is not None:
            self._set(record, loop.path)

    def _set(self, record: VolumeRecord, device: str) -> None:
        if READ_AHEAD in record.parameters:
            loops.set_read_ahead(device, int(record.parameters[READ_AHEAD]))
        if self._io_cgroup is not None:  # also without limits: the device's number may have had another volume's
            wanted = {key: int(record.parameters[name]) for name, key in LIMITS.items() if name in record.parameters}
            io_limits.limit(self._io_cgroup, device, wanted)

    @contextmanager
    def quiet(self, volumes: Sequence[VolumeRecord]) -> Iterator[None]:
        """Freeze the file systems of volumes that are mounted where this process sees them, and always thaw them."""
        with ExitStack() as frozen:
            for volume in volumes:
                mount_point = self._mounted(volume)
                if mount_point is not None and filesystems.freeze(mount_point):
                    frozen.callback(filesystems.thaw, mount_point)
                elif volume.block:
                    self._write_out(volume)
            point("snapshot.quiet")
            yield

    def thaw(self, volumes: Sequence[VolumeRecord]) -> None:
        """Undo what a driver left frozen that died in the middle of a snapshot."""
        places = {loop.backing: loop.path for loop in loops.attached()}
        by_source = {mount.source: mount.path for mount in mounts.mount_table()}
        for volume in volumes:
            file = self.path(volume)
            device = places.get(loops.identity(file)) if file.exists() else None
            if device in by_source and filesystems.thaw(by_source[device]):
                log.warning("file system thawed", volume=volume.id)

    def _write_out(self, volume: VolumeRecord) -> None:
        loop = loops.find(loops.identity(self.path(volume)), volume.data)
        if loop is not None:
            with filesystems.opened(loop.path) as device:
                os.fsync(device)

    def _mounted(self, volume: VolumeRecord) -> str | None:
        loop = loops.find(loops.identity(self.path(volume)), volume.data)
        found = (mount.path for mount in mounts.mount_table() if loop is not None and mount.source == loop.path)
        return next(found, None)


@contextmanager
def _to_be_filled(file: Path, size: int) -> Iterator[int]:
    """Yield a descriptor of a new file that is durable after the body. Raises PoolFull."""
    try:
        with filesystems.opened(file, os.O_RDWR | os.O_CREAT | os.O_EXCL) as descriptor:
            yield descriptor
            os.fsync(descriptor)
    except OSError as error:
        if error.errno in FULL:
            raise PoolFull(f"{size} bytes asked for: {error.strerror}") from error
        raise


def _filled(descriptor: int, size: int, *, thin: bool) -> None:
    try:
        _size(descriptor, size, thin=thin)
    except OSError as error:
        if error.errno in FULL:
            raise PoolFull(f"{size} bytes asked for: {error.strerror}") from error
        raise


def _size(descriptor: int, size: int, *, thin: bool) -> None:
    if thin:
        os.ftruncate(descriptor, size)
    else:
        os.posix_fallocate(descriptor, 0, size)
