"""Preemptions under way: who is nominated where, who has been told to leave, and what is written for that."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from random import Random

from moorings_core.client.resources import PODS
from moorings_core.ports.client import Delete, Patch
from moorings_core.ports.objects import Key, Object

from .columns import Columns, PlacedPod
from .decide import Decision
from .nominations import Nominations
from .preemption import AWAITED, PREEMPTED, Plan, awaits, is_preempted, plan
from .rows import Row
from .victims import NOT_STARTED, Budgets, Search, VolumeReason


class Preempting:
    """Plans preemptions, and remembers those told to leave until the API shows them going."""

    def __init__(self, columns: Columns, pod: Callable[[Key], Object | None], budgets: Callable[[], Iterable[Object]], tie: Random) -> None:
        self.nominations = Nominations(columns)
        self._columns, self._pod, self._list, self._tie = columns, pod, budgets, tie
        self._budgets: Budgets | None = None
        self._told: set[Key] = set()

    def budgets_changed(self) -> None:
        """Read the budgets anew before the next plan."""
        self._budgets = None

    def plan(self, key: Key, row: Row, decision: Decision, volumes: VolumeReason | None) -> Plan | None:
        """Return how to make room for a pod that fits nowhere; None where there is nobody who might have to leave, or it may not ask."""
        if decision.never or not decision.lower:
            return None
        if awaits(self._columns, row.pods, decision, self.nominations.node_of(key), self.is_leaving):
            return Plan(AWAITED, awaited=True)
        if self._budgets is None:
            self._budgets = Budgets(self._list())
        search = Search(self._columns, row, self._budgets, self._started, volumes)
        return plan(self._columns, row.pods, decision, search, self._tie)

    def is_leaving(self, pod: PlacedPod) -> bool:
        """Whether a pod leaves because another preempts it."""
        found = self._pod(pod.key)
        return pod.key in self._told or (found is not None and is_preempted(found))

    def is_awaited(self, pod: PlacedPod) -> bool:
        """Whether a nominated pod's node has pods still that leave for it."""
        there = self._columns.pods_at(self._columns.index[pod.node]) if pod.node in self._columns.index else ()
        return any(each.priority < pod.priority and not each.nominated and self.is_leaving(each) for each in there)

    def told(self, victims: Iterable[Key]) -> None:
        """Remember pods that are being told to leave."""
        self._told.update(victims)

    def seen(self, key: Key) -> None:
        """The API shows a pod going, or it is not told after all."""
        self._told.discard(key)

    def outranked(self, node: str, priority: int) -> list[Key]:
        """Return the pods of lower priority that are nominated to a node: they may not fit there any more."""
        return [each.key for each in self.nominations.on(node) if each.priority < priority]

    def _started(self, key: Key) -> str:
        pod = self._pod(key)
        return str(((pod or {}).get("status") or {}).get("startTime") or NOT_STARTED)


def reason_to_leave(victim: Object, preemptor: Object) -> Patch:
    """Return the write that says in a pod's status why it has to leave; it is to be stored before the pod is deleted."""
    metadata, scheduler = victim["metadata"], preemptor["spec"].get("schedulerName", "")
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": PREEMPTED,
        "message": f"{scheduler}: preempting to accommodate a higher priority pod",
        "lastTransitionTime": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    patch = {"metadata": {"uid": metadata["uid"]}, "status": {"conditions": [condition]}}
    return Patch(PODS, metadata["namespace"], metadata["name"], patch, "strategic", "status")


def deletion(victim: Object) -> Delete:
    """Return the write by which a pod leaves, with the grace that it has itself."""
    metadata = victim["metadata"]
    return Delete(PODS, metadata["namespace"], metadata["name"], metadata["uid"])


def no_nomination(key: Key) -> Patch:
    """Return the write by which a pod is nominated to no node any more."""
    return Patch(PODS, key.namespace, key.name, {"status": {"nominatedNodeName": None}}, "merge", "status")
