"""Network namespaces: do one thing in another one, and tell two apart. Never moves the caller.

Source: setns(2), network_namespaces(7).
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from functools import cache
from typing import TypeVar

T = TypeVar("T")
CLONE_NEWNET = 0x40000000


def call_in(netns: str | int | None, function: Callable[[], T]) -> T:
    """Return function(), run inside a network namespace given as path or open descriptor; None: the caller's own.

    A namespace belongs to a thread, so this uses a thread of its own that ends afterwards: no other code can find itself in the
    wrong place. A socket stays in the namespace that it was opened in. Raises OSError and what function raises.
    """
    if netns is None:
        return function()
    result: list[T] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            enter(netns)
            result.append(function())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=body, name="netns")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


def enter(netns: str | int) -> None:
    """Move the calling thread, and threads that it starts from now on, into a network namespace for good. Raises OSError."""
    fd = os.open(netns, os.O_RDONLY | os.O_CLOEXEC) if isinstance(netns, str) else netns
    try:
        if _libc().setns(fd, CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(netns))
    finally:
        if isinstance(netns, str):
            os.close(fd)


def identity(netns: str | int) -> tuple[int, int]:
    """Return (device, inode) of a namespace's file: equal for equal namespaces. Raises OSError when it is gone."""
    status = os.stat(netns)
    return status.st_dev, status.st_ino


def own() -> str:
    """Return the path of the calling thread's network namespace; it is right for that thread only."""
    return f"/proc/self/task/{threading.get_native_id()}/ns/net"


def is_netns(path: str) -> bool:
    """Whether a path names a network namespace now: a left-over mount point that is an empty file does not."""
    try:
        return os.stat(path).st_dev == os.stat(own()).st_dev
    except OSError:
        return False


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
