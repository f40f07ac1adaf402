"""Volumes as files behind loop devices. Thick ones reserve every block; the size is the limit that the file system enforces.

root/meta/ID.json     the journal
root/volumes/DATA     the file of a volume
root/lost+found/      files that no record knows, kept for a human
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from moorings_core.kernel import loops
from moorings_core.log import get_logger

from . import filesystem
from .errors import NameTaken, NoSuchVolume, PoolFull, SizeOutOfRange, StorageError, WrongState
from .faults import point
from .journal import Journal, VolumeRecord, sync_directory
from .pool import Features, VolumeRequest

log = get_logger(__name__)
DEFAULT_SIZE = 1 << 30
SMALLEST = 1 << 20
ROUND_TO = 1 << 20
RESERVE = 64 << 20
"""Bytes of the pool's own file system that volumes never take, so that journal writes go on."""


class ImagePool:
    """One directory of volumes; exactly one process may have it open."""

    def __init__(self, root: Path, *, fs_type: str = "", thin: bool = False, capacity: int = 0) -> None:
        self._volumes, self._lost = root / "volumes", root / "lost+found"
        for directory in (root, self._volumes):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock_file = (root / "lock").open("w")
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock_file.close()
            raise StorageError(f"{root} is in use by another driver") from error
        self._journal = Journal(root / "meta")
        self._fs_type, self._thin, self._capacity = fs_type, thin, capacity
        self._admission = threading.Lock()

    def close(self) -> None:
        """Let another process open the pool."""
        self._lock_file.close()

    def probe(self) -> Features:
        """Attach a loop to a file of this pool. Raises StorageError where that fails."""
        file = self._volumes / f".probe-{uuid4()}"
        file.touch()
        try:
            os.truncate(file, SMALLEST)
            loop = loops.attach(file)
            loops.detach(loop.backing)
        except OSError as error:
            raise StorageError(f"loop devices do not work on {self._volumes}: {error}") from error
        finally:
            file.unlink()
        return Features(filesystem.available_types(), block=True, direct_io=True)

    def recover(self) -> None:
        """Roll back unfinished creations, finish deletions, put aside files that no record knows."""
        for record in self._journal:
            if record.state != "ready":
                log.info("volume recovered", volume=record.id, state=record.state)
                self._remove(record)
        known = {record.data for record in self._journal}
        for file in self._volumes.iterdir():
            if file.name not in known:
                self._lost.mkdir(exist_ok=True, mode=0o700)
                log.warning("file of no volume put aside", file=file.name)
                file.rename(self._lost / file.name)

    def create(self, request: VolumeRequest) -> VolumeRecord:
        """Make a volume, or return the one that the same request made."""
        fs_type = request.fs_type or self._fs_type or "ext4"
        size = self._size(request, fs_type)
        volume_id = f"vol-{hashlib.sha256(request.name.encode()).hexdigest()[:32]}"
        thin = request.thin or self._thin
        digest = f"{request.required}/{request.limit}/{fs_type}/{thin}"
        with self._admission:
            known = self._journal.get(volume_id)
            if known is not None:
                return _same(known, digest, request)
            if not thin and size > self.available():
                raise PoolFull(f"{size} bytes asked for, {self.available()} available in {self._volumes}")
            draft = VolumeRecord(volume_id, request.name, size, fs_type, thin, digest, f"{volume_id}-{uuid4()}")
            record = self._journal.put(draft)
        point("create.recorded")
        try:
            self._make_data(record)
        except BaseException:
            self._remove(record)
            raise
        point("create.data")
        record = self._journal.put(replace(record, state="ready"))
        point("create.ready")
        return record

    def delete(self, volume_id: str) -> None:
        """Remove a volume; capacity counts as free only once the loop device has let go of the file."""
        record = self._journal.get(volume_id)
        if record is None:
            return
        if not self.detach(volume_id):
            raise WrongState(f"{volume_id} is in use: its loop device is still open")
        self._journal.put(replace(record, state="deleting"))
        point("delete.recorded")
        self._remove(record)
        point("delete.forgotten")

    def get(self, volume_id: str) -> VolumeRecord:
        """Return a volume. Raises NoSuchVolume."""
        record = self._journal.get(volume_id)
        if record is None or record.state != "ready":
            raise NoSuchVolume(f"no volume {volume_id!r}")
        return record

    def list(self) -> Sequence[VolumeRecord]:
        """Return the volumes that are ready, by id."""
        return sorted((r for r in self._journal if r.state == "ready"), key=lambda r: r.id)

    def available(self) -> int:
        """Return the bytes that can still be promised: bounded by the file system and by the configured capacity."""
        free = os.statvfs(self._volumes)
        unwritten = sum(r.size for r in self._journal if r.state == "creating" and not r.thin)
        room = free.f_bavail * free.f_frsize - RESERVE - unwritten
        if self._capacity:
            room = min(room, self._capacity - sum(r.size for r in self._journal))
        return max(room, 0)

    def attach(self, volume_id: str) -> Path:
        """Return the loop device of a volume."""
        return Path(loops.attach(self._file(self.get(volume_id))).path)

    def detach(self, volume_id: str) -> bool:
        """Give the loop device back; return whether it is gone."""
        record = self._journal.get(volume_id)
        if record is None or not self._file(record).exists():
            return True
        return loops.detach(loops.identity(self._file(record)))

    def format(self, volume_id: str, device: Path) -> VolumeRecord:
        """Make the file system once in the volume's life; the journal, not the device, says whether that was done."""
        record = self.get(volume_id)
        if record.format == "formatted":
            return record
        if record.format == "raw" and not filesystem.is_blank(device):
            raise WrongState(f"{volume_id} was never formatted, yet there is data on it; refusing to overwrite it")
        record = self._journal.put(replace(record, format="formatting"))
        point("format.recorded")
        filesystem.make(record.fs_type, device)
        point("format.made")
        record = self._journal.put(replace(record, format="formatted"))
        point("format.done")
        return record

    def _file(self, record: VolumeRecord) -> Path:
        return self._volumes / record.data

    def _size(self, request: VolumeRequest, fs_type: str) -> int:
        if fs_type not in filesystem.MKFS:
            raise SizeOutOfRange(f"unknown file system {fs_type!r}; known: {', '.join(filesystem.MKFS)}")
        if request.limit and request.required > request.limit:
            raise SizeOutOfRange(f"required {request.required} is more than the limit {request.limit}")
        wanted = request.required or min(DEFAULT_SIZE, request.limit or DEFAULT_SIZE)
        size = -(-max(wanted, SMALLEST, filesystem.MINIMUM[fs_type]) // ROUND_TO) * ROUND_TO
        if request.limit and size > request.limit:
            raise SizeOutOfRange(f"{fs_type} volumes have at least {size} bytes, the limit is {request.limit}")
        return size

    def _make_data(self, record: VolumeRecord) -> None:
        descriptor = os.open(self._file(record), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if record.thin:
                os.ftruncate(descriptor, record.size)
            else:
                os.posix_fallocate(descriptor, 0, record.size)
            os.fsync(descriptor)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise PoolFull(f"{record.size} bytes asked for: {error.strerror}") from error
            raise
        finally:
            os.close(descriptor)
        sync_directory(self._volumes)

    def _remove(self, record: VolumeRecord) -> None:
        self._file(record).unlink(missing_ok=True)
        sync_directory(self._volumes)
        point("delete.data")
        self._journal.drop(record.id)


def _same(known: VolumeRecord, digest: str, request: VolumeRequest) -> VolumeRecord:
    if known.digest != digest:
        raise NameTaken(f"{request.name!r} is a volume of {known.size} bytes made for another request")
    if known.state != "ready":
        raise NoSuchVolume(f"{known.id} is being {'made' if known.state == 'creating' else 'deleted'}")
    return known
