"""What controllers ask of a pod: is it active, ready, available; which of several to delete first; making one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from moorings_core.ports.objects import Object

from . import conditions, moments
from .ownership import reference_to

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def phase(pod: Object) -> str:
    """Return status.phase, Pending when there is none yet."""
    return str(pod.get("status", {}).get("phase") or "Pending")


def is_finished(pod: Object) -> bool:
    """Whether it has Succeeded or Failed for good."""
    return phase(pod) in ("Succeeded", "Failed")


def is_terminating(pod: Object) -> bool:
    """Whether its deletion has begun."""
    return bool(pod["metadata"].get("deletionTimestamp"))


def is_active(pod: Object) -> bool:
    """Whether it counts as a replica."""
    return not is_finished(pod) and not is_terminating(pod)


def is_ready(pod: Object) -> bool:
    """Whether its Ready condition is True."""
    return conditions.is_true(pod, "Ready")


def is_available(pod: Object, min_ready: int, now: datetime) -> bool:
    """Whether it has been ready for min_ready seconds."""
    condition = conditions.find(pod, "Ready")
    if condition is None or condition.get("status") != "True":
        return False
    return min_ready == 0 or moments.since(condition.get("lastTransitionTime"), now) >= min_ready


def from_template(template: Object, owner: Object, prefix: str) -> Object:
    """Return a pod of a template, controlled by owner, with a name made from prefix by the API."""
    metadata = template.get("metadata") or {}
    made: Object = {
        "generateName": prefix,
        "namespace": owner["metadata"]["namespace"],
        "labels": dict(metadata.get("labels") or {}),
        "ownerReferences": [reference_to(owner)],
    }
    for field in ("annotations", "finalizers"):
        if metadata.get(field):
            made[field] = metadata[field].copy()
    return {"apiVersion": "v1", "kind": "Pod", "metadata": made, "spec": template["spec"]}


def to_delete(pods: Sequence[Object], related: Sequence[Object], count: int, now: datetime) -> Sequence[Object]:
    """Return the `count` pods whose loss costs least (upstream's ActivePodsWithRanks).

    In order: unassigned, pending, not ready, cheap by annotation, on a node crowded by `related` ones, ready for the shortest
    time (by powers of two, so that the choice is not always the newest), restarted often, young.
    """
    crowd = Counter(pod["spec"].get("nodeName", "") for pod in related if is_active(pod))

    def cost(pod: Object) -> tuple[object, ...]:
        condition = conditions.find(pod, "Ready") or {}
        ready = condition.get("status") == "True"
        age = _magnitude(moments.since(condition.get("lastTransitionTime"), now)) if ready else 0
        restarts = max((c.get("restartCount", 0) for c in pod.get("status", {}).get("containerStatuses") or ()), default=0)
        young = _magnitude(moments.since(pod["metadata"].get("creationTimestamp"), now))
        node = pod["spec"].get("nodeName", "")
        place = -crowd[node] if node else 0
        order = (bool(node), PHASES.get(phase(pod), 2), ready, _deletion_cost(pod), place, age, -restarts, young)
        return (*order, pod["metadata"].get("uid", ""))

    return sorted(pods, key=cost)[:count]


def _magnitude(seconds: float) -> int:
    return int(math.log2(seconds)) + 1 if seconds >= 1 else 0


def _deletion_cost(pod: Object) -> int:
    try:
        return int((pod["metadata"].get("annotations") or {}).get(DELETION_COST, 0))
    except ValueError:
        return 0
