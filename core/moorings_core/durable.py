"""Files that are whole after a crash: the old content or the new one, never a part, and the new one once it was said to be there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def replacing(path: Path, mode: int = 0o600) -> Iterator[IO[bytes]]:
    """Yield a file that takes the place of path at the end, durably; after an error path is as it was. Blocks. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(beside, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace the content of path durably. Blocks. Raises OSError."""
    with replacing(path, mode) as file:
        file.write(data)


def sync_directory(path: Path) -> None:
    """Make what was made, renamed and removed in a directory durable. Blocks. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
