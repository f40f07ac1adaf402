"""The scheduler as a component: informers feed the queue and the columns, decisions go out as one commit per batch.

A decided pod is assumed on its node at once, so that the next decision counts it; the assumption ends when the informer shows
the pod bound, or when the commit failed. Starting is recovering: everything here is rebuilt from the lists.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from moorings_core.client.events import EventRecorder
from moorings_core.client.informer import Informer
from moorings_core.client.resources import (
    CSI_DRIVERS,
    CSI_NODES,
    CSI_STORAGE_CAPACITIES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    POD_DISRUPTION_BUDGETS,
    PODS,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
)
from moorings_core.log import get_logger
from moorings_core.ports.client import Client, Create, Patch, Write
from moorings_core.ports.errors import ApiError, NotFound
from moorings_core.ports.objects import Key, Object, key_of

from . import volume_limits, volumes
from .columns import Booleans, Columns, PlacedPod
from .conditions import unschedulable_patch
from .decide import Decision, decide, sift
from .footprint import finished, footprint, granted
from .held import Held
from .pod_class import PodClass, classify
from .preempting import Preempting, deletion, no_nomination, reason_to_leave
from .preemption import Plan
from .queue import FLUSH_AFTER, SchedulingQueue, Waiting
from .rows import Row, Rows
from .volume_filter import VolumeFilter

log = get_logger(__name__)
BATCH_MOST = 512
SLICE_SECONDS = 0.004
"""How long decisions may hold the event loop before others get a turn."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision to be written: a binding, the choice of a node for waiting claims, or who has to leave a node."""

    waiting: Waiting
    node: str
    writes: Sequence[Write]
    binds: bool
    holds: bool = False
    """The claims are certain to be bound or given back: nothing else need be looked at meanwhile"""
    preempts: bool = False
    victims: Sequence[Object] = ()
    """The pods that are deleted once the writes are stored"""


class Scheduler:
    """Assigns nodes to the pods that name it as their scheduler."""

    def __init__(self, client: Client, *, name: str = "default-scheduler", seed: int = 0) -> None:
        self._client, self._name, self._tie = client, name, Random(seed)
        self._queue, self._columns, self._rows = SchedulingQueue(), Columns(), Rows()
        self._assumed: dict[Key, str] = {}
        self._held = Held()
        self._background: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._events = EventRecorder(client, name)
        self._pods, self._nodes = Informer(client, PODS), Informer(client, NODES)
        self._claims = Informer(client, PERSISTENT_VOLUME_CLAIMS)
        self._volumes = Informer(client, PERSISTENT_VOLUMES)
        self._storage_classes = Informer(client, STORAGE_CLASSES)
        self._csi_drivers = Informer(client, CSI_DRIVERS)
        self._capacities = Informer(client, CSI_STORAGE_CAPACITIES)
        self._csi_nodes, self._attachments = Informer(client, CSI_NODES), Informer(client, VOLUME_ATTACHMENTS)
        self._budgets = Informer(client, POD_DISRUPTION_BUDGETS)
        self._preempting = Preempting(self._columns, self._pod, lambda: self._budgets.items.values(), self._tie)
        self._attachments.add_index("node", lambda attachment: (attachment["spec"]["nodeName"],))
        self._view = volumes.VolumeView(
            self._claims.get,
            self._volumes.get,
            lambda: list(self._volumes.items.values()),
            self._storage_classes.get,
            self._csi_drivers.get,
            lambda: list(self._capacities.items.values()),
            self._columns.users_of,
        )
        self._node_view = volume_limits.NodeView(
            self._csi_nodes.get, self._columns.claims_on, lambda node: self._attachments.by_index("node", node)
        )

    async def run(self) -> None:
        """Schedule until cancelled."""
        of_volumes = [self._claims, self._volumes, self._storage_classes, self._csi_drivers, self._capacities, self._csi_nodes]
        informers = [self._nodes, *of_volumes, self._attachments, self._budgets, self._pods]
        self._nodes.on_change(self._node_changed)
        self._pods.on_change(self._pod_changed)
        for informer in of_volumes:
            informer.on_change(self._volume_changed)
        self._claims.on_change(self._claim_changed)
        self._budgets.on_change(lambda _old, _new: self._preempting.budgets_changed())
        self._attachments.on_change(lambda _, new: self._wake_all() if new is None else None)
        async with asyncio.TaskGroup() as tasks:
            for informer in informers:
                tasks.create_task(informer.run())
            tasks.create_task(self._events.run())
            for informer in informers:
                await informer.synced()
            tasks.create_task(self._schedule())

    async def _schedule(self) -> None:
        while True:
            await self._wait_for_work()
            decided = await self._decide_batch()
            if decided:
                await self._write(decided)

    async def _wait_for_work(self) -> None:
        now = time.monotonic()
        if late := self._queue.flush(now):
            log.warning("pods flushed", count=late)
        due = self._queue.next_time(now)
        if due == 0:
            return
        try:
            async with asyncio.timeout(min(due, FLUSH_AFTER) if due is not None else FLUSH_AFTER):
                await self._wake.wait()
        except TimeoutError:
            pass  # a back-off ended, or the flush is due
        self._wake.clear()

    async def _decide_batch(self) -> list[Decided]:
        decided: list[Decided] = []
        slice_end = time.monotonic() + SLICE_SECONDS
        while len(decided) < BATCH_MOST and (waiting := self._queue.pop(time.monotonic())) is not None:
            result = self._decide_one(waiting)
            if result is not None:
                decided.append(result)
            if time.monotonic() > slice_end:
                await asyncio.sleep(0)
                slice_end = time.monotonic() + SLICE_SECONDS
        return decided

    def _decide_one(self, waiting: Waiting) -> Decided | None:
        pods = classify(waiting.pod, waiting.key)
        if waiting.key in self._assumed:
            self._forget(waiting.key)
        with self._preempting.nominations.beside(waiting.key, pods.priority):
            return self._decide(waiting, pods)

    def _decide(self, waiting: Waiting, pods: PodClass) -> Decided | None:
        try:
            claims = volumes.claims_of(waiting.pod, self._view)
        except volumes.Unschedulable as reason:
            nothing = Decision("", len(self._columns.index), never=pods.never_preempts, detail=str(reason))
            return self._reject(waiting, pods, nothing, None)
        row, places = self._rows.of(pods, self._columns), VolumeFilter(waiting.pod, claims, self._columns, self._view, self._node_view)
        against = places.against()
        nominated = self._preempting.nominations.node_of(waiting.key)
        decision = decide(self._columns, row, self._tie, against, nominated=nominated, also=self._without_nominated(row, against))
        if not decision.node:
            plan = self._preempting.plan(waiting.key, row, decision, places.reason if places else None)
            return self._reject(waiting, pods, decision, plan)
        self._assume(waiting, pods, decision.node)
        if claims.waiting:
            holds = all(storage_class["provisioner"] != volumes.NO_PROVISIONER for _, storage_class in claims.waiting)
            return Decided(waiting, decision.node, _selection_writes(claims, decision.node), False, holds)
        return Decided(waiting, decision.node, [_binding(waiting, decision.node)], True)

    def _without_nominated(self, row: Row, against: Mapping[int, str]) -> Booleans | None:
        """Return the nodes feasible without nominated pods where that can differ: these may make a hard spread even."""
        if not self._preempting.nominations or not any(constraint.hard for constraint in row.pods.spread):
            return None
        with self._preempting.nominations.alone():
            return sift(self._columns, row, against).feasible

    def _assume(self, waiting: Waiting, pods: PodClass, node: str) -> None:
        self._assumed[waiting.key] = node
        self._preempting.nominations.drop(waiting.key)
        self._columns.place(_placed(waiting.key, waiting.pod, pods, node))

    def _forget(self, key: Key) -> PlacedPod | None:
        self._held.drop(key)
        self._assumed.pop(key, None)
        return self._columns.take_away(key)

    def _pod(self, key: Key) -> Object | None:
        return self._pods.get(key.name, key.namespace)

    async def _write(self, decided: Sequence[Decided]) -> None:
        writes = [write for one in decided for write in one.writes]
        results = iter(await self._client.commit(writes))
        now = time.monotonic()
        preempting = []
        for one in decided:
            errors = [r for r in [next(results) for _ in one.writes] if isinstance(r, ApiError)]
            if one.preempts and all(isinstance(error, NotFound) for error in errors):
                preempting.append(one)
            elif one.preempts:
                self._left(one, errors)
            elif errors:
                self._failed(one, errors[0], now)
            elif one.binds:
                self._queue.drop(one.waiting.key)
                place = f"{one.waiting.key} to {one.node}"
                self._events.event(one.waiting.pod, "Normal", "Scheduled", f"Successfully assigned {place}")
            elif one.holds:  # what it takes of the node stays taken until its claims are bound and it is decided on again
                self._hold(one, now)
            else:
                self._queue.unschedulable(one.waiting, now)
        if preempting:
            await self._delete_victims(preempting)

    def _hold(self, one: Decided, now: float) -> None:
        """Let a pod wait until every claim that is made for it is bound, or cannot be made."""
        namespace = one.waiting.key.namespace
        named = {Key(namespace, name): self._claims.get(name, namespace) for name in volumes.claim_names(one.waiting.pod)}
        unbound = [key for key, claim in named.items() if claim is not None and not volumes.is_bound(claim)]
        self._queue.hold(one.waiting, now)
        if unbound:
            self._held.put(one.waiting.key, one.node, unbound)
        else:
            self._release(one.waiting.key)

    def _claim_changed(self, old: Object | None, new: Object | None) -> None:
        claim = new or old
        assert claim is not None
        for pod in self._held.changed(key_of(claim), old, new):
            if new is None or volumes.is_bound(new):
                self._release(pod)
            else:  # what could not be made on its node may not be on the next one either
                self._queue.let_go(pod, time.monotonic())
                self._wake.set()

    def _release(self, pod: Key) -> None:
        self._queue.release(pod)
        self._wake.set()

    def _failed(self, one: Decided, error: ApiError, now: float) -> None:
        self._forget(one.waiting.key)
        if isinstance(error, NotFound):
            self._queue.drop(one.waiting.key)
            return
        log.warning("binding failed", pod=one.waiting.key, node=one.node, error=str(error))
        self._queue.retry(one.waiting, now)

    def _reject(self, waiting: Waiting, pods: PodClass, decision: Decision, plan: Plan | None) -> Decided | None:
        """Park a pod that fits nowhere; return what is to be written where others leave for it."""
        message = decision.message(plan.said if plan else "")
        self._events.event(waiting.pod, "Warning", "FailedScheduling", message)
        self._queue.unschedulable(waiting, time.monotonic())
        nominations = self._preempting.nominations
        if plan is not None and plan.node:
            nominations.put(_placed(waiting.key, waiting.pod, pods, plan.node, nominated=True))
        elif plan is None or not plan.awaited:
            nominations.drop(waiting.key)
        patch = unschedulable_patch(self._pod(waiting.key) or waiting.pod, message, nominations.node_of(waiting.key))
        if plan is not None and plan.node:
            return self._make_room(waiting, plan, patch, pods.priority)
        if patch is not None:
            self._spawn_condition(waiting, patch)
        return None

    def _make_room(self, waiting: Waiting, plan: Plan, patch: Object | None, priority: int) -> Decided:
        """Return the writes by which a pod gets its node: its own status, and why others have to leave."""
        key, now = waiting.key, time.monotonic()
        writes: list[Write] = [Patch(PODS, key.namespace, key.name, patch, "strategic", "status")] if patch is not None else []
        for other in self._preempting.outranked(plan.node, priority):
            self._preempting.nominations.drop(other)
            self._queue.release(other)
            writes.append(no_nomination(other))
        victims = []
        for each in plan.victims:
            victim = self._pod(each.key)
            if self._queue.let_go(each.key, now):  # it has nothing on the node yet but our word
                self._forget(each.key)
            elif victim is not None and "deletionTimestamp" not in victim["metadata"]:
                victims.append(victim)
        self._preempting.told(key_of(victim) for victim in victims)
        writes += [reason_to_leave(victim, waiting.pod) for victim in victims]
        return Decided(waiting, plan.node, writes, False, preempts=True, victims=victims)

    async def _delete_victims(self, decided: Sequence[Decided]) -> None:
        """Delete who has to leave, now that it is stored why."""
        results = iter(await self._client.commit([deletion(victim) for one in decided for victim in one.victims]))
        for one in decided:
            errors = [result for result in [next(results) for _ in one.victims] if isinstance(result, ApiError)]
            self._left(one, errors)

    def _left(self, one: Decided, errors: Sequence[ApiError]) -> None:
        """Tell of a preemption, or try it again where it failed; one who is gone already has left as well."""
        failed = [error for error in errors if not isinstance(error, NotFound)]
        if failed:
            log.warning("preemption failed", pod=one.waiting.key, node=one.node, error=str(failed[0]))
            for victim in one.victims:
                self._preempting.seen(key_of(victim))
            self._queue.retry(one.waiting, time.monotonic())
            return
        for victim in one.victims:
            self._events.event(victim, "Normal", "Preempted", f"Preempted by pod {one.waiting.pod['metadata']['uid']} on node {one.node}")
        if not one.victims:
            self._release_nominated(one.node)

    def _release_nominated(self, node: str) -> None:
        """Try the pods that are nominated to a node again once nobody is there any more who leaves for them."""
        for pod in self._preempting.nominations.on(node):
            if not self._preempting.is_awaited(pod):
                self._release(pod.key)

    def _spawn_condition(self, waiting: Waiting, patch: Object) -> None:
        task = asyncio.get_running_loop().create_task(self._patch_condition(waiting.key, patch))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _patch_condition(self, key: Key, patch: Object) -> None:
        try:
            await self._client.patch(PODS, key.name, key.namespace, patch, type="strategic", subresource="status")
        except ApiError as error:
            log.warning("condition not written", pod=key, error=str(error))

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            if old is not None and _same_for_scheduling(old, new):
                return
            self._columns.set_node(new)
        elif old is not None:
            self._columns.remove_node(old["metadata"]["name"])
        self._wake_all()

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        pod = new or old
        assert pod is not None
        key = key_of(pod)
        if new is None or finished(new):
            self._gone(key)
        elif new["spec"].get("nodeName"):
            self._bound(key, new, old)
        elif self._is_ours(new):
            self._note_nomination(key, old, new)
            if old is None or _changed_for_scheduling(old, new):
                self._queue.put(key, new, time.monotonic())
                self._wake.set()

    def _gone(self, key: Key) -> None:
        self._preempting.seen(key)
        self._preempting.nominations.drop(key)
        there = self._forget(key)
        self._queue.drop(key)
        self._wake_all()
        if there is not None:
            self._release_nominated(there.node)

    def _note_nomination(self, key: Key, old: Object | None, new: Object) -> None:
        """Take in what the status of a pod without a node says of one that is to be its own; a decision on it says more."""
        nominations, named = self._preempting.nominations, _nominated_node(new)
        if key in self._assumed or (old is not None and _nominated_node(old) == named) or named == nominations.node_of(key):
            return
        if named:
            nominations.put(_placed(key, new, classify(new, key), named, nominated=True))
        else:
            nominations.drop(key)

    def _is_ours(self, pod: Object) -> bool:
        return pod["spec"].get("schedulerName", self._name) == self._name and _schedulable(pod)

    def _bound(self, key: Key, pod: Object, old: Object | None) -> None:
        self._assumed.pop(key, None)
        self._queue.drop(key)
        self._preempting.nominations.drop(key)
        terminating = "deletionTimestamp" in pod["metadata"]
        if old is not None and _takes_the_same(old, pod) and terminating == ("deletionTimestamp" in old["metadata"]):
            return
        if terminating:
            self._preempting.seen(key)
        priority = pod["spec"].get("priority") or 0
        node, claims = pod["spec"]["nodeName"], volumes.claim_names(pod)
        self._columns.place(PlacedPod(key, node, footprint(pod), _labels(pod), terminating, priority, claims))
        if old is not None and granted(old):
            self._wake_all()  # a pod that became smaller leaves room

    def _volume_changed(self, _old: Object | None, _new: Object | None) -> None:
        self._wake_all()

    def _wake_all(self) -> None:
        self._queue.wake_all(time.monotonic())
        self._wake.set()


def _schedulable(pod: Object) -> bool:
    return "deletionTimestamp" not in pod["metadata"] and not pod["spec"].get("schedulingGates")


def _changed_for_scheduling(old: Object, new: Object) -> bool:
    return bool(old["spec"] != new["spec"] or old["metadata"].get("labels") != new["metadata"].get("labels"))


def _takes_the_same(old: Object, new: Object) -> bool:
    return bool(old["spec"] == new["spec"] and granted(old) == granted(new))


def _placed(key: Key, pod: Object, pods: PodClass, node: str, *, nominated: bool = False) -> PlacedPod:
    claims = volumes.claim_names(pod)
    return PlacedPod(key, node, pods.footprint, pods.labels or _labels(pod), False, pods.priority, claims, nominated)


def _nominated_node(pod: Object) -> str:
    return (pod.get("status") or {}).get("nominatedNodeName") or ""


def _labels(pod: Object) -> dict[str, str]:
    labels: dict[str, str] = pod["metadata"].get("labels", {})
    return labels


def _same_for_scheduling(old: Object, new: Object) -> bool:
    return (
        old["metadata"].get("labels") == new["metadata"].get("labels")
        and old.get("spec") == new.get("spec")
        and old.get("status", {}).get("allocatable") == new.get("status", {}).get("allocatable")
    )


def _binding(waiting: Waiting, node: str) -> Create:
    metadata = {"name": waiting.key.name, "namespace": waiting.key.namespace, "uid": waiting.pod["metadata"]["uid"]}
    target = {"apiVersion": "v1", "kind": "Node", "name": node}
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": target}
    return Create(PODS, binding, subresource="binding", name=waiting.key.name)


def _selection_writes(claims: volumes.Claims, node: str) -> list[Write]:
    return [
        Patch(
            PERSISTENT_VOLUME_CLAIMS,
            claim["metadata"]["namespace"],
            claim["metadata"]["name"],
            {"metadata": {"annotations": dict(annotations), "resourceVersion": claim["metadata"]["resourceVersion"]}},
        )
        for claim, annotations in volumes.selections(claims, node)
    ]
