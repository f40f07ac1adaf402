"""The status of a Deployment: counts and the conditions Available, Progressing, ReplicaFailure.

`kubectl rollout status` waits on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from moorings_core.ports.objects import Object

from . import conditions, moments, revisions, rollout
from .rollout import Sets

NEVER = 2**31 - 1  # progressDeadlineSeconds that means no deadline


def status_of(deployment: Object, sets: Sets, now: datetime, *, rolling: bool) -> Object:
    """Return the status as it should be; without `rolling` (paused, or only scaled) progress is not judged."""
    status = _counts(deployment, sets)
    told = list(deployment.get("status", {}).get("conditions") or ())
    told = conditions.put(told, _available(deployment, status, now))
    if rolling:
        told = _progress(deployment, sets, status, told, now)
        failure = _failure(sets)
        told = conditions.put(told, failure) if failure else conditions.without(told, "ReplicaFailure")
    status["conditions"] = told
    return status


def is_complete(deployment: Object, status: Object) -> bool:
    """Whether all pods are of the present template and available, and no old one is left."""
    want = rollout.wanted(deployment)
    counts = (status.get("updatedReplicas", 0), status.get("replicas", 0), status.get("availableReplicas", 0))
    return counts == (want, want, want) and status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)


def note_new(deployment: Object, sets: Sets, now: datetime) -> Object:
    """Return the status with a set that has just become the new one told in Progressing: the deadline begins anew."""
    status: Object = deployment.get("status", {})
    if sets.new is None or not _has_deadline(deployment) or revisions.number(sets.new.obj) <= revisions.number(deployment):
        return status
    name, fresh = sets.new.obj["metadata"]["name"], not sets.new.obj.get("status", {}).get("observedGeneration")
    told, current = status.get("conditions") or (), conditions.find(deployment, "Progressing")
    if current is not None and current.get("message", "").endswith(f' new replica set "{name}"'):
        return status
    words = ("NewReplicaSetCreated", "Created") if fresh else ("FoundNewReplicaSet", "Found")
    new = _condition("Progressing", "True", words[0], f'{words[1]} new replica set "{name}"', now)
    if current is not None and current.get("status") == "True":
        new["lastTransitionTime"] = current.get("lastTransitionTime", new["lastTransitionTime"])
    return {**status, "conditions": [*conditions.without(told, "Progressing"), new]}


def note_pause(deployment: Object, status: Object, now: datetime) -> Object:
    """Return the status with pausing or resuming told in Progressing, so that the deadline stands still meanwhile."""
    condition = conditions.pick(status.get("conditions") or (), "Progressing")
    reason = (condition or {}).get("reason")
    paused = bool(deployment["spec"].get("paused"))
    if not _has_deadline(deployment) or reason == "ProgressDeadlineExceeded" or paused == (reason == "DeploymentPaused"):
        return status
    words = ("DeploymentPaused", "Deployment is paused") if paused else ("DeploymentResumed", "Deployment is resumed")
    told = conditions.put(status.get("conditions") or (), _condition("Progressing", "Unknown", *words, now))
    return {**status, "conditions": told}


def began(deployment: Object, name: str, refusal: str, now: datetime) -> Object:
    """Return the status after the new set could not be made."""
    status: Object = deployment.get("status", {})
    if not refusal or not _has_deadline(deployment):
        return status
    said = f'Failed to create new replica set "{name}": {refusal}'
    new = _condition("Progressing", "False", "ReplicaSetCreateError", said, now)
    return {**status, "conditions": conditions.put(status.get("conditions") or (), new)}


def next_check(deployment: Object, status: Object, now: datetime) -> float | None:
    """Return the seconds until the progress deadline must be looked at again."""
    condition = conditions.pick(status.get("conditions") or (), "Progressing")
    if not _has_deadline(deployment) or condition is None or is_complete(deployment, status):
        return None
    if condition.get("reason") in ("ProgressDeadlineExceeded", "DeploymentPaused", "NewReplicaSetAvailable"):
        return None
    passed = moments.since(condition.get("lastUpdateTime"), now)
    return float(max(deployment["spec"]["progressDeadlineSeconds"] - passed, 0) + 1)


def _counts(deployment: Object, sets: Sets) -> Object:
    statuses = [each.obj.get("status", {}) for each in sets.all()]
    available = sum(s.get("availableReplicas", 0) for s in statuses)
    counts = {
        "observedGeneration": deployment["metadata"].get("generation", 0),
        "replicas": sum(s.get("replicas", 0) for s in statuses),
        "updatedReplicas": sets.new.obj.get("status", {}).get("replicas", 0) if sets.new else 0,
        "readyReplicas": sum(s.get("readyReplicas", 0) for s in statuses),
        "availableReplicas": available,
        "unavailableReplicas": max(rollout.total(sets.all()) - available, 0),
        "collisionCount": deployment.get("status", {}).get("collisionCount", 0),
    }
    status: Object = {name: value for name, value in counts.items() if value}
    status["terminatingReplicas"] = sum(s.get("terminatingReplicas", 0) for s in statuses)
    return status


def _available(deployment: Object, status: Object, now: datetime) -> Object:
    least = rollout.wanted(deployment) - rollout.unavailable(deployment)
    if status.get("availableReplicas", 0) >= least:
        said = "Deployment has minimum availability."
        return _condition("Available", "True", "MinimumReplicasAvailable", said, now)
    said = "Deployment does not have minimum availability."
    return _condition("Available", "False", "MinimumReplicasUnavailable", said, now)


def _progress(deployment: Object, sets: Sets, status: Object, told: Sequence[Object], now: datetime) -> list[Object]:
    if not _has_deadline(deployment):
        return conditions.without(told, "Progressing")
    current = conditions.pick(told, "Progressing")
    settled = status.get("replicas", 0) == status.get("updatedReplicas", 0)
    if settled and current is not None and current.get("reason") == "NewReplicaSetAvailable":
        return list(told)
    name = sets.new.obj["metadata"]["name"] if sets.new else deployment["metadata"]["name"]
    who = f'ReplicaSet "{name}"' if sets.new else f'Deployment "{name}"'
    if is_complete(deployment, status):
        said = f"{who} has successfully progressed."
        return conditions.put(told, _condition("Progressing", "True", "NewReplicaSetAvailable", said, now))
    if current is None or _moved(deployment.get("status", {}), status):
        new = _condition("Progressing", "True", "ReplicaSetUpdated", f"{who} is progressing.", now)
        if current is not None and current.get("status") == "True":
            new["lastTransitionTime"] = current.get("lastTransitionTime", new["lastTransitionTime"])
        return [*conditions.without(told, "Progressing"), new]
    if _timed_out(deployment, current, now):
        said = f"{who} has timed out progressing."
        return conditions.put(told, _condition("Progressing", "False", "ProgressDeadlineExceeded", said, now))
    return list(told)


def _moved(old: Object, new: Object) -> bool:
    """Whether more of the new is there, or less of the old."""

    def former(status: Object) -> int:
        return int(status.get("replicas", 0) - status.get("updatedReplicas", 0))

    more = any(new.get(n, 0) > old.get(n, 0) for n in ("updatedReplicas", "readyReplicas", "availableReplicas"))
    return more or former(new) < former(old)


def _timed_out(deployment: Object, current: Object, now: datetime) -> bool:
    if current.get("reason") in ("NewReplicaSetAvailable", "DeploymentPaused"):
        return False
    deadline = deployment["spec"]["progressDeadlineSeconds"]
    return bool(moments.since(current.get("lastUpdateTime"), now) > deadline)


def _failure(sets: Sets) -> Object | None:
    for each in ([sets.new] if sets.new else []) + sets.all():
        condition = conditions.find(each.obj, "ReplicaFailure")
        if condition is not None:
            return {**condition, "lastUpdateTime": condition.get("lastTransitionTime")}
    return None


def _has_deadline(deployment: Object) -> bool:
    return deployment["spec"].get("progressDeadlineSeconds") not in (None, NEVER)


def _condition(kind: str, status: str, reason: str, message: str, now: datetime) -> Object:
    when = moments.stamp(now)
    times = {"lastUpdateTime": when, "lastTransitionTime": when}
    return {"type": kind, "status": status, **times, "reason": reason, "message": message}
