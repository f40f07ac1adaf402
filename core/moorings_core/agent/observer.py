"""Looks at the runtime: all pods once a second to see what has changed, one pod closely when it is worked on."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from moorings_core.ports.runtime import POD_UID, ContainerState, Runtime, SandboxState

from .observed import Observed, ObservedContainer

Marks = tuple[frozenset[tuple[str, bool]], frozenset[tuple[str, str]]]
NOTHING: Marks = (frozenset(), frozenset())


class Observer:
    """What the runtime has, and what of it was seen before."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._marks: dict[str, Marks] = {}
        self._details: dict[str, dict[str, ObservedContainer]] = defaultdict(dict)
        self._addresses: dict[str, tuple[str, ...]] = {}

    @property
    def uids(self) -> set[str]:
        """The pods of which the runtime has something."""
        return set(self._marks)

    async def relist(self) -> set[str]:
        """Return the uids of pods that are not as they were at the last look. Raises RuntimeFailure."""
        sandboxes, containers = await asyncio.gather(self._runtime.sandboxes(), self._runtime.containers())
        of_pod: dict[str, tuple[list[SandboxState], list[ContainerState]]] = defaultdict(lambda: ([], []))
        for sandbox in sandboxes:
            of_pod[sandbox.labels.get(POD_UID, "")][0].append(sandbox)
        for container in containers:
            of_pod[container.labels.get(POD_UID, "")][1].append(container)
        of_pod.pop("", None)  # made by somebody else than an agent: nobody's pod, and none of ours to clean up
        fresh = {uid: _marks(*found) for uid, found in of_pod.items()}
        changed = {uid for uid in self._marks.keys() | fresh.keys() if self._marks.get(uid) != fresh.get(uid)}
        self._marks = fresh
        return changed

    async def observe(self, uid: str) -> Observed:
        """Return what the runtime has of a pod now. Raises RuntimeFailure."""
        sandboxes, containers = await asyncio.gather(self._runtime.sandboxes(uid), self._runtime.containers(uid))
        self._remember(uid, sandboxes, containers)
        closer = await asyncio.gather(*(self._detail(uid, c) for c in sorted(containers, key=lambda c: -c.attempt)))
        runs: dict[str, list[ObservedContainer]] = defaultdict(list)
        for run in closer:
            runs[run.state.name].append(run)
        own = sorted(sandboxes, key=lambda s: -s.attempt)
        living = next((s for s in own if s.ready), None)
        return Observed(own, runs, await self._addresses_of(living.id) if living else ())

    def forget(self, uid: str) -> None:
        """Drop what is kept of a pod that is gone."""
        self._details.pop(uid, None)

    def _remember(self, uid: str, sandboxes: Sequence[SandboxState], containers: Sequence[ContainerState]) -> None:
        if (marks := _marks(sandboxes, containers)) == NOTHING:
            self._marks.pop(uid, None)
        else:
            self._marks[uid] = marks
        known, present = self._details[uid], {c.id for c in containers}
        for gone in known.keys() - present:
            del known[gone]

    async def _detail(self, uid: str, container: ContainerState) -> ObservedContainer:
        """Return a closer look; what has ended does not change any more."""
        known = self._details[uid].get(container.id)
        if known is not None and known.exited and container.state == "exited":
            return known
        found = ObservedContainer(container, await self._runtime.inspect(container.id))
        self._details[uid][container.id] = found
        return found

    async def _addresses_of(self, sandbox: str) -> tuple[str, ...]:
        """A sandbox keeps its addresses for life."""
        if sandbox not in self._addresses:
            living = {s for s, _ in (pair for marks in self._marks.values() for pair in marks[0])}
            self._addresses = {s: a for s, a in self._addresses.items() if s in living}
            self._addresses[sandbox] = await self._runtime.sandbox_addresses(sandbox)
        return self._addresses[sandbox]


def _marks(sandboxes: Sequence[SandboxState], containers: Sequence[ContainerState]) -> Marks:
    return frozenset((s.id, s.ready) for s in sandboxes), frozenset((c.id, c.state) for c in containers)
