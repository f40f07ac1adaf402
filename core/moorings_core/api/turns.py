"""Long work on the event loop in short stretches: whoever loops over many objects gives others their turn."""

from __future__ import annotations

import asyncio
import time

STRETCH_SECONDS = 0.004


class Turns:
    """One piece of work; call `give` after each step."""

    def __init__(self) -> None:
        self._end = time.monotonic() + STRETCH_SECONDS

    async def give(self) -> None:
        """Let others run if this work has held the loop for a stretch."""
        if time.monotonic() > self._end:
            await asyncio.sleep(0)
            self._end = time.monotonic() + STRETCH_SECONDS
