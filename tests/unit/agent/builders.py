"""Pods and what a runtime has of them, in few words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moorings_core.agent.observed import Observed, ObservedContainer
from moorings_core.ports.runtime import ContainerDetail, ContainerState, SandboxState

Object = dict[str, Any]


def container(name: str = "main", **fields: Any) -> Object:
    """Return a container."""
    return {"name": name, "image": "example/i:1", **fields}


def sidecar(name: str, **fields: Any) -> Object:
    """Return an init container that keeps running."""
    return container(name, restartPolicy="Always", **fields)


def pod(*containers: Object, status: Object | None = None, **spec: Any) -> Object:
    """Return a pod named p with uid u."""
    metadata = {"name": "p", "namespace": "n", "uid": "u"}
    return {"metadata": metadata, "spec": {"containers": list(containers) or [container()], **spec}, "status": status or {}}


def sandbox(id_: str = "s0", attempt: int = 0, ready: bool = True) -> SandboxState:
    """Return a sandbox."""
    return SandboxState(id_, "p", "n", "u", attempt, ready, 0.0)


def run(
    name: str = "main",
    state: str = "running",
    code: int = 0,
    attempt: int = 0,
    in_sandbox: str = "s0",
    started: float = 0.0,
    finished: float = 0.0,
    reason: str = "",
) -> ObservedContainer:
    """Return a run of a container; its id is NAME-ATTEMPT."""
    identity = f"{name}-{attempt}"
    detail = ContainerDetail(state, started, finished, code, reason, "", "example/i:1", "sha256:1", "", {})
    return ObservedContainer(ContainerState(identity, in_sandbox, name, attempt, state, started), detail)


def observed(
    *runs: ObservedContainer, sandboxes: Sequence[SandboxState] = (sandbox(),), addresses: tuple[str, ...] = ("10.0.0.1",)
) -> Observed:
    """Return what a runtime has of a pod."""
    found: dict[str, list[ObservedContainer]] = {}
    for one in sorted(runs, key=lambda r: -r.state.attempt):
        found.setdefault(one.state.name, []).append(one)
    return Observed(sandboxes, found, addresses)
