"""What the pods of each priority take of the nodes, so that what would be free without the lower ones is a sum of columns.

Kept from the first time that it is asked for: a cluster in which nobody has to go pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .columns import Integers

ResourceRow = Callable[[str], int]


class ByPriority:
    """One matrix a priority: a row per resource, a column per node, as those of all pods together."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._shape = shape
        self._taken: dict[int, Integers] = {}

    def count(self, priority: int, requests: Mapping[str, int], row: ResourceRow, position: int, sign: int) -> None:
        """Add what one pod of the node at `position` takes, or take it away again."""
        matrix = self._taken.get(priority)
        if matrix is None:
            matrix = self._taken[priority] = np.zeros(self._shape, np.int64)
        for name, value in requests.items():
            matrix[row(name), position] += sign * value

    def below(self, priority: int) -> Integers:
        """Return what pods of lower priority than that take together."""
        total = np.zeros(self._shape, np.int64)
        for each in self._lower(priority):
            total += each
        return total

    def reshape(self, shape: tuple[int, int]) -> None:
        """Take in new resources or nodes."""
        self._shape = shape
        for priority, matrix in self._taken.items():
            grown = np.zeros(shape, np.int64)
            grown[: matrix.shape[0], : matrix.shape[1]] = matrix
            self._taken[priority] = grown

    def clear(self, position: int) -> None:
        """Forget what is on a node that is gone."""
        for matrix in self._taken.values():
            matrix[:, position] = 0

    def _lower(self, priority: int) -> Iterable[Integers]:
        return (matrix for each, matrix in self._taken.items() if each < priority)
