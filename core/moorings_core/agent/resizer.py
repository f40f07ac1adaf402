"""Grants and carries out resizes of this node's pods; what is to be done is planned in `resize`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from moorings_core.client.events import EventRecorder
from moorings_core.log import get_logger
from moorings_core.ports.objects import Object
from moorings_core.ports.runtime import Runtime, RuntimeFailure
from moorings_core.registry.quantity import to_int

from . import resize
from .observed import Observed
from .pod_state import PodSettings, PodState
from .termination import Terminator

log = get_logger(__name__)
Others = Callable[[str], Iterable[Object]]
"""others(uid) -> the node's other pods that have not ended, each with what it was granted"""
AT_ONCE, RETRY_SECONDS, PENDING_SECONDS = 0.0, 1.0, 30.0


class Resizer:
    """Resizes pods of one node."""

    def __init__(self, runtime: Runtime, terminator: Terminator, settings: PodSettings, events: EventRecorder, others: Others) -> None:
        self._runtime, self._terminator, self._settings, self._events, self._others = runtime, terminator, settings, events, others
        self._memory = to_int(settings.allocatable.get("memory", "0"))

    def grant(self, pod: Object, state: PodState) -> Object:
        """Return the pod as it is to run now: as asked for where the node has room, else as it was granted before."""
        resizing, wanted = state.resizing, resize.asked(pod)
        if resizing.granted is None:
            resizing.granted = resize.granted_before(pod)
        if resizing.granted == wanted:
            resizing.pending = ""
            return pod
        reason = resize.shortage(pod, self._others(pod["metadata"]["uid"]), self._settings.allocatable)
        if reason:
            self._defer(pod, state, reason)
            return resize.with_granted(pod, resizing.granted)
        resizing.granted, resizing.pending, resizing.running, resizing.error = wanted, "", True, ""
        self._events.event(pod, "Normal", "ResizeStarted", resize.summary(pod, "Pod resize started"))
        return pod

    async def apply(self, pod: Object, observed: Observed, state: PodState) -> float | None:
        """Give the pod's runs what was granted; return after how many seconds to look again, None where that is not needed."""
        resizing, latest = state.resizing, (observed.latest(name) for name in observed.runs)
        state.memory.resized &= {run.state.id for run in latest if run is not None}
        updates = resize.plan(pod, observed, resizing.applied, self._memory)
        failed = [text for update in updates if (text := await self._apply(pod, update, state))]
        if failed:
            self._fail(pod, state, "; ".join(failed))
            return RETRY_SECONDS
        if any(update.restart for update in updates):
            return AT_ONCE
        if resizing.running and not state.memory.resized:
            resizing.running, resizing.error = False, ""
            self._events.event(pod, "Normal", "ResizeCompleted", resize.summary(pod, "Pod resize completed"))
        return PENDING_SECONDS if resizing.pending else None

    async def _apply(self, pod: Object, update: resize.Update, state: PodState) -> str:
        """Carry out one update; return what went wrong, "" where nothing did."""
        run, name = update.run, update.run.state.name
        if update.restart:
            self._events.event(pod, "Normal", "Killing", f"Container {name} resize requires restart")
            state.memory.resized.add(run.state.id)
            await self._terminator.stop_one(pod, run, None)
            return ""
        try:
            if update.less_memory and (used := await self._used(run.state.id)) > update.limits.memory:
                text = f'attempting to set container "{name}" memory limit ({update.limits.memory}) below current usage ({used})'
                return f"cannot decrease memory limits: {text}"
            await self._runtime.update_container(run.state.id, update.limits)
        except RuntimeFailure as error:
            return f'container "{name}" not resized: {error}'
        state.resizing.applied[run.state.id] = resize.Applied(update.limits, update.resources)
        return ""

    async def _used(self, container: str) -> int:
        return next((u.memory for u in await self._runtime.usage() if u.container == container), 0)

    def _defer(self, pod: Object, state: PodState, reason: str) -> None:
        if state.resizing.pending != reason:
            state.resizing.pending = reason
            self._events.event(pod, "Warning", "ResizeDeferred", resize.summary(pod, "Pod resize Deferred", reason))

    def _fail(self, pod: Object, state: PodState, error: str) -> None:
        if state.resizing.error != error:
            self._events.event(pod, "Warning", "ResizeError", resize.summary(pod, "Pod resize error", error))
            log.warning("pod not resized", pod=pod["metadata"]["name"], namespace=pod["metadata"]["namespace"], error=error)
        state.resizing.running, state.resizing.error = True, error
