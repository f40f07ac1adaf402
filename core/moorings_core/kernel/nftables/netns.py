"""Do one thing in another network namespace, without moving the caller there."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
CLONE_NEWNET = 0x40000000


def call_in(netns: str | None, function: Callable[[], T]) -> T:
    """Return function(), run in the network namespace at path netns; None: in the caller's own.

    A namespace belongs to a thread, so this uses a thread of its own that ends afterwards: no other code can find itself in the
    wrong place. A socket stays in the namespace that it was opened in. Raises OSError. Source: setns(2).
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


def enter(netns: str) -> None:
    """Move the calling thread there for good. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(fd, CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), netns)
    finally:
        os.close(fd)
