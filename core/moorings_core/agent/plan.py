"""What to do next for one pod. Pure: pod, what the runtime has, what probes say and the time go in; operations come out.

Init containers run in order, each to its end; sidecars (restartPolicy Always) must have started; then all containers run at once.
What ended is started again as the restart policy says, later each time. Source: upstream's pod lifecycle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from moorings_core.ports.objects import Object

from .observed import Observed, ObservedContainer

BACKOFF_RESET = 600.0
"""A container that ran this long starts without delay again (seconds)."""


@dataclass(frozen=True, slots=True)
class CreateSandbox:
    """Make the pod's sandbox."""

    attempt: int


@dataclass(frozen=True, slots=True)
class StartContainer:
    """Run a container for the attempt-th time."""

    name: str
    attempt: int


@dataclass(frozen=True, slots=True)
class KillContainer:
    """End a run: probes say it is not well."""

    id: str
    name: str
    reason: str


Operation = CreateSandbox | StartContainer | KillContainer


@dataclass(frozen=True, slots=True)
class ProbeView:
    """What probes say of one run: None: not known yet."""

    started: bool | None = None
    ready: bool | None = None
    alive: bool | None = None


@dataclass(slots=True)
class Memory:
    """What the agent remembers of a pod between looks: how often each container failed in a row, and until when it waits."""

    failures: dict[str, int] = field(default_factory=dict)
    counted: dict[str, str] = field(default_factory=dict)
    not_before: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds of the first delay and of the longest."""

    first: float
    most: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, and when to look again (seconds; None: when something happens)."""

    operations: tuple[Operation, ...] = ()
    after: float | None = None


def is_sidecar(container: Object) -> bool:
    """Whether an init container is one that keeps running."""
    return container.get("restartPolicy") == "Always"


def finished_phase(pod: Object, observed: Observed) -> str:
    """Return Succeeded or Failed once nothing of the pod will run again, else ""."""
    spec = pod["spec"]
    policy = spec.get("restartPolicy", "Always")
    for container in spec.get("initContainers", ()):
        run = observed.latest(container["name"])
        if is_sidecar(container):
            continue
        if run is not None and run.exited and run.detail.exit_code != 0 and policy == "Never":
            return "Failed"
    if policy == "Always":
        return ""
    runs = [observed.latest(c["name"]) for c in spec["containers"]]
    if any(run is None or not run.exited for run in runs):
        return ""
    codes = [run.detail.exit_code for run in runs if run is not None]
    if not any(codes):
        return "Succeeded"
    return "Failed" if policy == "Never" else ""


def plan(
    pod: Object,
    observed: Observed,
    probes: Mapping[str, ProbeView],
    memory: Memory,
    backoff: Backoff,
    now: float,
) -> Plan:
    """Return the next operations for a pod that is to run; memory is brought up to date."""
    if observed.sandbox is None:
        attempt = max((s.attempt + 1 for s in observed.sandboxes), default=0)
        return Plan((CreateSandbox(attempt),))
    spec = pod["spec"]
    operations: list[Operation] = []
    waits: list[float] = []
    for container in spec.get("initContainers", ()):
        done = _initial(container, spec, observed, probes, memory, backoff, now, operations, waits)
        if not done:
            return Plan(tuple(operations), min(waits, default=None))
    for container in spec["containers"]:
        _regular(container, spec.get("restartPolicy", "Always"), observed, probes, memory, backoff, now, operations, waits)
    return Plan(tuple(operations), min(waits, default=None))


def _initial(
    container: Object,
    spec: Object,
    observed: Observed,
    probes: Mapping[str, ProbeView],
    memory: Memory,
    backoff: Backoff,
    now: float,
    operations: list[Operation],
    waits: list[float],
) -> bool:
    """Plan one init container; return whether the next one may run."""
    name, run = container["name"], observed.latest(container["name"])
    if is_sidecar(container):
        _regular(container, "Always", observed, probes, memory, backoff, now, operations, waits)
        view = probes.get(run.state.id, ProbeView()) if run else ProbeView()
        started = view.started is not False if not container.get("startupProbe") else bool(view.started)
        return run is not None and run.running and started
    if run is not None and run.exited and run.detail.exit_code == 0:
        return True
    main_started = any(observed.latest(c["name"]) for c in spec["containers"])
    if run is None and main_started:
        return True  # it ran before; the runtime has forgotten it
    policy = "Never" if spec.get("restartPolicy") == "Never" else "OnFailure"
    _restart(name, run, policy, observed, memory, backoff, now, operations, waits)
    return False


def _regular(
    container: Object,
    policy: str,
    observed: Observed,
    probes: Mapping[str, ProbeView],
    memory: Memory,
    backoff: Backoff,
    now: float,
    operations: list[Operation],
    waits: list[float],
) -> None:
    name, run = container["name"], observed.latest(container["name"])
    if run is not None and run.running:
        view = probes.get(run.state.id, ProbeView())
        if view.alive is False:
            probe = "liveness" if view.started is not False else "startup"
            reason = f"Container {name} failed {probe} probe, will be restarted"
            operations.append(KillContainer(run.state.id, name, reason))
        return
    _restart(name, run, policy, observed, memory, backoff, now, operations, waits)


def _restart(
    name: str,
    run: ObservedContainer | None,
    policy: str,
    observed: Observed,
    memory: Memory,
    backoff: Backoff,
    now: float,
    operations: list[Operation],
    waits: list[float],
) -> None:
    """Start a container that does not run, if its policy says so and its delay is over."""
    if run is not None and run.detail.state == "running":
        return
    if run is not None and run.exited:
        if policy == "Never" or (policy == "OnFailure" and run.detail.exit_code == 0):
            return
        _count(name, run, memory, backoff)
    wait = memory.not_before.get(name, 0.0) - now
    if wait > 0:
        waits.append(wait)
        return
    operations.append(StartContainer(name, observed.attempts(name)))


def _count(name: str, run: ObservedContainer, memory: Memory, backoff: Backoff) -> None:
    """Note an ended run once: the first restart is immediate, the next ones wait twice as long each time."""
    if memory.counted.get(name) == run.state.id:
        return
    memory.counted[name] = run.state.id
    if run.detail.finished - run.detail.started > BACKOFF_RESET:
        memory.failures[name] = 0
    failures = memory.failures.get(name, 0)
    memory.failures[name] = failures + 1
    if failures:
        delay = min(backoff.first * 2 ** (failures - 1), backoff.most)
        memory.not_before[name] = run.detail.finished + delay
