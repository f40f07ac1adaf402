"""Resizing pods in place. Pure: what the node has granted a pod, whether it can grant what is asked for now, what follows for each run.

A pod runs with what was granted; what its spec asks for beyond waits (PodResizePending) until the node has room. What was granted
stands in the pod's own status, where an agent that starts anew finds it. Source: KEP-1287, upstream's allocation manager.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field

from moorings_core.ports.objects import Object
from moorings_core.ports.runtime import Resources
from moorings_core.registry.amounts import Amounts, add, amounts, pod_total

from .observed import Observed, ObservedContainer
from .spec import RESOURCES, resources

PENDING, IN_PROGRESS = "PodResizePending", "PodResizeInProgress"
CONDITIONS = (PENDING, IN_PROGRESS)
RESIZABLE = ("cpu", "memory")
FIELDS = ("containers", "initContainers")
Granted = Mapping[str, Object]
"""container -> its requests and limits"""


@dataclass(slots=True)
class Resizing:
    """What the agent keeps of a pod's resources between looks."""

    granted: Granted | None = None
    pending: str = ""
    """why what is asked for can't be granted now"""
    running: bool = False
    """whether what was granted is not yet what all containers have"""
    error: str = ""
    applied: dict[str, Applied] = field(default_factory=dict)
    """by container id"""


@dataclass(frozen=True, slots=True)
class Applied:
    """What a run has: as limits of its cgroup, and as the API says it."""

    limits: Resources
    resources: Object


@dataclass(frozen=True, slots=True)
class Update:
    """Change the limits of a run, or, where its policy says so, end it so that it starts with the new ones."""

    run: ObservedContainer
    limits: Resources
    resources: Object
    restart: bool
    less_memory: bool


def asked(pod: Object) -> Granted:
    """Return what a pod asks for now."""
    return {c["name"]: c.get("resources") or {} for c in _containers(pod)}


def granted_before(pod: Object) -> Granted:
    """Return what was granted a pod by what its status says; what its spec says where there is nothing yet."""
    status = pod.get("status") or {}
    known = {s["name"]: s for f in ("containerStatuses", "initContainerStatuses") for s in status.get(f) or ()}
    return {name: _as_granted(wanted, known.get(name) or {}) for name, wanted in asked(pod).items()}


def _as_granted(wanted: Object, status: Object) -> Object:
    if "resources" not in status:
        return wanted
    requests = status.get("allocatedResources") or {}
    return {**status["resources"], **({"requests": requests} if requests else {})}


def with_granted(pod: Object, granted: Granted) -> Object:
    """Return the pod as it is to run: with what it was granted."""
    spec = dict(pod["spec"])
    for kind in FIELDS:
        if kind in spec:
            spec[kind] = [{**c, "resources": granted.get(c["name"], c.get("resources") or {})} for c in spec[kind]]
    return {**pod, "spec": spec}


def shortage(pod: Object, others: Iterable[Object], allocatable: Mapping[str, str]) -> str:
    """Return why a node has no room for a pod beside others, all with what they were granted; "" where it has."""
    wanted, used = pod_total(pod, "requests", overhead=True), Amounts()
    for other in others:
        used = add(used, pod_total(other, "requests", overhead=True))
    room = amounts(allocatable)
    for name in RESIZABLE:
        if name not in wanted or name not in room:
            continue
        need, taken, all_ = (_whole(name, found.get(name)) for found in (wanted, used, room))
        if need + taken > all_:
            return f"Node didn't have enough resource: {name}, requested: {need}, used: {taken}, capacity: {all_}"
    return ""


def plan(pod: Object, observed: Observed, applied: dict[str, Applied], memory: int) -> list[Update]:
    """Return the runs whose limits are not those granted; `applied` learns of runs seen for the first time.

    memory: the node's, in bytes.
    """
    updates: list[Update] = []
    containers = {c["name"]: c for c in _containers(pod)}
    alive = {run.state.id for run in observed.running}
    for gone in applied.keys() - alive:
        del applied[gone]
    for run in observed.running:
        container = containers.get(run.state.name)
        if container is None:
            continue
        wanted, given = resources(pod, container, memory), container.get("resources") or {}
        known = applied.setdefault(run.state.id, Applied(_limits_at_start(run, wanted), given))
        if _same(known.limits, wanted):
            applied[run.state.id] = Applied(wanted, given)
        else:
            less = bool(wanted.memory and (not known.limits.memory or wanted.memory < known.limits.memory))
            updates.append(Update(run, wanted, given, _must_restart(container, known.limits, wanted), less))
    return updates


def conditions(resizing: Resizing, generation: int | None) -> list[Object]:
    """Return the conditions that tell how far a resize is; none where nothing is asked for that is not there."""
    found: list[Object] = []
    if resizing.pending:
        found.append({"type": PENDING, "status": "True", "reason": "Deferred", "message": resizing.pending})
    if resizing.running:
        failed = {"reason": "Error", "message": resizing.error} if resizing.error else {}
        found.append({"type": IN_PROGRESS, "status": "True", **failed})
    return [{**c, **({"observedGeneration": generation} if generation is not None else {})} for c in found]


def summary(pod: Object, prefix: str, error: str = "") -> str:
    """Return the text of an event about a resize."""
    told: Object = {
        kind: [{"name": c["name"], "resources": c.get("resources") or {}} for c in pod["spec"].get(kind) or ()] for kind in FIELDS
    }
    told |= {"generation": pod["metadata"].get("generation", 0)} | ({"error": error} if error else {})
    return f"{prefix}: {json.dumps({k: v for k, v in told.items() if v}, separators=(',', ':'))}"


def _containers(pod: Object) -> Iterator[Object]:
    for kind in FIELDS:
        yield from pod["spec"].get(kind) or ()


def _limits_at_start(run: ObservedContainer, otherwise: Resources) -> Resources:
    """Return what a run was made with, as its annotation says."""
    text = run.detail.annotations.get(RESOURCES)
    return Resources(**json.loads(text)) if text else otherwise


def _same(a: Resources, b: Resources) -> bool:
    """The out-of-memory score is given at birth and stays."""
    left, right = asdict(a), asdict(b)
    return all(left[k] == right[k] for k in left if k != "oom_score_adj")


def _must_restart(container: Object, known: Resources, wanted: Resources) -> bool:
    changed = {"memory": known.memory != wanted.memory, "cpu": (known.cpu_shares, known.cpu_quota) != (wanted.cpu_shares, wanted.cpu_quota)}
    policies = {p["resourceName"]: p["restartPolicy"] for p in container.get("resizePolicy") or ()}
    return any(differs and policies.get(name) == "RestartContainer" for name, differs in changed.items())


def _whole(name: str, found: object) -> int:
    """Return an amount in the units that the message shows: thousandths of cpus, bytes."""
    value = getattr(found, "value", 0)
    return int(value * 1000) if name == "cpu" else int(value)
