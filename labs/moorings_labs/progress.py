"""Steps on the screen: a spinner while one runs on a terminal, one plain line with its time when it is done, always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

WIDTH = 56


@contextmanager
def step(text: str) -> Iterator[None]:
    """Show that a step runs, and how long it took; one that fails says so and passes its error on."""
    started = time.monotonic()
    try:
        with _spinner(text):
            yield
    except BaseException:
        _line(text, f"failed after {time.monotonic() - started:.2f} s")
        raise
    _line(text, f"{time.monotonic() - started:6.2f} s")


def say(text: str) -> None:
    """Print a line beside the steps."""
    sys.stderr.write(f"{text}\n")


def _line(text: str, result: str) -> None:
    sys.stderr.write(f"{text:<{WIDTH}}{result}\n")
    sys.stderr.flush()


def _spinner(text: str) -> AbstractContextManager[object]:
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status(text)
