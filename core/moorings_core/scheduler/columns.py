"""The state of all nodes as columns: one array per fact, one position per node, so that a filter is one vector operation.

Positions are stable while a node lives and reused afterwards. Every change of a Node object is appended to `changes`; cached
rows of a class replay that log from where they stood (see `rows`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from moorings_core.ports.objects import Key, Object

from .by_priority import ByPriority
from .footprint import CPU, MEMORY, PODS, STORAGE, Footprint, HostPort, amounts

Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
FIRST_CAPACITY = 16
D = TypeVar("D", bound=np.generic)


@dataclass(frozen=True, slots=True)
class PlacedPod:
    """A pod that takes room on a node, bound or assumed."""

    key: Key
    node: str
    footprint: Footprint
    labels: Mapping[str, str]
    terminating: bool
    priority: int = 0
    claims: Sequence[str] = ()
    """Names of the claims that it uses, in its own namespace"""
    nominated: bool = False
    """Whether it is not there yet: room is kept for it while others go"""


class Columns:
    """Nodes and what their pods take of them."""

    def __init__(self) -> None:
        self.index: dict[str, int] = {}
        self.nodes: list[Object | None] = [None] * FIRST_CAPACITY
        self.changes: list[int] = []
        self.present: Booleans = np.zeros(FIRST_CAPACITY, bool)
        self.scored: Integers = np.zeros((2, FIRST_CAPACITY), np.int64)
        self._resources: dict[str, int] = {}
        self._by_priority: ByPriority | None = None
        self.allocatable: Integers = np.zeros((0, FIRST_CAPACITY), np.int64)
        self.requested: Integers = np.zeros((0, FIRST_CAPACITY), np.int64)
        for name in (CPU, MEMORY, STORAGE, PODS):
            self.resource(name)
        self._placed: dict[Key, PlacedPod] = {}
        self._priorities: Counter[int] = Counter()
        self._on_node: dict[str, dict[Key, PlacedPod]] = {}
        self._users: dict[Key, set[Key]] = {}
        self._domains: dict[str, tuple[int, dict[str, int], Integers]] = {}
        self._counters: dict[tuple[str, str], tuple[Callable[[Mapping[str, str]], bool], Integers]] = {}

    @property
    def capacity(self) -> int:
        """The length of every column."""
        return len(self.nodes)

    def resource(self, name: str) -> int:
        """Return the row of a resource, adding it where it is new."""
        if name not in self._resources:
            self._resources[name] = len(self._resources)
            empty = np.zeros((1, self.capacity), np.int64)
            self.allocatable = np.vstack([self.allocatable, empty])
            self.requested = np.vstack([self.requested, empty])
            self._reshaped()
        return self._resources[name]

    def set_node(self, node: Object) -> None:
        """Take in a new or changed Node."""
        name = node["metadata"]["name"]
        position = self.index.get(name)
        if position is None:
            position = self._free_position()
            self.index[name] = position
            self.present[position] = True
            for pod in self._on_node.get(name, {}).values():
                self._count(pod, position, 1)
        self.nodes[position] = node
        self.changes.append(position)
        self.allocatable[:, position] = 0
        for resource, value in amounts(node.get("status", {}).get("allocatable", {})).items():
            self.allocatable[self.resource(resource), position] = value

    def remove_node(self, name: str) -> None:
        """Forget a node; its pods are counted again should it come back."""
        position = self.index.pop(name, None)
        if position is None:
            return
        self.nodes[position] = None
        self.present[position] = False
        self.changes.append(position)
        self.allocatable[:, position] = 0
        self.requested[:, position] = 0
        self.scored[:, position] = 0
        if self._by_priority is not None:
            self._by_priority.clear(position)
        for _, counts in self._counters.values():
            counts[position] = 0

    def place(self, pod: PlacedPod) -> None:
        """Count a pod on its node, in place of what was known of it."""
        self.take_away(pod.key)
        self._placed[pod.key] = pod
        if not pod.nominated:
            self._priorities[pod.priority] += 1
        self._on_node.setdefault(pod.node, {})[pod.key] = pod
        for claim in pod.claims:
            self._users.setdefault(Key(pod.key.namespace, claim), set()).add(pod.key)
        position = self.index.get(pod.node)
        if position is not None:
            self._count(pod, position, 1)

    def take_away(self, key: Key) -> PlacedPod | None:
        """Give back what a pod took; return what was known of it."""
        pod = self._placed.pop(key, None)
        if pod is None:
            return None
        self._on_node[pod.node].pop(key)
        for claim in pod.claims:
            self._users[Key(key.namespace, claim)].discard(key)
            if not self._users[Key(key.namespace, claim)]:
                del self._users[Key(key.namespace, claim)]
        if not pod.nominated:
            self._priorities -= Counter({pod.priority: 1})
        position = self.index.get(pod.node)
        if position is not None:
            self._count(pod, position, -1)
        return pod

    def is_nominated(self, key: Key) -> bool:
        """Whether a pod is known as one that is to come."""
        return key in self._placed and self._placed[key].nominated

    def lowest_priority(self) -> float:
        """Return the lowest priority of any pod that is there; infinite where there is none."""
        return min(self._priorities, default=math.inf)

    def requested_below(self, priority: int) -> Integers:
        """Return what pods of lower priority that are there take of each node, by resource."""
        if self._by_priority is None:
            self._by_priority = ByPriority((len(self._resources), self.capacity))
            for pod in self._placed.values():
                if pod.node in self.index:
                    self._count_priority(pod, self.index[pod.node], 1)
        return self._by_priority.below(priority)

    def pods_at(self, position: int) -> Collection[PlacedPod]:
        """Return the pods of the node at `position`, nominated ones included."""
        node = self.nodes[position]
        return self._on_node.get(node["metadata"]["name"], {}).values() if node else ()

    def ports_in_use(self, position: int, leaving: Container[Key] = ()) -> Iterable[HostPort]:
        """Return the host ports that pods of the node at `position` hold, but those that leave."""
        return (port for pod in self.pods_at(position) if pod.key not in leaving for port in pod.footprint.ports)

    def claims_on(self, node: str, leaving: Container[Key] = ()) -> set[Key]:
        """Return the claims that pods of a node use, but those that leave."""
        there = self._on_node.get(node, {}).values()
        return {Key(pod.key.namespace, claim) for pod in there if pod.key not in leaving for claim in pod.claims}

    def users_of(self, claim: Key) -> Collection[Key]:
        """Return the pods on nodes, bound or assumed, that use a claim."""
        return self._users.get(claim, ())

    def domains(self, topology_key: str) -> Integers:
        """Return each node's domain number for a topology key, -1 where it lacks the label."""
        seen, numbers, column = self._domains.get(topology_key, (0, {}, np.full(self.capacity, -1, np.int64)))
        if len(column) < self.capacity:
            column = _grown(column, self.capacity, -1)
        for position in set(self.changes[seen:]):
            node = self.nodes[position]
            value = node["metadata"].get("labels", {}).get(topology_key) if node else None
            column[position] = -1 if value is None else numbers.setdefault(value, len(numbers))
        self._domains[topology_key] = (len(self.changes), numbers, column)
        return column

    def matching_pods(self, namespace: str, selector_text: str, matches: Callable[[Mapping[str, str]], bool]) -> Integers:
        """Return how many living pods of a namespace each node has whose labels match; kept up to date from then on.

        selector_text names the selector: equal texts must mean equal selectors.
        """
        key = (namespace, selector_text)
        if key not in self._counters:
            counts = np.zeros(self.capacity, np.int64)
            for pod in self._placed.values():
                position = self.index.get(pod.node)
                if position is not None and pod.key.namespace == namespace and not pod.terminating and matches(pod.labels):
                    counts[position] += 1
            self._counters[key] = (matches, counts)
        return self._counters[key][1]

    def _count(self, pod: PlacedPod, position: int, sign: int) -> None:
        for name, value in pod.footprint.requests.items():
            self.requested[self.resource(name), position] += sign * value
        self.scored[0, position] += sign * pod.footprint.scored[0]
        self.scored[1, position] += sign * pod.footprint.scored[1]
        self._count_priority(pod, position, sign)
        if pod.terminating:
            return
        for (namespace, _), (matches, counts) in self._counters.items():
            if namespace == pod.key.namespace and matches(pod.labels):
                counts[position] += sign

    def _count_priority(self, pod: PlacedPod, position: int, sign: int) -> None:
        if self._by_priority is not None and not pod.nominated:
            self._by_priority.count(pod.priority, pod.footprint.requests, self.resource, position, sign)

    def _reshaped(self) -> None:
        if self._by_priority is not None:
            self._by_priority.reshape((len(self._resources), self.capacity))

    def _free_position(self) -> int:
        free = np.flatnonzero(~self.present)
        if len(free):
            return int(free[0])
        position, size = self.capacity, self.capacity * 2
        self.nodes.extend([None] * (size - position))
        self.present = _grown(self.present, size, 0)
        self.scored = _grown(self.scored, size, 0)
        self.allocatable = _grown(self.allocatable, size, 0)
        self.requested = _grown(self.requested, size, 0)
        self._counters = {key: (matches, _grown(counts, size, 0)) for key, (matches, counts) in self._counters.items()}
        self._reshaped()
        return position


def _grown(column: NDArray[D], size: int, fill: int) -> NDArray[D]:
    shape = (*column.shape[:-1], size - column.shape[-1])
    return np.concatenate([column, np.full(shape, fill, column.dtype)], axis=-1)
