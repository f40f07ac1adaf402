"""Ends containers and pods: preStop, stop signal, SIGKILL, all within the grace period; then takes away what was made for the pod.

Whoever asks for less grace later gets it: a stop that is under way is cut short. Source: upstream's pod termination.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence

from moorings_core.client.events import EventRecorder
from moorings_core.ports.errors import MooringsError
from moorings_core.ports.objects import Object
from moorings_core.ports.runtime import Runtime

from .cgroups import PodCgroups
from .containers import container_named
from .handlers import Handlers
from .observed import Observed, ObservedContainer
from .plan import is_sidecar
from .pod_state import PodSettings
from .volumes.manager import VolumeManager

AFTER_HOOK_SECONDS = 2.0
"""What a container gets after its preStop hook has used up the grace period, as upstream gives it."""
Address = Callable[[Object], Awaitable[str]]
"""address(pod) -> where its hooks are sent to"""


class Terminator:
    """Ends pods of one node."""

    def __init__(
        self,
        runtime: Runtime,
        handlers: Handlers,
        volumes: VolumeManager,
        cgroups: PodCgroups,
        settings: PodSettings,
        events: EventRecorder,
        address: Address,
    ) -> None:
        self._runtime, self._handlers, self._volumes, self._cgroups = runtime, handlers, volumes, cgroups
        self._settings, self._events, self._address = settings, events, address
        self._deadlines: dict[str, _Deadline] = {}

    def shorten(self, uid: str, grace: float) -> None:
        """Let a pod whose end is under way have at most this many more seconds."""
        if uid in self._deadlines:
            self._deadlines[uid].shorten(grace)

    async def stop_all(self, pod: Object, observed: Observed, grace: float) -> None:
        """Stop every container: regular ones at once, then sidecars in reverse order, in what is left of the time."""
        if not observed.running:
            return
        uid = pod["metadata"]["uid"]
        self._events.event(pod, "Normal", "Killing", f"Stopping pod {pod['metadata']['name']}")
        deadline = self._deadlines[uid] = _Deadline(grace)
        sidecars = [c["name"] for c in pod["spec"].get("initContainers") or () if is_sidecar(c)]
        try:
            regular = [r for r in observed.running if r.state.name not in sidecars]
            await asyncio.gather(*(self._stop(pod, run, deadline) for run in regular))
            for name in reversed(sidecars):
                await self._stop_runs(pod, [r for r in observed.running if r.state.name == name], deadline)
        finally:
            del self._deadlines[uid]

    async def stop_one(self, pod: Object, run: ObservedContainer, grace: float | None) -> None:
        """Stop one container; grace None: what the pod gives."""
        seconds = float(pod["spec"].get("terminationGracePeriodSeconds", 30)) if grace is None else grace
        await self._stop(pod, run, _Deadline(seconds))

    async def end(self, uid: str, *, keep: bool) -> None:
        """Stop the sandboxes of a pod and remove everything of it; with keep its containers and logs stay. Raises RuntimeFailure."""
        for sandbox in await self._runtime.sandboxes(uid):
            if sandbox.ready or not keep:
                await self._runtime.stop_sandbox(sandbox.id)
            if not keep:
                await self._runtime.remove_sandbox(sandbox.id)
        if keep:
            return
        await self._volumes.teardown(uid)
        self._cgroups.remove(uid)
        for directory in self._settings.log_directories(uid):
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

    async def _stop_runs(self, pod: Object, runs: Sequence[ObservedContainer], deadline: _Deadline) -> None:
        await asyncio.gather(*(self._stop(pod, run, deadline) for run in runs))

    async def _stop(self, pod: Object, run: ObservedContainer, deadline: _Deadline) -> None:
        hooked = await self._before(pod, run, deadline)
        grace = max(deadline.left, AFTER_HOOK_SECONDS if hooked and deadline.given else 0)
        stopping = asyncio.create_task(self._runtime.stop_container(run.state.id, grace))
        shorter = asyncio.create_task(deadline.shortened.wait())
        try:
            await asyncio.wait((stopping, shorter), return_when=asyncio.FIRST_COMPLETED)
            if not stopping.done():
                await self._runtime.stop_container(run.state.id, deadline.left)
            await stopping
        finally:
            shorter.cancel()
            stopping.cancel()

    async def _before(self, pod: Object, run: ObservedContainer, deadline: _Deadline) -> bool:
        """Run the preStop hook, if there is one and time for it; return whether there is one."""
        container = container_named(pod, run.state.name)
        hook = ((container or {}).get("lifecycle") or {}).get("preStop")
        if container is None or not hook or not deadline.given:
            return False
        running = asyncio.create_task(self._handlers.run(hook, container, run.state.id, await self._address(pod)))
        shorter = asyncio.create_task(deadline.shortened.wait())
        try:
            await asyncio.wait((running, shorter), timeout=deadline.left, return_when=asyncio.FIRST_COMPLETED)
            if running.done() and not (verdict := running.result())[0]:
                self._hook_failed(pod, verdict[1])
            elif not running.done():
                self._hook_failed(pod, "it did not end within the grace period")
        except (MooringsError, OSError, TimeoutError) as error:
            self._hook_failed(pod, str(error))
        finally:
            shorter.cancel()
            running.cancel()
        return True

    def _hook_failed(self, pod: Object, text: str) -> None:
        self._events.event(pod, "Warning", "FailedPreStopHook", f"PreStopHook failed: {text}")


class _Deadline:
    """Until when containers may take their time."""

    def __init__(self, seconds: float) -> None:
        self.given = seconds > 0
        self.shortened = asyncio.Event()
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return max(self._end - time.monotonic(), 0.0)

    def shorten(self, seconds: float) -> None:
        """End sooner, if that is sooner."""
        if time.monotonic() + seconds < self._end:
            self._end = time.monotonic() + seconds
            self.shortened.set()
