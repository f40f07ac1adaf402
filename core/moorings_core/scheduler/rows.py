"""Cached rows: what the Node objects alone say about a class, per node; a row replays only the changes since its last use."""

from __future__ import annotations

import numpy as np

from .columns import Booleans, Columns, Integers
from .filters import FATAL_EFFECTS, matches_affinity, preferred_weight, reason_against, soft_taints, tolerated
from .pod_class import PodClass

MOST_ROWS = 1000


class Row:
    """The static facts of one class: reasons against each node, and the raw scores of taints and preferred affinity."""

    def __init__(self, pods: PodClass) -> None:
        self.pods = pods
        self._resize(0)

    def _resize(self, capacity: int) -> None:
        self.seen = 0
        self.reasons: list[str] = [""] * capacity
        self.fits: Booleans = np.zeros(capacity, bool)
        self.affine: Booleans = np.zeros(capacity, bool)
        self.tolerated: Booleans = np.zeros(capacity, bool)
        self.soft_taints: Integers = np.zeros(capacity, np.int64)
        self.preferred: Integers = np.zeros(capacity, np.int64)

    def refresh(self, columns: Columns) -> None:
        """Bring the row up to the columns' present state."""
        if len(self.reasons) < columns.capacity:
            self._resize(columns.capacity)
            changed = set(range(columns.capacity))
        else:
            changed = set(columns.changes[self.seen :])
        for position in changed:
            self._set(position, columns)
        self.seen = len(columns.changes)

    def _set(self, position: int, columns: Columns) -> None:
        node = columns.nodes[position]
        if node is None:
            self.fits[position] = self.affine[position] = self.tolerated[position] = False
            return
        taints = node.get("spec", {}).get("taints", ())
        self.reasons[position] = reason_against(self.pods, node)
        self.fits[position] = not self.reasons[position]
        self.affine[position] = matches_affinity(self.pods, node)
        self.tolerated[position] = all(t["effect"] not in FATAL_EFFECTS or tolerated(t, self.pods.tolerations) for t in taints)
        self.soft_taints[position] = soft_taints(self.pods, node)
        self.preferred[position] = preferred_weight(self.pods, node)


class Rows:
    """The rows of the classes used lately."""

    def __init__(self) -> None:
        self._rows: dict[bytes, Row] = {}

    def of(self, pods: PodClass, columns: Columns) -> Row:
        """Return the up-to-date row of a class."""
        row = self._rows.pop(pods.name, None) or Row(pods)
        row.refresh(columns)
        self._rows[pods.name] = row
        if len(self._rows) > MOST_ROWS:
            del self._rows[next(iter(self._rows))]
        return row
