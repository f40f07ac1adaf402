"""Containers that have ended and may not run again: what a status may not take back.

Source: upstream's ValidateContainerStateTransition and its like for init and ephemeral containers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from moorings_core.ports.objects import Object
from moorings_core.registry.restarts import should_restart

from .errors import FieldError, Path, forbidden

ALL = "RestartAllContainers"
TAKEN_BACK = "may not be transitioned to non-terminated state"


def check_transitions(status: Object, before: Object, spec: Object, path: Path) -> list[FieldError]:
    """Return the containers that a status says to run, wait or be nothing, though they have ended for good; spec is the pod's before."""
    found: list[FieldError] = []
    if not _restarts_all(spec):
        for field, of in (("containerStatuses", "containers"), ("initContainerStatuses", "initContainers")):
            by_name = {container.get("name"): container for container in reversed(spec.get(of) or ())}
            found += _taken_back(status.get(field) or (), before.get(field) or (), path / field, by_name, spec)
    field = "ephemeralContainerStatuses"
    return found + _taken_back(status.get(field) or (), before.get(field) or (), path / field, {}, spec)


def _restarts_all(spec: Object) -> bool:
    """Whether a container of the pod can start all others again, whatever they say themselves."""
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    return any(rule.get("action") == ALL for container in containers for rule in container.get("restartPolicyRules") or ())


def _taken_back(
    given: Sequence[Object], before: Sequence[Object], path: Path, by_name: Mapping[str, Object], spec: Object
) -> list[FieldError]:
    running = {status.get("name") for status in given if _ended(status) is None}
    found: list[FieldError] = []
    for i, status in enumerate(before):
        ended, name = _ended(status), status.get("name") or ""
        if ended is None or name not in running:
            continue
        container = by_name.get(name)
        policy = spec.get("restartPolicy") or "Always"
        if container is None or not should_restart(container, policy, ended.get("exitCode") or 0):
            found.append(forbidden(path.at(i) / "state", TAKEN_BACK))
    return found


def _ended(status: Object) -> Object | None:
    state: Object | None = (status.get("state") or {}).get("terminated")
    return state
