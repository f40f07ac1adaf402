"""Eviction by NoExecute taints: a pod leaves a tainted node at once, or when the time that it tolerates the taint for is over.

The time runs from the taint's timeAdded, so a restart of ours does not begin it anew; a taint taken off ends it.
Source of behaviour: upstream pkg/controller/tainteviction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from moorings_core.client.resources import NODES, PODS
from moorings_core.ports.objects import Object, key_of

from . import conditions, moments, pods, writes
from .framework import Intent, Note, Result, View, Watch, WorkKey
from .nodelifecycle import by_node
from .ownership import itself


class TaintEvictionController:
    """Deletes pods that do not tolerate their node's NoExecute taints, or do no longer."""

    name = "taint-eviction-controller"

    def __init__(self) -> None:
        self._since: dict[tuple[str, str], datetime] = {}

    def watches(self) -> Sequence[Watch]:
        """Reads nodes and pods."""
        return (Watch(NODES, _pods_of), Watch(PODS, itself, {"node": by_node}))

    def reconcile(self, key: WorkKey, view: View, now: datetime) -> Result:
        """Decide on one pod."""
        pod = view.get(PODS, key[1], key[0])
        node = view.get(NODES, pod["spec"].get("nodeName") or "") if pod is not None else None
        if pod is None or node is None or not pods.is_active(pod):
            return Result()
        taints = no_execute(node)
        if not taints:
            return Result()
        left = self._left(node, taints, pod["spec"].get("tolerations") or (), now)
        if left is None:
            return Result()
        if left > 0:
            return Result(requeue_after=left)
        return self._evict(pod, now)

    def _left(self, node: Object, taints: Sequence[Object], tolerations: Sequence[Object], now: datetime) -> float | None:
        """Return the seconds that the pod may stay; None: for ever."""
        left: list[float] = []
        for taint in taints:
            fitting = [t for t in tolerations if tolerates(t, taint)]
            if not fitting:
                return 0.0
            bounded = [max(t["tolerationSeconds"], 0) for t in fitting if t.get("tolerationSeconds") is not None]
            if bounded:
                left.append(min(bounded) - self._age(node, taint, now))
        return min(left) if left else None

    def _age(self, node: Object, taint: Object, now: datetime) -> float:
        """Who taints by hand gives no time: then it counts from when we first saw it."""
        if taint.get("timeAdded"):
            return moments.since(taint["timeAdded"], now)
        first = self._since.setdefault((node["metadata"].get("uid", ""), str(taint["key"])), now)
        return (now - first).total_seconds()

    @staticmethod
    def _evict(pod: Object, now: datetime) -> Result:
        """First the reason goes into the pod's status, then it is deleted: two steps, as the second takes the first away."""
        if not conditions.is_true(pod, "DisruptionTarget"):
            said = "Taint manager: deleting due to NoExecute taint"
            return Result(disrupt(pod, "DeletionByTaintManager", said, now))
        metadata = pod["metadata"]
        note = Note(pod, "Normal", "TaintManagerEviction", f"Marking for deletion Pod {metadata['namespace']}/{metadata['name']}")
        return Result([writes.delete(PODS, pod, done=note)])


def disrupt(pod: Object, reason: str, message: str, now: datetime, phase: str = "") -> list[Intent]:
    """Return the write of the DisruptionTarget condition, by which Jobs tell what was not the pod's own fault."""
    status = pod.get("status", {})
    new: Object = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
    new["lastTransitionTime"] = moments.stamp(now)
    told = conditions.put(status.get("conditions") or (), new)
    return writes.status(PODS, pod, {**status, "conditions": told} | ({"phase": phase} if phase else {}))


def no_execute(node: Object) -> Sequence[Object]:
    """Return the taints that drive pods away."""
    return [taint for taint in node.get("spec", {}).get("taints") or () if taint.get("effect") == "NoExecute"]


def tolerates(toleration: Mapping[str, object], taint: Object) -> bool:
    """Whether a toleration covers a taint (core/v1 Toleration): absent effect covers all, absent key with Exists all."""
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


def _pods_of(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    node = new if new is not None else old
    if node is None or (old is not None and new is not None and no_execute(old) == no_execute(new)):
        return
    if old is None and not no_execute(node):
        return
    yield from (key_of(pod) for pod in view.by_index(PODS, "node", node["metadata"]["name"]))
