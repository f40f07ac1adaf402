"""Statuses of pods that say of containers which have ended that they have not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .cases import MERGE, STRATEGIC, Case, obj, path
from .peers import Request

PODS = path("v1", "pods")
RUNNING, WAITING = {"running": {}}, {"waiting": {"reason": "PodInitializing"}}
ON_SEVEN = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [7]}}]
ALL_ON_SEVEN = [{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [7]}}]
LISTS = {"containerStatuses": "main", "initContainerStatuses": "first", "ephemeralContainerStatuses": "look"}


def ended() -> Iterator[Case]:
    """Yield every case of this file."""
    yield "ended: the account", [Request("POST", path("v1", "serviceaccounts"), obj("v1", "ServiceAccount", "default"))]
    for policy in ("Always", "OnFailure", "Never"):
        for code in (0, 1):
            yield f"ended: {policy} with {code}", _life(f"{policy}-{code}".lower(), code, restartPolicy=policy)
    own: dict[str, dict[str, Any]] = {
        "always": {"restartPolicy": "Always"},
        "onfailure": {"restartPolicy": "OnFailure"},
        "rules": {"restartPolicy": "Never", "restartPolicyRules": ON_SEVEN},
        "all": {"restartPolicy": "Never", "restartPolicyRules": ALL_ON_SEVEN},
    }
    for name, fields in own.items():
        for code in (0, 7):
            yield f"ended: its own policy: {name} with {code}", _life(f"own-{name}-{code}", code, fields, restartPolicy="Never")
    yield "ended: one that the pod does not have", _life("ghost", 1, restartPolicy="Always", names=("ghost",) * 3)


def _life(name: str, code: int, own: dict[str, Any] | None = None, names: tuple[str, ...] = (), **spec: Any) -> list[Request]:
    """Return a pod's way: its containers end, and then run, wait, end otherwise or have no state."""
    one = path("v1", "pods", name)
    containers = [{"name": "main", "image": "example.org/web", **(own or {})}]
    pod = obj(
        "v1", "Pod", name, spec={"containers": containers, "initContainers": [{"name": "first", "image": "example.org/first"}], **spec}
    )
    look = {"spec": {"ephemeralContainers": [{"name": "look", "image": "example.org/look"}]}}
    finished = {"terminated": {"exitCode": code, "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:01Z"}}
    named = dict(zip(LISTS, names, strict=True)) if names else LISTS
    made = [Request("POST", PODS, pod), Request("PATCH", f"{one}/ephemeralcontainers", look, STRATEGIC)]
    steps = []
    for field, container in named.items():
        states = (RUNNING, finished, RUNNING, finished, WAITING, finished, {}, finished, {"terminated": {"exitCode": 3}})
        steps += [_said(one, field, container, state) for state in states]
    return [*made, *steps, Request("DELETE", one, {"gracePeriodSeconds": 0})]


def _said(one: str, field: str, container: str, state: dict[str, Any]) -> Request:
    status = {"name": container, "image": "", "imageID": "", "ready": False, "restartCount": 0, "state": state}
    return Request("PATCH", f"{one}/status", {"status": {field: [status]}}, MERGE)
