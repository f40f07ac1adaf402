"""One call per volume at a time: the second one is told to try again at once, as the specification asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .errors import Busy


class Locks:
    """The volumes that a call is working on."""

    def __init__(self) -> None:
        self._held: set[str] = set()

    @contextmanager
    def holding(self, name: str) -> Iterator[None]:
        """Hold a volume (by name or id) for the body. Raises Busy while another call holds it."""
        if name in self._held:
            raise Busy(f"another operation on {name} is under way")
        self._held.add(name)
        try:
            yield
        finally:
            self._held.discard(name)
