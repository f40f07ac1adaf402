"""The journals of one pool and what may still be promised: the one place that `volumes` and `snapshots` share."""

from __future__ import annotations

import fcntl
import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Concatenate, Literal, ParamSpec, Protocol, TextIO, TypeVar

from .errors import PoolFull, StorageError
from .journal import Journal
from .pool import Pool
from .records import FormatRecord, GroupRecord, SnapshotRecord, VolumeRecord

RESERVE = 64 << 20
"""Bytes of the pool's own file system that volumes never take, so that journal writes go on."""
Role = Literal["controller", "node", "both"]
P = ParamSpec("P")
R = TypeVar("R")
Worker = TypeVar("Worker", bound="HasLedger")


class Ledger:
    """Opens the journals below root/meta. One process may play a role on a pool; of a shared pool, any number may."""

    def __init__(self, root: Path, pool: Pool, *, capacity: int = 0, role: Role = "both", shared: bool = False) -> None:
        self.pool, self._capacity, self._root, self._shared = pool, capacity, root, shared
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        parts = () if shared else ("controller", "node") if role == "both" else (role,)
        self._held = [_lock(root / f"lock.{part}") for part in parts]
        owned, meta = role != "node" and not shared, root / "meta"
        self.volumes = Journal(meta / "volumes", VolumeRecord, owned=owned)
        self.snapshots = Journal(meta / "snapshots", SnapshotRecord, owned=owned)
        self.groups = Journal(meta / "groups", GroupRecord, owned=owned)
        self.formats = Journal(meta / "formats", FormatRecord, owned=role == "both" and not shared)
        self.admission = threading.RLock()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Be the only one who changes a pool that several drivers share; alone on a pool there is nothing to wait for.

        A record that is seen unfinished within is of a driver that has died.
        """
        if not self._shared:
            yield
            return
        with (self._root / "lock.shared").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

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


class HasLedger(Protocol):
    """Something that works on a ledger."""

    _ledger: Ledger


def exclusive(method: Callable[Concatenate[Worker, P], R]) -> Callable[Concatenate[Worker, P], R]:
    """Let a method that changes a pool be the only one that does, also of other drivers on a shared pool."""

    @wraps(method)
    def alone(self: Worker, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._ledger.changing():
            return method(self, *args, **kwargs)

    return alone


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
