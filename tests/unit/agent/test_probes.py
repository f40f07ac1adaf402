"""Streaks of answers, and the probers that make verdicts of them."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings_core.agent.plan import ProbeView
from moorings_core.agent.probes import ContainerProbes, Streak, step

from .builders import container

AT_ONCE = {"periodSeconds": 0, "failureThreshold": 1}


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 4), st.integers(1, 4))
def test_a_verdict_is_the_last_run_of_equal_answers_that_was_long_enough(answers, successes, failures):
    streak, expected = Streak(), None
    for position, answer in enumerate(answers):
        streak = step(streak, answer, successes, failures)
        needed = successes if answer else failures
        if answers[max(position - needed + 1, 0) : position + 1] == [answer] * needed:
            expected = answer
        assert streak.result is expected


class Asked:
    """A container whose probes are answered by the test; what its view becomes is waited for."""

    def __init__(self, answers, **probes):
        self.answers, self.changes, self.told = answers, asyncio.Queue(), []
        self.probes = ContainerProbes(container(**probes), self.check, self.changed, self.report)

    async def check(self, probe):
        await asyncio.sleep(0)
        answer = self.answers[probe["name"]]
        if isinstance(answer, Exception):
            raise answer
        return answer, "seen"

    def changed(self):
        self.changes.put_nowait(self.probes.view)

    def report(self, kind, success, text):
        self.told.append((kind, text))

    async def next(self):
        return await asyncio.wait_for(self.changes.get(), 5)


@pytest.fixture
async def ask():
    made = []

    def make(answers, **probes):
        made.append(Asked(answers, **{kind: {"name": name, **AT_ONCE} for kind, name in probes.items()}))
        return made[-1]

    yield make
    for one in made:
        one.probes.stop()


async def test_readiness_goes_both_ways(ask):
    asked = ask({"r": True}, readinessProbe="r")
    assert asked.probes.view == ProbeView(started=True, ready=False, alive=None)
    assert (await asked.next()).ready is True
    asked.answers["r"] = False
    assert (await asked.next()).ready is False


async def test_liveness_and_readiness_wait_for_the_startup_probe(ask):
    answers = {"s": True, "r": True, "l": False}
    asked = ask(answers, startupProbe="s", readinessProbe="r", livenessProbe="l")
    first = await asked.next()
    assert (first.started, first.ready, first.alive) == (True, False, None)
    seen = {(await asked.next()).alive, (await asked.next()).alive}
    assert False in seen
    assert {kind for kind, _ in asked.told} == {"livenessProbe"}


async def test_a_failed_startup_probe_is_the_end_of_the_run(ask):
    asked = ask({"s": False, "l": True}, startupProbe="s", livenessProbe="l")
    assert await asked.next() == ProbeView(started=False, ready=False, alive=False)


async def test_a_probe_that_raises_has_failed_with_its_words(ask):
    asked = ask({"l": OSError("no way")}, livenessProbe="l")
    assert (await asked.next()).alive is False
    assert asked.told[0] == ("livenessProbe", "OSError: no way")
