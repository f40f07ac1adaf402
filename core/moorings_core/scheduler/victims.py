"""Which pods would have to leave a node so that one of higher priority fits there. Pure.

Everything lower goes first; then as many as possible come back, those whose budget allows no disruption before the others, the more
important before the less. Source: kube-scheduler's DefaultPreemption plugin (SelectVictimsOnNode, MoreImportantVictim).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import sub

from moorings_core.ports.objects import Key, Object
from moorings_core.registry.selectors import LabelSelector, from_label_selector

from .columns import Columns, PlacedPod
from .decide import PORTS_TAKEN, collides
from .rows import Row
from .spread import Eligibility, WithoutPods

NOT_STARTED = "~"
"""What a pod that has no start time has begun at: later than all others."""
StartTime = Callable[[Key], str]
"""A pod to status.startTime: such stamps sort as their moments do"""
VolumeReason = Callable[[int, Container[Key]], str]
"""(position, pods that leave) to what the pod's volumes say against the node"""


@dataclass(frozen=True, slots=True)
class Victims:
    """Pods that leave a node, the most important first; violations are those whose budget would have kept them."""

    node: str
    pods: Sequence[PlacedPod]
    violations: int
    started: str
    """The earliest start of those with the highest priority"""


class Budgets:
    """The PodDisruptionBudgets of all namespaces."""

    def __init__(self, budgets: Iterable[Object]) -> None:
        self._of: dict[str, list[tuple[LabelSelector, int, Mapping[str, str]]]] = {}
        for budget in budgets:
            selector, status = budget["spec"].get("selector") or {}, budget.get("status") or {}
            if any(selector.values()):  # one that is empty is of no pod here, as upstream has it
                entry = (from_label_selector(selector), status.get("disruptionsAllowed") or 0, status.get("disruptedPods") or {})
                self._of.setdefault(budget["metadata"]["namespace"], []).append(entry)

    def violating(self, pods: Sequence[PlacedPod]) -> list[PlacedPod]:
        """Return those of the pods that budgets would not let go if all of them went, in order."""
        left = {namespace: [allowed for _, allowed, _ in entries] for namespace, entries in self._of.items()}
        return [pod for pod in pods if pod.key.namespace in left and self._exceeds(pod, left[pod.key.namespace])]

    def _exceeds(self, pod: PlacedPod, left: list[int]) -> bool:
        for i, (selector, _, disrupted) in enumerate(self._of[pod.key.namespace]):
            if pod.labels and selector.matches(pod.labels) and pod.key.name not in disrupted:
                left[i] -= 1
                if left[i] < 0:
                    return True
        return False


class Search:
    """Looks for victims of one pod, on one node after the other."""

    def __init__(self, columns: Columns, row: Row, budgets: Budgets, started: StartTime, volumes: VolumeReason | None = None) -> None:
        self._columns, self._pods, self._budgets, self._started, self._volumes = columns, row.pods, budgets, started, volumes
        self._wanted = {name: amount for name, amount in row.pods.footprint.requests.items() if amount}  # a place in PODS at least
        self._rows = [columns.resource(name) for name in self._wanted]
        eligible = Eligibility(row.affine, row.tolerated)
        self._spread = [WithoutPods(columns, constraint, eligible) for constraint in row.pods.spread if constraint.hard]
        self._only_room = not (row.pods.footprint.ports or volumes or self._spread)

    def victims(self, position: int) -> Victims | str:
        """Return who has to leave the node at `position`, or why the pod does not fit there whoever of lower priority left.

        That there are any and that there is room without all of them is taken as known.
        """
        lower = sorted(self._lower(position), key=self._importance)
        leaving = {pod.key: pod for pod in lower}
        if reason := self._reason(position, leaving):
            return reason
        takes = {pod.key: [pod.footprint.requests.get(name, 0) for name in self._wanted] for pod in lower}
        left = self._left(position, takes.values())
        violating = self._budgets.violating(lower)
        first = {pod.key for pod in violating}
        left = self._reprieve(position, violating, takes, leaving, left)
        lost = sum(key in leaving for key in first)
        self._reprieve(position, [pod for pod in lower if pod.key not in first] if first else lower, takes, leaving, left)
        chosen = [pod for pod in lower if pod.key in leaving]
        node = self._columns.nodes[position]
        assert node is not None
        return Victims(node["metadata"]["name"], chosen, lost, self._started_first(chosen))

    def _left(self, position: int, takes: Iterable[Sequence[int]]) -> list[int]:
        """Return what is left of what the pod asks for once those who take that have gone and it has come."""
        columns, given_back = self._columns, map(sum, zip(*takes, strict=True))
        return [
            int(columns.allocatable[row, position] - columns.requested[row, position]) + back - amount
            for row, back, amount in zip(self._rows, given_back, self._wanted.values(), strict=True)
        ]

    def _reprieve(
        self, position: int, pods: Iterable[PlacedPod], takes: Mapping[Key, Sequence[int]], leaving: dict[Key, PlacedPod], left: list[int]
    ) -> list[int]:
        """Let pods stay where there is place for them, too; return what is left then."""
        for pod in pods:
            after = list(map(sub, left, takes[pod.key]))
            if min(after) < 0:
                continue
            del leaving[pod.key]
            if self._reason(position, leaving):
                leaving[pod.key] = pod
            else:
                left = after
        return left

    def _reason(self, position: int, leaving: Mapping[Key, PlacedPod]) -> str:
        """Return what stands against the node but its room."""
        if self._only_room:
            return ""
        ports = self._pods.footprint.ports
        if ports and collides(ports, self._columns.ports_in_use(position, leaving)):
            return PORTS_TAKEN
        if self._volumes is not None and (reason := self._volumes(position, leaving)):
            return reason
        return next(filter(None, (each.reason(position, leaving.values()) for each in self._spread)), "")

    def _lower(self, position: int) -> Iterable[PlacedPod]:
        priority = self._pods.priority
        return (pod for pod in self._columns.pods_at(position) if pod.priority < priority and not pod.nominated)

    def _importance(self, pod: PlacedPod) -> tuple[int, str]:
        return -pod.priority, self._started(pod.key)

    def _started_first(self, pods: Collection[PlacedPod]) -> str:
        highest = max((pod.priority for pod in pods), default=0)
        return min((self._started(pod.key) for pod in pods if pod.priority == highest), default=NOT_STARTED)
