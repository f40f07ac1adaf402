"""ReplicaSet and ReplicationController: as many pods of a template as asked for.

Source of behaviour: upstream pkg/controller/replicaset. Expectations are not needed here: the caches know our own writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from moorings_core.client.resources import PODS, REPLICA_SETS, REPLICATION_CONTROLLERS
from moorings_core.ports.client import Create
from moorings_core.ports.objects import Object, Resource

from . import conditions, moments, pods, writes
from .framework import Intent, Note, Result, View, Watch, WorkKey
from .ownership import Dependents, by_controller, controller_of, itself

BURST = 500  # pods made or deleted for one key in one tick, as upstream's burstReplicas


class ReplicaSetController:
    """Keeps `spec.replicas` active pods and their count in the status; serves both kinds, which differ in their selector only."""

    def __init__(self, resource: Resource = REPLICA_SETS, name: str = "replicaset-controller") -> None:
        self._resource, self._name = resource, name
        self._pods = Dependents(resource, PODS)

    @property
    def name(self) -> str:
        """The name that signs Events."""
        return self._name

    def watches(self) -> Sequence[Watch]:
        """Reads its own kind and pods."""
        own = {"controller": by_controller}
        return (Watch(self._resource, itself, own), Watch(PODS, self._pods.owners_of, {"controller": by_controller}))

    def reconcile(self, key: WorkKey, view: View, now: datetime) -> Result:
        """Make or delete pods until as many are active as wanted, and write down how it stands."""
        owner = view.get(self._resource, key[1], key[0])
        if owner is None:
            return Result()
        claim = self._pods.claim(owner, view)
        if claim.questions:
            return Result(questions=claim.questions)
        active = [pod for pod in claim.owned if pods.is_active(pod)]
        changes = [] if owner["metadata"].get("deletionTimestamp") else self._scale(owner, active, view, now)
        terminating = sum(1 for pod in claim.owned if pods.is_terminating(pod) and not pods.is_finished(pod))
        status = self._status(owner, active, terminating, view, now)
        return Result(
            [*claim.intents, *changes, *writes.status(self._resource, owner, status)],
            requeue_after=_until_available(owner, active, now),
        )

    def _scale(self, owner: Object, active: Sequence[Object], view: View, now: datetime) -> list[Intent]:
        missing = _replicas(owner) - len(active)
        if missing > 0:
            most = 1 if view.errors else BURST  # what was refused is tried by one, not by hundreds
            return [self._create(owner) for _ in range(min(missing, most))]
        if missing < 0:
            doomed = pods.to_delete(active, list(self._related(owner, view)), min(-missing, BURST), now)
            return [self._delete(owner, pod) for pod in doomed]
        return []

    def _create(self, owner: Object) -> Intent:
        pod = pods.from_template(owner["spec"]["template"], owner, f"{owner['metadata']['name']}-")
        done = Note(owner, "Normal", "SuccessfulCreate", "Created pod: {name}")
        return Intent(Create(PODS, pod), done, Note(owner, "Warning", "FailedCreate", "Error creating: {error}"))

    @staticmethod
    def _delete(owner: Object, pod: Object) -> Intent:
        done = Note(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}")
        return writes.delete(PODS, pod, done=done, failed=Note(owner, "Warning", "FailedDelete", "Error deleting: {error}"))

    def _related(self, owner: Object, view: View) -> Iterable[Object]:
        """Pods of every set that has our owner, which are the other revisions of a Deployment: they crowd nodes as ours do."""
        reference = controller_of(owner)
        siblings = view.by_index(self._resource, "controller", reference["uid"]) if reference else (owner,)
        for sibling in siblings:
            yield from view.by_index(PODS, "controller", sibling["metadata"]["uid"])

    def _status(self, owner: Object, active: Sequence[Object], terminating: int, view: View, now: datetime) -> Object:
        old, min_ready = owner.get("status", {}), owner["spec"].get("minReadySeconds", 0)
        labels = ((owner["spec"].get("template") or {}).get("metadata") or {}).get("labels") or {}
        counts: Object = {
            "replicas": len(active),
            "fullyLabeledReplicas": sum(1 for p in active if labels.items() <= (p["metadata"].get("labels") or {}).items()),
            "readyReplicas": sum(1 for p in active if pods.is_ready(p)),
            "availableReplicas": sum(1 for p in active if pods.is_available(p, min_ready, now)),
        }
        if self._resource == REPLICA_SETS:
            counts["terminatingReplicas"] = terminating
        new: Object = {name: number for name, number in counts.items() if number or name in ("replicas", "terminatingReplicas")}
        new["observedGeneration"] = owner["metadata"].get("generation", 0)
        failure = self._failure(owner, len(active), view, now)
        kept = conditions.without(old.get("conditions") or (), "ReplicaFailure")
        if failure or kept:
            new["conditions"] = conditions.put(old.get("conditions") or (), failure) if failure else kept
        return new

    @staticmethod
    def _failure(owner: Object, active: int, view: View, now: datetime) -> Object | None:
        """Say in the status why there are too few or too many: as long as the last attempt was refused."""
        refusals = [error for error in view.errors if error.reason not in ("Conflict", "NotFound")]
        if not refusals or active == _replicas(owner):
            return None
        reason = "FailedCreate" if active < _replicas(owner) else "FailedDelete"
        told = {"type": "ReplicaFailure", "status": "True", "reason": reason, "message": str(refusals[0])}
        return {**told, "lastTransitionTime": moments.stamp(now)}


def replication_controllers() -> ReplicaSetController:
    """Return the controller for the older kind."""
    return ReplicaSetController(REPLICATION_CONTROLLERS, "replication-controller")


def _replicas(owner: Object) -> int:
    return int(owner["spec"].get("replicas", 1))


def _until_available(owner: Object, active: Sequence[Object], now: datetime) -> float | None:
    """Readiness becomes availability by time alone: come back when the next pod's time is over."""
    min_ready = owner["spec"].get("minReadySeconds", 0)
    if not min_ready:
        return None
    waits = [
        min_ready - moments.since((conditions.find(pod, "Ready") or {}).get("lastTransitionTime"), now)
        for pod in active
        if pods.is_ready(pod) and not pods.is_available(pod, min_ready, now)
    ]
    return min(waits, default=None)
