"""Node health: a node whose lease is not renewed is Unknown, gets taints, and its pods stop counting as ready.

Whether a lease is fresh is judged by our own clock from when we saw it change, so skewed clocks do no harm. What was seen
is kept in memory only: after a restart every node has its full grace again. Eviction itself is `tainteviction`'s.
Source of behaviour: upstream pkg/controller/nodelifecycle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from moorings_core.client.resources import LEASES, NODES, PODS
from moorings_core.ports.client import Update
from moorings_core.ports.cluster import Timing
from moorings_core.ports.errors import NotFound
from moorings_core.ports.objects import Object

from . import conditions, moments, pods, writes
from .framework import Intent, Note, Result, View, Watch, WorkKey
from .ownership import itself

LEASE_NAMESPACE = "kube-node-lease"
NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
JUDGED = ("MemoryPressure", "DiskPressure", "PIDPressure")
BY_CONDITION = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
OURS = {NOT_READY, UNREACHABLE, UNSCHEDULABLE, *BY_CONDITION.values()}
ZONE = "topology.kubernetes.io/zone"
LARGE_ZONE, PARTIAL_SHARE, PARTIAL_LEAST = 50, 0.55, 3
EVICTIONS_A_GRACE = 5  # nodes tainted per node_grace seconds and zone: upstream's 0.1/s with its 50 s
SLOWER = 10  # by so much in a large zone that is partly down


class NodeLifecycleController:
    """Judges nodes by their leases."""

    name = "node-controller"

    def __init__(self, timing: Timing) -> None:
        self._grace, self._check = timing.node_grace, max(timing.lease_renew / 2, 0.5)
        self._seen: dict[str, tuple[object, datetime]] = {}
        self._next_eviction: dict[str, datetime] = {}

    def watches(self) -> Sequence[Watch]:
        """Reads nodes, their leases, and the pods on them."""
        return (Watch(NODES, _and_those_down), Watch(LEASES, _node_of_lease), Watch(PODS, _node_of_ready_pod, {"node": by_node}))

    def reconcile(self, key: WorkKey, view: View, now: datetime) -> Result:
        """Judge one node."""
        node = view.get(NODES, key[1])
        if node is None:
            self._seen.pop(key[1], None)
            return Result()
        fresh_for = self._grace - self._silence(node, view, now)
        if fresh_for <= 0 and (status := _unknown(node, now)) != node.get("status", {}):
            said = f"Node {key[1]} status is now: NodeNotReady"
            notes = [Note(node, "Normal", "NodeNotReady", said)] if _ready(node) == "True" else []
            return Result(writes.status(NODES, node, status), notes)
        again = min(max(fresh_for, 0.01), self._check) if fresh_for > 0 else self._check
        taints, wait = self._taints(node, view, now)
        if taints != (node.get("spec", {}).get("taints") or []):
            spec = {**node.get("spec", {}), "taints": taints}
            write = Update(NODES, {**node, "spec": spec})
            return Result([Intent(write, settled_by=(NotFound,))], requeue_after=min(again, wait))
        unready = [] if _ready(node) == "True" else self._unready(key[1], view, now)
        return Result(unready, requeue_after=min(again, wait) if _ready(node) != "True" else max(fresh_for, 0.01))

    def _silence(self, node: Object, view: View, now: datetime) -> float:
        """Return the seconds since we saw the node give a sign of life."""
        name = node["metadata"]["name"]
        lease = view.get(LEASES, name, LEASE_NAMESPACE)
        beat = (conditions.find(node, "Ready") or {}).get("lastHeartbeatTime")
        sign = (node["metadata"].get("uid"), (lease or {}).get("spec", {}).get("renewTime"), beat)
        known = self._seen.get(name)
        if known is None or known[0] != sign:
            known = self._seen[name] = (sign, now)
        return (now - known[1]).total_seconds()

    def _taints(self, node: Object, view: View, now: datetime) -> tuple[list[Object], float]:
        """Return the node's taints as they should be, and the seconds after which to look again."""
        old = node.get("spec", {}).get("taints") or []
        wanted = _condition_taints(node)
        evicting, wait = self._evicting(node, view, now)
        for key in evicting:
            wanted.append((key, "NoExecute"))
        kept = [t for t in old if t["key"] not in OURS or (t["key"], t["effect"]) in wanted]
        have = {(t["key"], t["effect"]) for t in kept}
        added = [{"key": k, "effect": e, "timeAdded": moments.stamp(now)} for k, e in wanted if (k, e) not in have]
        return [*kept, *added], wait

    def _evicting(self, node: Object, view: View, now: datetime) -> tuple[list[str], float]:
        """Say whether pods shall leave the node: not if no node at all is alive, and slowly if many are not."""
        ready = _ready(node)
        if ready == "True":
            return [], self._check
        key = NOT_READY if ready == "False" else UNREACHABLE
        nodes = view.all(NODES)
        if not any(_ready(other) == "True" for other in nodes):
            return [], self._check
        taints = node.get("spec", {}).get("taints") or []
        if any(t["key"] in (NOT_READY, UNREACHABLE) and t["effect"] == "NoExecute" for t in taints):
            return [key], self._check  # begun already: at most the reason changes
        pace = self._pace(node, nodes)
        if pace is None:
            return [], self._check
        zone = _zone(node)
        due = self._next_eviction.get(zone, now)
        if due > now:
            return [], (due - now).total_seconds()
        self._next_eviction[zone] = datetime.fromtimestamp(now.timestamp() + pace, now.tzinfo)
        return [key], self._check

    def _pace(self, node: Object, nodes: Sequence[Object]) -> float | None:
        """Return the seconds from one evicted node of a zone to the next; None: none at all."""
        zone = [other for other in nodes if _zone(other) == _zone(node)]
        down = sum(1 for other in zone if _ready(other) != "True")
        normal = self._grace / EVICTIONS_A_GRACE
        if down < PARTIAL_LEAST or down / len(zone) < PARTIAL_SHARE or down == len(zone):
            return normal
        return normal * SLOWER if len(zone) > LARGE_ZONE else None

    @staticmethod
    def _unready(name: str, view: View, now: datetime) -> list[Intent]:
        """Nobody on a silent node says any more that its pods are ready: take them out of their Services."""
        intents: list[Intent] = []
        for pod in view.by_index(PODS, "node", name):
            if not pods.is_ready(pod):
                continue
            told = [
                {**c, "status": "False", "lastTransitionTime": moments.stamp(now)} if c["type"] == "Ready" else c
                for c in pod["status"]["conditions"]
            ]
            intents.extend(writes.status(PODS, pod, {**pod["status"], "conditions": told}))
        return intents


def by_node(pod: Object) -> Iterable[str]:
    """Index function "node": the name of the node a pod is on, "" for none."""
    return (str(pod["spec"].get("nodeName") or ""),)


def _ready(node: Object) -> str:
    return str((conditions.find(node, "Ready") or {}).get("status", "Unknown"))


def _zone(node: Object) -> str:
    return str((node["metadata"].get("labels") or {}).get(ZONE, ""))


def _unknown(node: Object, now: datetime) -> Object:
    status = node.get("status", {})
    told: list[Object] = list(status.get("conditions") or ())
    for kind in ("Ready", *JUDGED):
        old = conditions.pick(told, kind)
        if old is not None and old["status"] == "Unknown":
            continue
        reason, message = "NodeStatusUnknown", "Kubelet stopped posting node status."
        if old is None:
            reason, message = "NodeStatusNeverUpdated", "Kubelet never posted node status."
        when = moments.stamp(now)
        new = {**(old or {"type": kind}), "status": "Unknown", "reason": reason, "message": message, "lastTransitionTime": when}
        told = [new if c["type"] == kind else c for c in told] if old else [*told, new]
    return {**status, "conditions": told}


def _condition_taints(node: Object) -> list[tuple[str, str]]:
    wanted = [(taint, "NoSchedule") for kind, taint in BY_CONDITION.items() if conditions.is_true(node, kind)]
    ready = _ready(node)
    if ready != "True":
        wanted.append((NOT_READY if ready == "False" else UNREACHABLE, "NoSchedule"))
    if node.get("spec", {}).get("unschedulable"):
        wanted.append((UNSCHEDULABLE, "NoSchedule"))
    return wanted


def _node_of_lease(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    lease = new if new is not None else old
    if lease is not None and lease["metadata"].get("namespace") == LEASE_NAMESPACE:
        yield ("", lease["metadata"]["name"])


def _node_of_ready_pod(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    """A pod that says it is ready on a node that is not: its word is old."""
    name = new["spec"].get("nodeName") if new is not None else None
    node = view.get(NODES, name) if name else None
    if new is not None and node is not None and _ready(node) != "True" and pods.is_ready(new):
        yield ("", node["metadata"]["name"])


def _and_those_down(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    """A node that comes or goes changes what may be done about the ones that are down."""
    yield from itself(view, old, new)
    if old is None or new is None or _ready(old) != _ready(new):
        yield from (("", n["metadata"]["name"]) for n in view.all(NODES) if _ready(n) != "True")
