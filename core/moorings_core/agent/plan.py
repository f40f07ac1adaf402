"""What to do next for one pod. Pure: pod, what the runtime has, what probes say and the time go in; operations come out.

Init containers run in order, each to its end; sidecars (restartPolicy Always) must have started; then all containers run at once.
What ended is started again as the restart policy says, later each time. Source: upstream's pod lifecycle.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field

from moorings_core.ports.objects import Object
from moorings_core.registry.restarts import should_restart

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
    """End a run: probes say it is not well. grace: seconds, where the probe has its own; None: what the pod gives."""

    id: str
    name: str
    reason: str
    grace: float | None = None


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
    resized: set[str] = field(default_factory=set)
    """ids of runs that were ended to start again with other resources"""


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
    """Return Succeeded or Failed once none of the pod's own work will run again, else ""; sidecars may still run."""
    spec = pod["spec"]
    policy = spec.get("restartPolicy", "Always")
    for container in spec.get("initContainers") or ():
        run = observed.latest(container["name"])
        code = run.detail.exit_code if run is not None and run.exited else 0
        if code and not is_sidecar(container) and not should_restart(container, policy, code):
            return "Failed"
    runs = [observed.newest(c["name"]) for c in spec["containers"]]
    if any(run is None or not run.exited for run in runs):
        return ""
    codes = [run.detail.exit_code for run in runs if run is not None]
    if any(should_restart(container, policy, code) for container, code in zip(spec["containers"], codes, strict=True)):
        return ""
    return "Failed" if any(codes) else "Succeeded"


def deadline_left(pod: Object, now: float) -> float | None:
    """Return the seconds until the pod has been active for too long, None where nothing limits it."""
    seconds, start = pod["spec"].get("activeDeadlineSeconds"), (pod.get("status") or {}).get("startTime")
    if seconds is None or start is None:
        return None
    return datetime.datetime.fromisoformat(start).timestamp() + float(seconds) - now


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
    planner = _Planner(observed, probes, memory, backoff, now)
    planner.pod(pod["spec"])
    return Plan(tuple(planner.operations), min(planner.waits, default=None))


class _Planner:
    """One look at a pod whose sandbox lives."""

    def __init__(self, observed: Observed, probes: Mapping[str, ProbeView], memory: Memory, backoff: Backoff, now: float) -> None:
        self._observed, self._probes, self._memory, self._backoff, self._now = observed, probes, memory, backoff, now
        self.operations: list[Operation] = []
        self.waits: list[float] = []

    def pod(self, spec: Object) -> None:
        """Plan all containers. Once a regular one has been started, initial ones hold nobody up any more."""
        for container in spec.get("ephemeralContainers") or ():
            if self._observed.newest(container["name"]) is None:
                self.operations.append(StartContainer(container["name"], 0))
        initialized = any(self._observed.latest(c["name"]) for c in spec["containers"])
        policy = spec.get("restartPolicy", "Always")
        done = True
        for container in spec.get("initContainers") or ():
            if is_sidecar(container):
                done = self._sidecar(container)
            elif not initialized:
                done = self._initial(container, policy)
            if not initialized and not done:
                return
        for container in spec["containers"]:
            self._regular(container, policy)

    def _sidecar(self, container: Object) -> bool:
        """Plan a sidecar; return whether it has started."""
        self._regular(container, "Always")
        run = self._observed.latest(container["name"])
        if run is None or not run.running:
            return False
        view = self._probes.get(run.state.id, ProbeView())
        return bool(view.started) if container.get("startupProbe") else True

    def _initial(self, container: Object, policy: str) -> bool:
        """Plan a container that runs to its end; return whether it got there."""
        run = self._observed.latest(container["name"])
        if run is not None and run.exited and run.detail.exit_code == 0:
            return True
        self._restart(container, run, policy)
        return False

    def _regular(self, container: Object, policy: str) -> None:
        run = self._observed.latest(container["name"])
        if run is not None and run.running:
            self._check(container, run)
        else:
            ended = run or self._observed.newest(container["name"])
            always = (container.get("restartPolicy") or policy) == "Always"
            self._restart(container, None if always and run is None else ended, policy)

    def _check(self, container: Object, run: ObservedContainer) -> None:
        """Kill a run that its probes have given up."""
        view = self._probes.get(run.state.id, ProbeView())
        if view.alive is not False:
            return
        word = "startup" if view.started is False else "liveness"
        probe = container.get(f"{word}Probe") or {}
        reason = f"Container {container['name']} failed {word} probe, will be restarted"
        self.operations.append(KillContainer(run.state.id, container["name"], reason, probe.get("terminationGracePeriodSeconds")))

    def _restart(self, container: Object, run: ObservedContainer | None, policy: str) -> None:
        """Start a container that does not run, if its policy or the pod's says so and its delay is over."""
        name: str = container["name"]
        if run is not None and run.running:
            return
        if run is not None and run.exited and run.state.id in self._memory.resized:
            self.operations.append(StartContainer(name, self._observed.attempts(name)))
            return
        if run is not None and run.exited:
            if not should_restart(container, policy, run.detail.exit_code):
                return
            self._count(name, run)
        wait = self._memory.not_before.get(name, 0.0) - self._now
        if wait > 0:
            self.waits.append(wait)
            return
        self.operations.append(StartContainer(name, self._observed.attempts(name)))

    def _count(self, name: str, run: ObservedContainer) -> None:
        """Note an ended run once: the first restart is immediate, the next ones wait twice as long each time."""
        memory, backoff = self._memory, self._backoff
        if memory.counted.get(name) == run.state.id:
            return
        memory.counted[name] = run.state.id
        if run.detail.finished - run.detail.started > BACKOFF_RESET:
            memory.failures[name] = 0
        failures = memory.failures.get(name, 0)
        memory.failures[name] = failures + 1
        if failures:
            memory.not_before[name] = run.detail.finished + min(backoff.first * 2 ** (failures - 1), backoff.most)
