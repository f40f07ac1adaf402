"""The journals of one pool and what may still be promised: the one place that `volumes` and `snapshots` share."""

from __future__ import annotations

import fcntl
import hashlib
import threading
from pathlib import Path
from typing import Literal, TextIO

from .errors import PoolFull, StorageError
from .journal import Journal
from .pool import Pool
from .records import FormatRecord, GroupRecord, SnapshotRecord, VolumeRecord

RESERVE = 64 << 20
"""Bytes of the pool's own file system that volumes never take, so that journal writes go on."""
Role = Literal["controller", "node", "both"]


class Ledger:
    """Opens the journals below root/meta; one process may play a role on a pool."""

    def __init__(self, root: Path, pool: Pool, *, capacity: int = 0, role: Role = "both") -> None:
        self.pool, self._capacity, self._root = pool, capacity, root
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._held = [_lock(root / f"lock.{part}") for part in (("controller", "node") if role == "both" else (role,))]
        owned, meta = role != "node", root / "meta"
        self.volumes = Journal(meta / "volumes", VolumeRecord, owned=owned)
        self.snapshots = Journal(meta / "snapshots", SnapshotRecord, owned=owned)
        self.groups = Journal(meta / "groups", GroupRecord, owned=owned)
        self.formats = Journal(meta / "formats", FormatRecord, owned=role == "both")
        self.admission = threading.RLock()

    def close(self) -> None:
        """Let another process open the pool."""
        for lock in self._held:
            lock.close()
        self.pool.close()

    def available(self) -> int:
        """Return the bytes that can still be promised.

        Bounded by what is free now, by what is there at all less every promise made (blocks that a snapshot shares count again:
        they will be written anew), and by the configured capacity, against which thin volumes count in full.
        """
        space, volumes, snapshots = self.pool.space(), list(self.volumes), list(self.snapshots)
        promised = sum(v.promised for v in volumes) + sum(s.promised for s in snapshots)
        coming = sum(v.promised for v in volumes if v.state == "creating") + sum(v.target - v.size for v in volumes if v.target)
        room = min(space.free - coming, space.total - promised) - RESERVE
        if self._capacity:
            room = min(room, self._capacity - sum(max(v.size, v.target) for v in volumes) - sum(s.size for s in snapshots))
        return max(room, 0)

    def admit(self, size: int) -> None:
        """Raise PoolFull unless `size` more bytes can be promised. Called with `admission` held until the promise is written."""
        available = self.available()
        if size > available:
            raise PoolFull(f"{size} bytes asked for, {available} available in {self._root}")


def id_of(prefix: str, name: str) -> str:
    """Return the id that a name has for ever."""
    return f"{prefix}-{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def _lock(path: Path) -> TextIO:
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise StorageError(f"{path.parent} is in use by another driver") from error
    return file
