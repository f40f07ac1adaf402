"""An append-only file of JSON lines that survives kill -9 and power cuts: a torn last line is dropped, nothing else is lost."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from moorings_core.durable import sync_directory

Entry = dict[str, Any]


class Journal:
    """Appends are ordered; `sync` makes everything up to a position durable, and calls that come together share one fsync."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._write, self._sync = threading.Lock(), threading.Lock()
        self._fd = -1
        self._written = self._durable = 0
        self.lines = 0

    def load(self) -> list[Entry]:
        """Return the entries, oldest first. A line that does not parse ends them: it was being written in a crash."""
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return []
        entries: list[Entry] = []
        for line in text.split(b"\n")[:-1]:
            try:
                entries.append(json.loads(line))
            except ValueError:
                break
        return entries

    def rewrite(self, entries: Iterable[Entry]) -> None:
        """Replace the file by entries, atomically and durably, and go on appending to it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_suffix(".new")
        lines = [json.dumps(entry) + "\n" for entry in entries]
        with self._write, self._sync:
            with new.open("w") as file:
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
            sync_directory(self._path.parent)
            self.close()
            self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            self.lines = len(lines)
            self._durable = self._written

    def append(self, entry: Entry) -> int:
        """Write an entry and return its position for `sync`. It survives the death of this process, not yet a power cut."""
        data = json.dumps(entry).encode() + b"\n"
        with self._write:
            os.write(self._fd, data)
            self.lines += 1
            self._written += 1
            return self._written

    def sync(self, position: int) -> None:
        """Return when the entry at position is durable. Blocks for one fsync at most two times."""
        with self._sync:
            if self._durable >= position:
                return
            reached = self._written
            os.fdatasync(self._fd)
            self._durable = reached

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        """Give the descriptor back when nobody holds the journal any more: a component that is started again opens its own."""
        self.close()
