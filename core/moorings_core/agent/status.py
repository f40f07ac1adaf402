"""A pod's status from what the runtime has. Pure; the same input gives the same status, so that only changes are written.

Source: upstream's status generation: phase, conditions, container statuses.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field

from moorings_core.ports.objects import Object
from moorings_core.registry.quality import qos_class

from . import resize
from .observed import Observed, ObservedContainer
from .plan import Memory, ProbeView, finished_phase, is_sidecar
from .resize import Resizing

OWN_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", *resize.CONDITIONS)
"""The types of conditions that the agent writes; all others are somebody else's."""
Waiting = Mapping[str, tuple[str, str]]
"""container -> (reason, message) of why it does not run"""


@dataclass(frozen=True, slots=True)
class View:
    """Everything a status is made from besides the pod."""

    observed: Observed
    probes: Mapping[str, ProbeView]
    waiting: Waiting
    memory: Memory
    host_addresses: tuple[str, ...]
    runtime: str
    now: float
    terminated: bool = False
    messages: Mapping[str, str] = field(default_factory=dict)
    """termination messages by container id"""
    verdict: tuple[str, str] | None = None
    """(reason, message) of why the agent fails the whole pod"""
    resizing: Resizing = field(default_factory=Resizing)


def pod_status(pod: Object, view: View) -> Object:
    """Return the whole status."""
    spec, old = pod["spec"], pod.get("status", {})
    initial = [_container_status(c, pod, view, "initContainerStatuses") for c in spec.get("initContainers", ())]
    regular = [_container_status(c, pod, view, "containerStatuses") for c in spec["containers"]]
    phase = _phase(pod, view, regular)
    status: Object = {
        "phase": phase,
        "qosClass": qos_class(pod),
        "conditions": _conditions(pod, view, initial, regular, phase),
        "startTime": old.get("startTime") or timestamp(view.now),
        "containerStatuses": regular,
    }
    if "generation" in pod["metadata"]:
        status["observedGeneration"] = pod["metadata"]["generation"]
    if initial:
        status["initContainerStatuses"] = initial
    if spec.get("ephemeralContainers"):
        status["ephemeralContainerStatuses"] = [
            _container_status(c, pod, view, "ephemeralContainerStatuses") for c in spec["ephemeralContainers"]
        ]
    if view.host_addresses:
        status["hostIP"] = view.host_addresses[0]
        status["hostIPs"] = [{"ip": a} for a in view.host_addresses]
    addresses = view.host_addresses if spec.get("hostNetwork") else view.observed.addresses
    addresses = addresses or tuple(i["ip"] for i in old.get("podIPs", ()))
    if addresses:
        status["podIP"] = addresses[0]
        status["podIPs"] = [{"ip": a} for a in addresses]
    for field_ in ("reason", "message", "nominatedNodeName"):
        if field_ in old:
            status[field_] = old[field_]
    if view.verdict:
        status["reason"], status["message"] = view.verdict
    return status


def timestamp(seconds: float) -> str:
    """Return a time as the API writes it."""
    return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _phase(pod: Object, view: View, statuses: list[Object]) -> str:
    old = pod.get("status", {}).get("phase")
    if old in ("Succeeded", "Failed"):
        return str(old)
    if view.verdict:
        return "Failed" if view.terminated else "Running"
    ended = finished_phase(pod, view.observed)
    if ended and not view.observed.running:
        return ended
    if view.terminated:
        codes = [s["state"].get("terminated", {}).get("exitCode", 0) for s in statuses]
        return "Failed" if any(codes) else "Succeeded"
    begun = any("running" in s["state"] or "terminated" in s["state"] or s.get("lastState") for s in statuses)
    return "Running" if begun else "Pending"


def _container_status(container: Object, pod: Object, view: View, kind: str) -> Object:
    name = container["name"]
    run, before = view.observed.latest(name), view.observed.previous(name)
    probe = view.probes.get(run.state.id, ProbeView()) if run else ProbeView()
    running = run is not None and run.running
    started = running and (bool(probe.started) if container.get("startupProbe") else True)
    has_readiness = bool(container.get("readinessProbe"))
    initial = kind == "initContainerStatuses" and not is_sidecar(container)
    if initial:
        ready = run is not None and run.exited and run.detail.exit_code == 0
    else:
        ready = started and (bool(probe.ready) if has_readiness else True)
    state, last = _state(container, pod, view, run)
    status: Object = {
        "name": name,
        "image": container["image"],
        "imageID": run.detail.image_ref if run else "",
        "ready": ready,
        "started": started,
        "restartCount": run.state.attempt if run else max(view.observed.attempts(name) - 1, 0),
        "state": state,
        "lastState": last or ({"terminated": _terminated(before, view)} if before else {}),
    }
    if run is not None:
        status["containerID"] = f"{view.runtime}://{run.state.id}"
        status |= _resources(name, run, view.resizing)
    return status


def _resources(name: str, run: ObservedContainer, resizing: Resizing) -> Object:
    """Return what a container was granted and what it has."""
    granted = (resizing.granted or {}).get(name)
    if granted is None:
        return {}
    known = resizing.applied.get(run.state.id) if run.running else None
    requests = granted.get("requests")
    return {"resources": known.resources if known else granted} | ({"allocatedResources": requests} if requests else {})


def _state(container: Object, pod: Object, view: View, run: ObservedContainer | None) -> tuple[Object, Object]:
    """Return (state, lastState) of a container; lastState is {} where an earlier run says it."""
    name = container["name"]
    if run is not None and run.running:
        return {"running": {"startedAt": timestamp(run.detail.started)}}, {}
    waiting = view.waiting.get(name)
    if run is not None and run.exited:
        ended = _terminated(run, view)
        delayed = view.memory.not_before.get(name, 0) > view.now and not view.terminated
        if delayed and view.memory.counted.get(name) == run.state.id:
            wait = view.memory.not_before[name] - run.detail.finished
            where = f"{pod['metadata']['name']}_{pod['metadata']['namespace']}({pod['metadata']['uid']})"
            text = f"back-off {wait:g}s restarting failed container={name} pod={where}"
            return {"waiting": {"reason": "CrashLoopBackOff", "message": text}}, {"terminated": ended}
        if waiting:
            return {"waiting": _waiting(*waiting)}, {"terminated": ended}
        return {"terminated": ended}, {}
    if waiting:
        return {"waiting": _waiting(*waiting)}, {}
    default = "PodInitializing" if pod["spec"].get("initContainers") else "ContainerCreating"
    return {"waiting": {"reason": default}}, {}


def _waiting(reason: str, message: str) -> Object:
    return {"reason": reason, "message": message} if message else {"reason": reason}


def _terminated(run: ObservedContainer, view: View) -> Object:
    detail = run.detail
    reason = detail.reason or ("Completed" if detail.exit_code == 0 else "Error")
    found: Object = {
        "exitCode": detail.exit_code,
        "reason": reason,
        "startedAt": timestamp(detail.started),
        "finishedAt": timestamp(detail.finished),
        "containerID": f"{view.runtime}://{run.state.id}",
    }
    message = view.messages.get(run.state.id) or detail.message
    return found | ({"message": message} if message else {})


def _conditions(pod: Object, view: View, initial: list[Object], regular: list[Object], phase: str) -> list[Object]:
    specs = {c["name"]: c for c in pod["spec"].get("initContainers", ())}
    unready = [s["name"] for s in [*regular, *(s for s in initial if is_sidecar(specs[s["name"]]))] if not s["ready"]]
    uninitialized = [s["name"] for s in initial if not (s["started"] if is_sidecar(specs[s["name"]]) else s["ready"])]
    done = phase in ("Succeeded", "Failed")
    containers = _ready_condition("ContainersReady", unready, phase)
    wanted = [
        {"type": "PodReadyToStartContainers", "status": _truth(view.observed.sandbox is not None)},
        _incomplete("Initialized", uninitialized, phase),
        _with_gates(pod, containers),
        containers,
    ]
    if not done:
        wanted += resize.conditions(view.resizing, pod["metadata"].get("generation"))
    if done:
        wanted[1] = {"type": "Initialized", "status": "True", "reason": "PodCompleted"} if phase == "Succeeded" else wanted[1]
    known = {c["type"]: c for c in pod.get("status", {}).get("conditions", ())}
    own = {c["type"] for c in wanted}
    others = [c for t, c in known.items() if t not in own and t not in resize.CONDITIONS]
    return [*(_since(c, known.get(c["type"]), view.now) for c in wanted), *others]


def _ready_condition(kind: str, unready: list[str], phase: str) -> Object:
    if phase == "Succeeded":
        return {"type": kind, "status": "False", "reason": "PodCompleted"}
    if phase == "Failed":
        return {"type": kind, "status": "False", "reason": "PodFailed"}
    if unready:
        text = f"containers with unready status: [{' '.join(unready)}]"
        return {"type": kind, "status": "False", "reason": "ContainersNotReady", "message": text}
    return {"type": kind, "status": "True"}


def _with_gates(pod: Object, containers: Object) -> Object:
    ready = {**containers, "type": "Ready"}
    known = {c["type"]: c["status"] for c in pod.get("status", {}).get("conditions", ())}
    missing = [g["conditionType"] for g in pod["spec"].get("readinessGates", ()) if known.get(g["conditionType"]) != "True"]
    if ready["status"] == "True" and missing:
        text = f"the status of pod readiness gate {missing[0]!r} is not True"
        return {"type": "Ready", "status": "False", "reason": "ReadinessGatesNotReady", "message": text}
    return ready


def _incomplete(kind: str, names: list[str], phase: str) -> Object:
    if not names:
        return {"type": kind, "status": "True"}
    text = f"containers with incomplete status: [{' '.join(names)}]"
    return {"type": kind, "status": "False", "reason": "ContainersNotInitialized", "message": text}


def _since(condition: Object, known: Object | None, now: float) -> Object:
    """Add when the condition came to be as it is."""
    same = known is not None and known["status"] == condition["status"]
    changed = known.get("lastTransitionTime") if same and known else timestamp(now)
    return {**condition, "lastProbeTime": None, "lastTransitionTime": changed or timestamp(now)}


def _truth(value: bool) -> str:
    return "True" if value else "False"
