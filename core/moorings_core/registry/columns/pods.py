"""Columns of pods: the status word says what a human wants to know first."""

from __future__ import annotations

import datetime

from moorings_core.ports.objects import Object

from .column import AGE, NAME, NONE, Column, age, field


def status_word(pod: Object) -> str:
    """Return the STATUS column: phase, or the reason of what holds the pod up."""
    status, spec = pod.get("status", {}), pod["spec"]
    word: str = status.get("reason") or status.get("phase", "Pending")
    gates = next((c for c in status.get("conditions", ()) if c["type"] == "PodScheduled" and c.get("reason") == "SchedulingGated"), None)
    if gates:
        word = "SchedulingGated"
    initial = _initial_word(spec, status.get("initContainerStatuses", ()))
    word = initial or _running_word(status.get("containerStatuses", ()), word, _is_ready(status))
    if "deletionTimestamp" in pod["metadata"]:
        return "Unknown" if status.get("reason") == "NodeLost" else _terminating(word, status)
    return word


def _terminating(word: str, status: Object) -> str:
    return word if status.get("phase") in ("Succeeded", "Failed") else "Terminating"


def _initial_word(spec: Object, statuses: list[Object]) -> str:
    sidecars = {c["name"] for c in spec.get("initContainers", ()) if c.get("restartPolicy") == "Always"}
    total = len(spec.get("initContainers", ()))
    for i, container in enumerate(statuses):
        state = container.get("state", {})
        terminated, waiting = state.get("terminated"), state.get("waiting")
        if terminated and terminated.get("exitCode") == 0:
            continue
        if container["name"] in sidecars and container.get("started"):
            continue
        if terminated:
            return f"Init:{_ended(terminated)}"
        if waiting and waiting.get("reason") not in (None, "", "PodInitializing"):
            return f"Init:{waiting['reason']}"
        return f"Init:{i}/{total}"
    return ""


def _running_word(statuses: list[Object], word: str, ready: bool) -> str:
    running = False
    for container in reversed(statuses):
        state = container.get("state", {})
        waiting, terminated = state.get("waiting"), state.get("terminated")
        if waiting and waiting.get("reason"):
            word = waiting["reason"]
        elif terminated:
            word = _ended(terminated)
        elif container.get("ready") and "running" in state:
            running = True
    if word == "Completed" and running:
        return "Running" if ready else "NotReady"
    return word


def _ended(terminated: Object) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _is_ready(status: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", ()))


def _counted(pod: Object) -> list[Object]:
    """Statuses of the containers that READY and RESTARTS count: regular ones and sidecars."""
    sidecars = {c["name"] for c in pod["spec"].get("initContainers", ()) if c.get("restartPolicy") == "Always"}
    status = pod.get("status", {})
    return [*status.get("containerStatuses", ()), *(s for s in status.get("initContainerStatuses", ()) if s["name"] in sidecars)]


def _ready(pod: Object, _: datetime.datetime) -> str:
    sidecars = sum(c.get("restartPolicy") == "Always" for c in pod["spec"].get("initContainers", ()))
    total = len(pod["spec"].get("containers", ())) + sidecars
    return f"{sum(bool(s.get('ready')) for s in _counted(pod))}/{total}"


def _restarts(pod: Object, now: datetime.datetime) -> str:
    statuses = _counted(pod)
    count = sum(s.get("restartCount", 0) for s in statuses)
    ends = [s["lastState"]["terminated"].get("finishedAt") for s in statuses if (s.get("lastState") or {}).get("terminated")]
    last = max(filter(None, ends), default=None)
    return f"{count} ({age(last, now)} ago)" if count and last else str(count)


def _gates(pod: Object, _: datetime.datetime) -> str:
    gates = [g["conditionType"] for g in pod["spec"].get("readinessGates", ())]
    if not gates:
        return NONE
    true = {c["type"] for c in pod.get("status", {}).get("conditions", ()) if c["status"] == "True"}
    return f"{sum(g in true for g in gates)}/{len(gates)}"


COLUMNS = {
    ("", "pods"): (
        NAME,
        Column("Ready", _ready),
        Column("Status", lambda pod, _: status_word(pod)),
        Column("Restarts", _restarts),
        AGE,
        field("IP", "status.podIP", priority=1),
        field("Node", "spec.nodeName", priority=1),
        field("Nominated Node", "status.nominatedNodeName", priority=1),
        Column("Readiness Gates", _gates, priority=1),
    )
}
