"""Removes pods that nobody else will: of nodes that are gone, terminating without a node, too many finished ones.

A pod on an unreachable node is not touched while the node exists (its containers may be running), unless an administrator has
declared the node out of service. Source of behaviour: upstream pkg/controller/podgc.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from moorings_core.client.resources import NODES, PODS
from moorings_core.ports.cluster import Timing
from moorings_core.ports.errors import NotFound
from moorings_core.ports.objects import Object

from . import conditions, moments, pods, writes
from .framework import Intent, Question, Result, View, Watch, WorkKey
from .nodelifecycle import by_node
from .tainteviction import disrupt

SWEEP: WorkKey = ("", "sweep")
THRESHOLD = 12_500
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
BURST = 500


class PodGarbageCollector:
    """Sweeps at changes that can leave such pods, and from time to time."""

    name = "pod-garbage-collector-controller"

    def __init__(self, timing: Timing, threshold: int = THRESHOLD) -> None:
        self._quarantine, self._threshold = timing.lease_duration, threshold
        self._missing: dict[str, datetime] = {}

    def watches(self) -> Sequence[Watch]:
        """Reads nodes and pods."""
        return (Watch(NODES, _sweep_if_gone), Watch(PODS, _sweep_if_odd, {"node": by_node}))

    def reconcile(self, key: WorkKey, view: View, now: datetime) -> Result:
        """Look at all pods at once."""
        every = view.all(PODS)
        questions, gone, wait = self._gone_nodes(every, view, now)
        if questions:
            return Result(questions=questions)
        intents: list[Intent] = []
        marked = False
        for pod in every:
            reason = self._reason(pod, gone, view)
            if not reason or len(intents) >= BURST:
                continue
            if not pods.is_finished(pod):
                intents.extend(disrupt(pod, "DeletionByPodGC", f"PodGC: {reason}", now, phase="Failed"))
                marked = True
            else:
                intents.append(writes.delete(PODS, pod, grace=0))
        intents.extend(self._too_many(every))
        return Result(intents, requeue_after=0.01 if marked else wait)

    def _gone_nodes(self, every: Sequence[Object], view: View, now: datetime) -> tuple[list[Question], set[str], float]:
        """Return the nodes that pods name and that do not exist: absent for a while, and confirmed."""
        named = {str(pod["spec"]["nodeName"]) for pod in every if pod["spec"].get("nodeName")}
        missing = {name for name in named if view.get(NODES, name) is None}
        self._missing = {name: self._missing.get(name, now) for name in missing}
        ripe = [name for name in missing if (now - self._missing[name]).total_seconds() >= self._quarantine]
        questions = [Question(NODES, "", name) for name in ripe]
        if any(question not in view.answers for question in questions):
            return questions, set(), 0
        gone = {question.name for question in questions if isinstance(view.answers[question], NotFound)}
        return [], gone, self._quarantine / 2

    @staticmethod
    def _reason(pod: Object, gone: set[str], view: View) -> str:
        name = pod["spec"].get("nodeName")
        if name in gone:
            return "node no longer exists"
        if not pods.is_terminating(pod):
            return ""
        if not name:
            return "unscheduled pod is terminating"
        node = view.get(NODES, name)
        taints = (node or {}).get("spec", {}).get("taints") or ()
        declared = any(taint.get("key") == OUT_OF_SERVICE for taint in taints)
        return "node out-of-service" if node and declared and not conditions.is_true(node, "Ready") else ""

    def _too_many(self, every: Sequence[Object]) -> list[Intent]:
        finished = sorted((pod for pod in every if pods.is_finished(pod) and not pods.is_terminating(pod)), key=moments.created)
        return [writes.delete(PODS, pod, grace=0) for pod in finished[: max(len(finished) - self._threshold, 0)][:BURST]]


def _sweep_if_gone(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    if new is None or old is None or old.get("spec") != new.get("spec"):
        yield SWEEP


def _sweep_if_odd(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    if new is None:
        return
    name = new["spec"].get("nodeName")
    begins = pods.is_terminating(new) and (old is None or not pods.is_terminating(old))
    if begins or (pods.is_finished(new) and (old is None or not pods.is_finished(old))) or (name and view.get(NODES, name) is None):
        yield SWEEP
