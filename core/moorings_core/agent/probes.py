"""Probes: each container that runs and has one is asked regularly; what it answers, and how often in a row, decides.

`step` is pure; a task per run asks. Source: upstream's prober: initialDelay, period, timeout, thresholds; liveness and readiness
wait until the startup probe has succeeded once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from moorings_core.log import get_logger
from moorings_core.ports.objects import Object

from .plan import ProbeView

log = get_logger(__name__)
KINDS = ("startupProbe", "readinessProbe", "livenessProbe")


@dataclass(frozen=True, slots=True)
class Streak:
    """The last verdict and how often it came in a row; `result` is what counts, None before the first decision."""

    last: bool | None = None
    count: int = 0
    result: bool | None = None


def step(streak: Streak, success: bool, success_threshold: int, failure_threshold: int) -> Streak:
    """Return the streak after one more answer."""
    count = streak.count + 1 if streak.last == success else 1
    needed = success_threshold if success else failure_threshold
    result = success if count >= needed else streak.result
    return Streak(success, count, result)


Check = Callable[[Object], Awaitable[tuple[bool, str]]]
"""check(probe) -> (success, what was seen)"""
Report = Callable[[str, bool, str], None]
"""report(kind, success, text)"""


class ContainerProbes:
    """The probes of one run of a container."""

    def __init__(self, container: Object, check: Check, changed: Callable[[], None], report: Report) -> None:
        self._container, self._check, self._changed, self._report = container, check, changed, report
        self.view = ProbeView(started=None if container.get("startupProbe") else True, ready=False, alive=None)
        self._started = asyncio.Event()
        if not container.get("startupProbe"):
            self._started.set()
        self._tasks = [asyncio.create_task(self._run(kind)) for kind in KINDS if container.get(kind)]

    def stop(self) -> None:
        """Ask no more."""
        for task in self._tasks:
            task.cancel()

    async def _run(self, kind: str) -> None:
        probe = self._container[kind]
        if kind != "startupProbe":
            await self._started.wait()
        await asyncio.sleep(probe.get("initialDelaySeconds", 0))
        streak = Streak()
        while True:
            success, text = await self._ask(probe)
            streak = step(streak, success, probe.get("successThreshold", 1), probe.get("failureThreshold", 3))
            if not success:
                self._report(kind, success, text)
            if self._take(kind, streak.result):
                return
            await asyncio.sleep(probe.get("periodSeconds", 10))

    async def _ask(self, probe: Object) -> tuple[bool, str]:
        try:
            async with asyncio.timeout(probe.get("timeoutSeconds", 1)):
                return await self._check(probe)
        except TimeoutError:
            return False, f"timed out after {probe.get('timeoutSeconds', 1)}s"
        except Exception as error:
            return False, f"{type(error).__name__}: {error}"

    def _take(self, kind: str, result: bool | None) -> bool:
        """Note a decision; return whether this probe has nothing more to find out."""
        if result is None:
            return False
        before = self.view
        if kind == "startupProbe":
            self.view = replace(before, started=result, alive=None if result else False)
            if result:
                self._started.set()
        elif kind == "readinessProbe":
            self.view = replace(before, ready=result)
        else:
            self.view = replace(before, alive=result)
        if self.view != before:
            self._changed()
        return kind == "startupProbe"
