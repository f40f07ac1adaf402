"""Events are counted, combined and never block; of two candidates one leads, and a leader that cannot renew stops."""

from __future__ import annotations

import asyncio

import pytest

from moorings_core.client.election import Elector
from moorings_core.client.events import BURST, QUEUE_MOST, EventRecorder
from moorings_core.client.resources import EVENTS, LEASES
from moorings_core.ports.errors import Forbidden, ServiceUnavailable
from tests.unit.controllers.simulator import Api

POD = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p", "namespace": "d", "uid": "u", "resourceVersion": "7"}}


class Client:
    """The simulator's API as far as recorders and electors need a client; `broken` answers every call."""

    def __init__(self, api: Api | None = None) -> None:
        self.api, self.broken = api or Api(), None

    async def _call(self, method, *arguments):
        await asyncio.sleep(0)
        if self.broken:
            raise self.broken
        return method(*arguments)

    async def get(self, resource, name, namespace=""):
        return await self._call(self.api.read, resource, name, namespace)

    async def create(self, resource, obj, **_):
        return await self._call(self.api.create, resource, obj)

    async def update(self, resource, obj, **_):
        return await self._call(self.api.update, resource, obj)

    async def patch(self, resource, name, namespace, patch, **_):
        current = await self._call(self.api.read, resource, name, namespace)
        return self.api.update(resource, {**current, **patch})


class Recording:
    """A recorder that runs within a block."""

    def __init__(self, client, **options):
        self.recorder = EventRecorder(client, "kubelet", "n1", **options)

    async def __aenter__(self):
        self.task = asyncio.create_task(self.recorder.run())
        return self.recorder

    async def __aexit__(self, *_):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def test_the_same_event_counts_up():
    client = Client()
    async with Recording(client) as recorder:
        for _ in range(3):
            recorder.event(POD, "Warning", "BackOff", "again")
        recorder.event(POD, "Normal", "Pulled", "image is there")
        await recorder.flush()
    found = {e["reason"]: e for e in client.api.all(EVENTS)}
    assert found["BackOff"]["count"] == 3 and found["Pulled"]["count"] == 1
    event = found["BackOff"]
    assert event["involvedObject"] == {
        "kind": "Pod",
        "apiVersion": "v1",
        "name": "p",
        "namespace": "d",
        "uid": "u",
        "resourceVersion": "7",
    }
    assert event["source"] == {"component": "kubelet", "host": "n1"} and event["metadata"]["namespace"] == "d"
    assert event["metadata"]["name"].startswith("p.") and event["firstTimestamp"] <= event["lastTimestamp"]


async def test_an_event_forgotten_by_the_api_is_written_anew():
    client = Client()
    async with Recording(client) as recorder:
        recorder.event(POD, "Normal", "R", "m")
        await recorder.flush()
        (first,) = client.api.all(EVENTS)
        client.api.delete(EVENTS, first["metadata"]["name"], "d")
        recorder.event(POD, "Normal", "R", "m")
        await recorder.flush()
    assert [e["count"] for e in client.api.all(EVENTS)] == [1]


async def test_many_different_messages_of_one_reason_become_one():
    client = Client()
    async with Recording(client) as recorder:
        for number in range(20):
            recorder.event(POD, "Warning", "Failed", f"message {number}")
        await recorder.flush()
    found = client.api.all(EVENTS)
    assert len(found) == 11
    (combined,) = [e for e in found if e["count"] > 1]
    assert combined["count"] == 10


async def test_one_object_cannot_flood():
    client, now = Client(), [0.0]
    async with Recording(client, clock=lambda: now[0]) as recorder:
        for number in range(100):
            recorder.event(POD, "Normal", f"R{number}", "m")
        recorder.event({**POD, "metadata": {"name": "other", "namespace": "d"}}, "Normal", "R", "m")
        await recorder.flush()
        assert len(client.api.all(EVENTS)) == BURST + 1 and recorder.dropped == 100 - BURST
        now[0] = 301.0
        recorder.event(POD, "Normal", "Later", "m")
        await recorder.flush()
    assert len(client.api.all(EVENTS)) == BURST + 2


async def test_never_blocks_and_is_bounded():
    client = Client()
    recorder = EventRecorder(client, "c")
    for number in range(QUEUE_MOST + 5):
        recorder.event(POD, "Normal", "R", f"{number}")
    assert recorder.dropped == 5
    with pytest.raises(TimeoutError):
        await recorder.flush(timeout=0.01)


@pytest.mark.parametrize("error", [Forbidden("namespace is going"), ServiceUnavailable("no")])
async def test_what_cannot_be_written_is_given_up(error):
    client = Client()
    client.broken = error
    async with Recording(client) as recorder:
        recorder.event(POD, "Normal", "R", "m")
        await recorder.flush()
        client.broken = None
        recorder.event(POD, "Normal", "R", "m")
        await recorder.flush()
    assert len(client.api.all(EVENTS)) == 1


def elector(client, identity):
    return Elector(client, "x", identity, duration=0.4, renew=0.25, retry=0.02)


class Worker:
    """Work that says when it runs."""

    def __init__(self, log, name):
        self.log, self.name, self.started, self.stopped = log, name, asyncio.Event(), asyncio.Event()

    async def __call__(self):
        self.log.append(f"+{self.name}")
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.log.append(f"-{self.name}")
            self.stopped.set()


async def stop(*tasks):
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_one_leads_and_the_other_takes_over_when_it_leaves():
    api, log = Api(), []
    a, b = Worker(log, "a"), Worker(log, "b")
    first = asyncio.create_task(elector(Client(api), "a").run(a))
    await asyncio.wait_for(a.started.wait(), 5)
    second = asyncio.create_task(elector(Client(api), "b").run(b))
    await asyncio.sleep(0.6)  # longer than the lease: it is being renewed
    assert log == ["+a"]
    await stop(first)
    await asyncio.wait_for(b.started.wait(), 5)
    assert log == ["+a", "-a", "+b"]
    lease = api.read(LEASES, "x", "kube-system")
    assert lease["spec"]["holderIdentity"] == "b" and lease["spec"]["leaseTransitions"] == 1
    await stop(second)
    assert api.read(LEASES, "x", "kube-system")["spec"]["holderIdentity"] == ""


async def test_a_leader_that_is_cut_off_stops_before_the_other_begins():
    api, log = Api(), []
    a, b = Worker(log, "a"), Worker(log, "b")
    cut = Client(api)
    first = asyncio.create_task(elector(cut, "a").run(a))
    await asyncio.wait_for(a.started.wait(), 5)
    second = asyncio.create_task(elector(Client(api), "b").run(b))
    cut.broken = ServiceUnavailable("network is gone")
    await asyncio.wait_for(b.started.wait(), 5)
    assert log == ["+a", "-a", "+b"]
    cut.broken = None
    await asyncio.sleep(0.1)
    assert log == ["+a", "-a", "+b"], "back on the network it waits its turn"
    await stop(first, second)


async def test_work_that_fails_ends_the_campaign_with_its_error():
    async def work():
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await asyncio.wait_for(elector(Client(), "a").run(work), 5)


def test_times_that_would_allow_two_leaders_are_refused():
    with pytest.raises(ValueError, match="renew < duration"):
        Elector(Client(), "x", "a", duration=5, renew=5, retry=1)
