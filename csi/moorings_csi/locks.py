"""One call per volume at a time: the second one is told to try again at once, as the specification asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from .errors import Busy


class Locks:
    """The volumes and snapshots that calls are working on: by one call alone, or by several that only read."""

    def __init__(self) -> None:
        self._held: set[str] = set()
        self._shared: Counter[str] = Counter()

    @contextmanager
    def holding(self, *names: str, shared: Sequence[str] = ()) -> Iterator[None]:
        """Hold ids for the body. Raises Busy while another call holds one of them."""
        for name in (*names, *shared):
            if name in self._held or (name in names and self._shared[name]):
                raise Busy(f"another operation on {name} is under way")
        self._held.update(names)
        self._shared.update(shared)
        try:
            yield
        finally:
            self._held.difference_update(names)
            self._shared -= Counter(shared)
