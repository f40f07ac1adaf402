"""The file of audit events: one thread writes what requests leave for it, a file that has grown is put aside, old ones go.

No request waits for the disk. When the disk takes nothing, or the thread falls behind by more than `WAITING_MOST` entries, events are
lost, the API goes on, and how many were lost is logged and counted.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from moorings_core.api.access.attributes import Attributes
from moorings_core.api.http.message import Request
from moorings_core.api.paths import Target
from moorings_core.log import get_logger

from .events import line
from .policy import METADATA, Policy
from .trail import Entry, Trail

log = get_logger(__name__)
WAITING_MOST = 50_000
TICK_SECONDS = 0.1
BATCH = 500
NAME = "audit.log"


@dataclass(frozen=True, slots=True)
class LogFile:
    """Where events go: directory, bytes of a file at most, files kept beside the one that is written."""

    directory: Path
    bytes_most: int = 100 << 20
    keep: int = 10


class AuditLog:
    """Records requests as a policy says."""

    def __init__(self, policy: Policy, file: LogFile) -> None:
        self._policy, self._file = policy, file
        self._waiting: deque[Entry | bytes] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._descriptor, self._size, self._failing = -1, 0, False
        self.written = self.lost = 0
        """Events since the start"""

    def start(self) -> None:
        """Start writing."""
        self._thread.start()

    def close(self) -> None:
        """Write what is left and stop; blocks for as long as the disk takes."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def begin(self, request: Request, asked: Attributes, target: Target | None) -> Trail | None:
        """Return the trail of a request, None where nothing of it is recorded."""
        wanted = self._policy.wanted(asked)
        if wanted is None:
            return None
        trail = Trail(self._put, wanted, request, asked, target)
        trail.begin()
        return trail

    def _put(self, entry: Entry) -> None:
        """Queue an entry: without content it is made into its line at once, which takes less than two threads that share an interpreter."""
        if len(self._waiting) >= WAITING_MOST:
            self.lost += 1
        else:
            self._waiting.append(_line(entry) if entry.trail.wanted.level == METADATA else entry)

    def _run(self) -> None:
        while not self._stop.wait(TICK_SECONDS):
            self._drain()
        self._drain()
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def _drain(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            try:
                lines = b"".join(entry if isinstance(entry, bytes) else _line(entry) for entry in batch)
                self._write(lines)
            except OSError as error:
                self._failed(error, len(batch))
            else:
                self._succeeded(len(batch))

    def _write(self, lines: bytes) -> None:
        """Append lines whole or not at all. Raises OSError."""
        if self._descriptor < 0:
            self._open()
        if self._size and self._size + len(lines) > self._file.bytes_most:
            self._put_aside()
        left = memoryview(lines)
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(lines)

    def _open(self) -> None:
        self._file.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._descriptor = os.open(self._file.directory / NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = os.fstat(self._descriptor).st_size

    def _put_aside(self) -> None:
        directory = self._file.directory
        os.close(self._descriptor)
        self._descriptor = -1
        (directory / NAME).rename(directory / f"audit-{time.time_ns()}.log")
        old = sorted(directory.glob("audit-*.log"))
        for path in old[: max(len(old) - self._file.keep, 0)]:
            path.unlink()
        self._open()

    def _failed(self, error: OSError, count: int) -> None:
        self.lost += count
        if not self._failing:
            log.error("audit events are being lost", error=str(error))
        self._failing = True

    def _succeeded(self, count: int) -> None:
        self.written += count
        if self._failing:
            log.warning("audit events are written again", lost=self.lost)
        self._failing = False


def _line(entry: Entry) -> bytes:
    try:
        return line(entry)
    except Exception:  # one event that can't be written must not stop the others
        log.exception("audit event not written", target=entry.trail.request.target.partition("?")[0])
        return b""
