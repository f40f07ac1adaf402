"""What the runtime has of one pod, put in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from moorings_core.ports.runtime import ContainerDetail, ContainerState, SandboxState

NAME, NAMESPACE, CONTAINER = (
    "io.kubernetes.pod.name",
    "io.kubernetes.pod.namespace",
    "io.kubernetes.container.name",
)


@dataclass(frozen=True, slots=True)
class ObservedContainer:
    """One run of a container."""

    state: ContainerState
    detail: ContainerDetail

    @property
    def running(self) -> bool:
        """Whether it runs now."""
        return self.detail.state == "running"

    @property
    def exited(self) -> bool:
        """Whether it ran and ended."""
        return self.detail.state == "exited"


@dataclass(frozen=True, slots=True)
class Observed:
    """A pod's sandboxes, newest first, and the runs of each container, newest first."""

    sandboxes: Sequence[SandboxState] = ()
    runs: Mapping[str, Sequence[ObservedContainer]] = field(default_factory=dict)
    addresses: tuple[str, ...] = ()

    @property
    def sandbox(self) -> SandboxState | None:
        """The sandbox that lives, or None."""
        return next((s for s in self.sandboxes if s.ready), None)

    def latest(self, container: str) -> ObservedContainer | None:
        """Return the newest run of a container in the living sandbox, or the newest at all when none lives."""
        runs = self.runs.get(container, ())
        living = self.sandbox
        if living is None:
            return runs[0] if runs else None
        return next((run for run in runs if run.state.sandbox == living.id), None)

    def newest(self, container: str) -> ObservedContainer | None:
        """Return the newest run of a container in whatever sandbox."""
        return next(iter(self.runs.get(container, ())), None)

    def previous(self, container: str) -> ObservedContainer | None:
        """Return the newest run that ended and is not the latest."""
        latest = self.latest(container)
        runs = self.runs.get(container, ())
        return next((run for run in runs if run is not latest and run.exited), None)

    def attempts(self, container: str) -> int:
        """Return the number of the next run."""
        runs = self.runs.get(container, ())
        return max((run.state.attempt + 1 for run in runs), default=0)

    @property
    def running(self) -> list[ObservedContainer]:
        """Every container that runs."""
        return [run for runs in self.runs.values() for run in runs if run.running]
