"""Parts of volumes for containers (subPath), held so that nobody can exchange them for a link to elsewhere.

A path is resolved once, then walked from the volume's root without following links, and what is found is bound by its descriptor to
    pods/UID/volume-subpaths/CONTAINER/INDEX
so that the runtime is given a path that no pod can write. Source: upstream's subpath mounter (CVE-2017-1002101, CVE-2021-25741).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moorings_core.kernel import mounts
from moorings_core.ports.errors import MooringsError

DIRECTORY = "volume-subpaths"


class SubPathError(MooringsError):
    """A subPath is not inside its volume; the text goes into the pod's event and its wait reason."""


@contextmanager
def opened(root: Path, sub: str) -> Iterator[int]:
    """Yield a descriptor (O_PATH) of a path inside root, directories made where there are none. Raises SubPathError, OSError."""
    if ".." in Path(sub).parts or Path(sub).is_absolute():
        raise SubPathError(f"subPath {sub!r} must be relative and must not contain '..'")
    base = os.path.realpath(root)
    real = Path(os.path.realpath(root / sub))
    if not real.is_relative_to(base):
        raise SubPathError(f"subPath {sub!r} leads out of its volume")
    descriptor = os.open(base, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in real.relative_to(base).parts:
            below = _below(descriptor, part, sub)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def bind(root: Path, sub: str, target: Path) -> Path:
    """Bind a path inside root to target, in place of what an earlier run of the container had there; return target."""
    with opened(root, sub) as descriptor:
        mounts.unmount_all(target)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            target.mkdir(exist_ok=True, mode=0o750)
        else:
            target.touch(mode=0o640)
        mounts.bind(f"/proc/self/fd/{descriptor}", target)
    return target


def release(pod_directory: Path) -> None:
    """Undo every bind of a pod: they would hold its volumes."""
    prefix = os.path.realpath(pod_directory / DIRECTORY) + "/"
    for path in sorted((m.path for m in mounts.mount_table() if m.path.startswith(prefix)), reverse=True):
        mounts.unmount_all(path)


def _below(directory: int, name: str, sub: str) -> int:
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        found = os.open(name, flags, dir_fd=directory)
    except FileNotFoundError:
        os.mkdir(name, 0o750, dir_fd=directory)
        found = os.open(name, flags, dir_fd=directory)
    except NotADirectoryError as error:
        raise SubPathError(f"subPath {sub!r}: a part of it is no directory") from error
    if stat.S_ISLNK(os.fstat(found).st_mode):
        os.close(found)
        raise SubPathError(f"subPath {sub!r} became a link while it was looked at")
    return found
