"""The scheduler ends when it is told to, whatever comes at the same moment."""

import asyncio
from typing import cast

import pytest

from moorings_core.ports.client import Client
from moorings_core.scheduler.scheduler import Scheduler


@pytest.mark.parametrize("turns", range(5))
async def test_work_that_comes_with_the_end_does_not_hide_it(turns: int) -> None:
    scheduler = Scheduler(cast("Client", object()))
    working = asyncio.create_task(scheduler._schedule())
    for _ in range(3):
        await asyncio.sleep(0)
    scheduler._wake.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    working.cancel()
    ended, _ = await asyncio.wait([working], timeout=2)
    working.cancel()  # one that went on is ended all the same
    assert ended == {working}
