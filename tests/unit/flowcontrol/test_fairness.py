"""Priority levels: seats, queues, turns."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings_core.api.flowcontrol.fairness import Full, Level, Limits, deal


@given(st.integers(0, 2**64), st.integers(1, 200), st.integers(1, 20))
def test_a_hand_is_of_different_queues_and_always_the_same(flow, deck, hand):
    dealt = deal(flow, deck, hand)
    assert len(set(dealt)) == len(dealt) == min(hand, deck)
    assert all(0 <= card < deck for card in dealt)
    assert deal(flow, deck, hand) == dealt


@given(st.integers(1, 8), st.integers(1, 8), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=60))
def test_no_more_execute_than_there_are_seats_and_all_that_are_let_in_come_to_their_end(seats, queues, requests):
    async def scenario():
        level = Level(Limits(seats, queues, 2, 10))
        most = done = refused = 0

        async def one(flow, turns):
            nonlocal most, done, refused
            try:
                queue = await level.enter(flow, 60)
            except Full:
                refused += 1
                return
            most = max(most, level.executing)
            for _ in range(turns):
                await asyncio.sleep(0)
            level.leave(queue, turns / 1000)
            done += 1

        await asyncio.gather(*(one(flow, turns) for flow, turns in requests))
        assert most <= seats
        assert done + refused == len(requests)
        assert (level.executing, level.queued) == (0, 0)

    asyncio.run(scenario())


async def test_a_flood_of_one_flow_does_not_keep_another_waiting():
    level = Level(Limits(1, 64, 1, 100))
    flood, other = 1, 2
    assert deal(flood, 64, 1) != deal(other, 64, 1)
    order = []

    async def one(flow):
        queue = await level.enter(flow, 60)
        order.append(flow)
        await asyncio.sleep(0)
        level.leave(queue, 0.01)

    tasks = [asyncio.create_task(one(flood)) for _ in range(50)]
    await asyncio.sleep(0)
    tasks += [asyncio.create_task(one(other)) for _ in range(5)]
    await asyncio.gather(*tasks)
    assert Counter(order[:12])[other] == 5


async def test_what_finds_no_place_is_refused():
    level = Level(Limits(1, 1, 1, 1))
    assert level.enter_now()
    waiting = asyncio.create_task(level.enter(7, 60))
    await asyncio.sleep(0)
    with pytest.raises(Full, match="queue-full"):
        await level.enter(7, 60)
    level.leave(None, 0)
    level.leave(await waiting, 0)
    level.limit(Limits(0))
    with pytest.raises(Full, match="concurrency-limit"):
        await level.enter(7, 60)


async def test_one_who_gives_up_waiting_leaves_no_trace():
    level = Level(Limits(1, 1, 1, 5))
    assert level.enter_now()
    with pytest.raises(Full, match="time-out"):
        await level.enter(7, 0.01)
    gone = asyncio.create_task(level.enter(7, 60))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    assert level.queued == 0
    level.leave(None, 0)
    assert level.executing == 0
    assert level.enter_now()


async def test_a_wide_request_waits_for_all_its_seats_and_those_behind_it_wait_too():
    level = Level(Limits(4, 1, 1, 10))
    assert level.enter_now(3)
    wide, narrow = (asyncio.create_task(level.enter(1, 60, width)) for width in (2, 1))
    await asyncio.sleep(0)
    assert (level.executing, level.queued, wide.done(), narrow.done()) == (3, 3, False, False)
    level.leave(None, 0.0, 3)
    queue = await wide
    level.leave(queue, 0.0, 2)
    level.leave(await narrow, 0.0)
    assert (level.executing, level.queued) == (0, 0)


async def test_a_request_that_needs_more_seats_than_there_are_runs_alone():
    level = Level(Limits(2, 1, 1, 10))
    assert level.enter_now()
    wide = asyncio.create_task(level.enter(1, 60, 5))
    await asyncio.sleep(0)
    assert not wide.done()
    level.leave(None, 0.0)
    level.leave(await wide, 0.0, 5)
    assert (level.executing, level.queued) == (0, 0)
    assert not Level(Limits(0)).enter_now()


async def test_one_that_gives_up_lets_those_behind_it_have_the_seats_that_were_too_few_for_it():
    level = Level(Limits(4, 1, 1, 10))
    assert level.enter_now(3)
    wide = asyncio.create_task(level.enter(1, 60, 3))
    await asyncio.sleep(0)
    narrow = asyncio.create_task(level.enter(1, 60))
    await asyncio.sleep(0)
    wide.cancel()
    assert await narrow is not None
    assert level.executing == 4


async def test_what_is_wanted_is_what_is_used_and_waited_for():
    level = Level(Limits(2, 1, 1, 10))
    assert level.enter_now(2)
    waiting = asyncio.create_task(level.enter(1, 60, 2))
    await asyncio.sleep(0)
    assert level.demand.take(0.0).peak == 4
    level.leave(None, 0.0, 2)
    level.leave(await waiting, 0.0, 2)
    level.demand.take(0.0)
    assert level.demand.take(0.0).peak == 0
