"""Components of one process: each runs for ever; one that fails is logged and started again, later each time; others go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from moorings_core.log import get_logger

log = get_logger(__name__)
RESTART_FIRST, RESTART_MOST = 0.2, 10.0
STABLE_SECONDS = 30.0

Run = Callable[[], Awaitable[None]]


async def supervise(name: str, run: Run, failed: Callable[[str], None] | None = None) -> None:
    """Run a component until cancelled; `failed` is told why whenever it ends, and "" whenever it starts."""
    delay = RESTART_FIRST
    while True:
        started = time.monotonic()
        if failed is not None:
            failed("")
        try:
            await run()
            reason = "it ended by itself"
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            reason = f"{type(error).__name__}: {error}"
            log.exception("component failed", component=name, error=reason)
        if failed is not None:
            failed(reason)
        delay = RESTART_FIRST if time.monotonic() - started > STABLE_SECONDS else min(delay * 2, RESTART_MOST)
        await asyncio.sleep(delay)


async def run_all(components: dict[str, Run]) -> None:
    """Supervise components until cancelled."""
    async with asyncio.TaskGroup() as tasks:
        for name, run in components.items():
            tasks.create_task(supervise(name, run), name=name)
