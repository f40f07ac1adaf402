"""Pods for which others leave a node: their room is counted as taken there, for all but pods of higher priority.

Source: kube-scheduler's nominator and RunFilterPluginsWithNominatedPods; unlike there, scores see them, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from moorings_core.ports.objects import Key

from .columns import Columns, PlacedPod


class Nominations:
    """The nominated pods; each is in the columns, but while a pod that comes before it is decided on."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._pods: dict[Key, PlacedPod] = {}

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._pods)

    def put(self, pod: PlacedPod) -> None:
        """Keep room for a pod on a node, in place of what was kept for it."""
        self._pods[pod.key] = pod
        self._columns.place(pod)

    def drop(self, key: Key) -> None:
        """Keep no room any more for a pod; what it takes of a node that it is on stays taken."""
        if self._pods.pop(key, None) is not None and self._columns.is_nominated(key):
            self._columns.take_away(key)

    def node_of(self, key: Key) -> str:
        """Return the node that a pod is nominated to, or ""."""
        pod = self._pods.get(key)
        return pod.node if pod else ""

    def on(self, node: str) -> list[PlacedPod]:
        """Return the pods that are nominated to a node."""
        return [pod for pod in self._pods.values() if pod.node == node]

    @contextmanager
    def beside(self, key: Key, priority: int) -> Iterator[None]:
        """Let a pod be decided on: room that is kept for it or for lower ones is free meanwhile."""
        aside = [pod for pod in self._pods.values() if pod.priority < priority or pod.key == key]
        with self._without(aside):
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Take all nominated pods out of the columns meanwhile."""
        with self._without([pod for pod in self._pods.values() if self._columns.is_nominated(pod.key)]):
            yield

    @contextmanager
    def _without(self, pods: list[PlacedPod]) -> Iterator[None]:
        for pod in pods:
            self._columns.take_away(pod.key)
        try:
            yield
        finally:
            for pod in pods:
                if self._pods.get(pod.key) is pod:  # neither placed for good meanwhile nor nominated anew
                    self._columns.place(pod)
