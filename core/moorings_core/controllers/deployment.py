"""Deployment: ReplicaSets of successive templates, exchanged by rolling or recreating.

`rollout` does the arithmetic and `progress` the status; here are the steps. Each reconcile does one step of upstream's sync
(pkg/controller/deployment): the caches know our writes, so the next step sees what this one did.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from moorings_core.client.resources import DEPLOYMENTS, PODS, REPLICA_SETS
from moorings_core.ports.client import Create, Update
from moorings_core.ports.errors import AlreadyExists, NotFound
from moorings_core.ports.objects import Object

from . import pods, progress, revisions, rollout, writes
from .framework import Intent, Note, Question, Result, View, Watch, WorkKey
from .ownership import Dependents, by_controller, controller_of, is_controlled_by, itself, selector_of
from .rollout import Sets, Sized


class DeploymentController:
    """Brings the pods of a Deployment to its template, within surge and unavailability."""

    name = "deployment-controller"

    def __init__(self) -> None:
        self._sets = Dependents(DEPLOYMENTS, REPLICA_SETS)

    def watches(self) -> Sequence[Watch]:
        """Reads deployments, their sets, and pods (Recreate waits for the old ones to be gone)."""
        return (
            Watch(DEPLOYMENTS, itself),
            Watch(REPLICA_SETS, self._sets.owners_of, {"controller": by_controller}),
            Watch(PODS, self._of_gone_pod, {"controller": by_controller}),
        )

    def reconcile(self, key: WorkKey, view: View, now: datetime) -> Result:
        """Do the next step of the rollout, and write down how it stands."""
        deployment = view.get(DEPLOYMENTS, key[1], key[0])
        if deployment is None:
            return Result()
        if not selector_of(deployment):
            said = "This deployment is selecting all pods. A non-empty selector is required."
            return Result(notes=[Note(deployment, "Warning", "SelectingAll", said)])
        claim = self._sets.claim(deployment, view)
        if claim.questions:
            return Result(questions=claim.questions)
        if claim.intents:
            return Result(claim.intents)
        sets = revisions.sort_out(deployment, claim.owned)
        if deployment["metadata"].get("deletionTimestamp"):
            return self._told(deployment, sets, now, [])
        noted = progress.note_pause(deployment, progress.note_new(deployment, sets, now), now)
        if intents := [*writes.status(DEPLOYMENTS, deployment, noted)] or revisions.renumber(deployment, sets):
            return Result(intents)
        recreate = (deployment["spec"].get("strategy") or {}).get("type") == "Recreate"
        scaling = rollout.is_scaling(deployment, sets) and not (recreate and len(sets.active()) > 1)
        if deployment["spec"].get("paused") or scaling:
            return self._scale(deployment, sets, now)
        if recreate:
            return self._recreate(deployment, sets, view, now)
        return self._roll(deployment, sets, view, now)

    def _scale(self, deployment: Object, sets: Sets, now: datetime) -> Result:
        rollout.scale(deployment, sets)
        cleaned = _clean_up(deployment, sets) if deployment["spec"].get("paused") else []
        return self._told(deployment, sets, now, [*_resize(deployment, sets), *cleaned], rolling=False)

    def _roll(self, deployment: Object, sets: Sets, view: View, now: datetime) -> Result:
        if sets.new is None:
            return self._begin(deployment, sets, view, now)
        if not rollout.grow_new(deployment, sets):
            rollout.shrink_old(deployment, sets)
        return self._finish(deployment, sets, now)

    def _recreate(self, deployment: Object, sets: Sets, view: View, now: datetime) -> Result:
        old = [each for each in sets.old if each.replicas]
        if old:
            for each in old:
                each.replicas = 0
            return self._told(deployment, sets, now, _resize(deployment, sets))
        uids = {each.obj["metadata"]["uid"] for each in sets.old}
        if any(not pods.is_finished(pod) for uid in uids for pod in view.by_index(PODS, "controller", uid)):
            return self._told(deployment, sets, now, [])  # a pod that is still going counts until it is gone
        if sets.new is None:
            return self._begin(deployment, sets, view, now)
        sets.new.replicas = rollout.wanted(deployment)
        return self._finish(deployment, sets, now)

    def _finish(self, deployment: Object, sets: Sets, now: datetime) -> Result:
        resized = _resize(deployment, sets)
        complete = not resized and progress.is_complete(deployment, deployment.get("status", {}))
        return self._told(deployment, sets, now, [*resized, *(_clean_up(deployment, sets) if complete else [])])

    def _begin(self, deployment: Object, sets: Sets, view: View, now: datetime) -> Result:
        """Make the set of the present template. A set of that name with another one is a hash collision: count it, try anew."""
        made = revisions.new_set(deployment, sets)
        question = Question(REPLICA_SETS, made["metadata"]["namespace"], made["metadata"]["name"])
        if any(isinstance(error, AlreadyExists) for error in view.errors):
            answer = view.answers.get(question)
            if answer is None:
                return Result(questions=[question])
            if isinstance(answer, dict) and not _is_ours(deployment, answer):
                status = dict(deployment.get("status", {}))
                status["collisionCount"] = status.get("collisionCount", 0) + 1
                return Result(writes.status(DEPLOYMENTS, deployment, status))
        size, name = made["spec"]["replicas"], made["metadata"]["name"]
        said = f"Scaled up replica set {name} from 0 to {size}"
        done = Note(deployment, "Normal", "ScalingReplicaSet", said) if size else None
        failed = Note(deployment, "Warning", "ReplicaSetCreateError", f'Failed to create new replica set "{name}": {{error}}')
        refused = [error for error in view.errors if not isinstance(error, AlreadyExists)]
        status = progress.began(deployment, name, str(refused[0]) if refused else "", now)
        if status != deployment.get("status", {}) and refused:
            return Result([Intent(Create(REPLICA_SETS, made), done, failed), *writes.status(DEPLOYMENTS, deployment, status)])
        return Result([Intent(Create(REPLICA_SETS, made), done, failed)])

    @staticmethod
    def _told(deployment: Object, sets: Sets, now: datetime, intents: Sequence[Intent], rolling: bool = True) -> Result:
        status = progress.status_of(deployment, sets, now, rolling=rolling)
        return Result(
            [*intents, *writes.status(DEPLOYMENTS, deployment, status)],
            requeue_after=progress.next_check(deployment, status, now),
        )

    def _of_gone_pod(self, view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
        """A pod matters to us only by being gone or finished: an old one of a Recreate may have been the last."""
        if old is None or (new is not None and not pods.is_finished(new)):
            return
        reference = controller_of(old)
        for owner in view.by_index(REPLICA_SETS, "uid", reference["uid"]) if reference else ():
            yield from self._sets.owners_of(view, None, owner)


def _resize(deployment: Object, sets: Sets) -> list[Intent]:
    return [intent for each in sets.all() for intent in _resized(deployment, each)]


def _resized(deployment: Object, each: Sized) -> list[Intent]:
    before = each.obj["spec"].get("replicas", 1)
    annotations = {**(each.obj["metadata"].get("annotations") or {}), **rollout.size_annotations(deployment)}
    stale = each.active_or_changed and annotations != (each.obj["metadata"].get("annotations") or {})
    if each.replicas == before and not (stale and each.touched):
        return []
    metadata = {**each.obj["metadata"], "annotations": annotations}
    changed = {**each.obj, "metadata": metadata, "spec": {**each.obj["spec"], "replicas": each.replicas}}
    way = "up" if each.replicas > before else "down"
    said = f"Scaled {way} replica set {metadata['name']} from {before} to {each.replicas}"
    done = Note(deployment, "Normal", "ScalingReplicaSet", said) if each.replicas != before else None
    return [Intent(Update(REPLICA_SETS, changed), done, settled_by=(NotFound,))]


def _clean_up(deployment: Object, sets: Sets) -> list[Intent]:
    """Delete the oldest revisions beyond revisionHistoryLimit, of those that are empty and seen to be."""
    limit = deployment["spec"].get("revisionHistoryLimit")
    if limit is None:
        return []
    old = [each.obj for each in sets.old if not each.obj["metadata"].get("deletionTimestamp")]
    surplus = sorted(old, key=revisions.number)[: max(len(old) - limit, 0)]
    return [writes.delete(REPLICA_SETS, obj) for obj in surplus if _is_empty(obj)]


def _is_empty(obj: Object) -> bool:
    status = obj.get("status", {})
    seen = status.get("observedGeneration", 0) >= obj["metadata"].get("generation", 0)
    return seen and not status.get("replicas") and not obj["spec"].get("replicas", 1)


def _is_ours(deployment: Object, found: Object) -> bool:
    return is_controlled_by(found, deployment) and revisions.same_template(found, deployment)
