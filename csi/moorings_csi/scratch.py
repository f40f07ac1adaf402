"""Hidden files of a moment. The controller and the node of one pool are two processes: neither tidies away what the other uses.

The directory is locked (flock, shared) while such a file is in use; who removes what a killed driver left takes the lock alone.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def scratch(directory: Path, kind: str) -> Iterator[Path]:
    """Yield an empty file of mode 0600; it is gone afterwards."""
    file = directory / f".{kind}-{uuid4()}"
    with _locked(directory, fcntl.LOCK_SH):
        try:
            file.touch(mode=0o600)
            yield file
        finally:
            file.unlink(missing_ok=True)


def remove_scratch(directory: Path) -> None:
    """Remove hidden files that no living driver uses; while one uses some, all stay until the next call."""
    try:
        with _locked(directory, fcntl.LOCK_EX | fcntl.LOCK_NB):
            for file in directory.glob(".*"):
                file.unlink(missing_ok=True)
    except BlockingIOError:
        return


@contextmanager
def _locked(directory: Path, how: int) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)
