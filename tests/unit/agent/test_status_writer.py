"""Which statuses are sent to the API, and what of them."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from moorings_core.agent.status_writer import StatusWriter
from moorings_core.ports.errors import Conflict, NotFound, ServiceUnavailable

from .builders import pod

READY = {"type": "Ready", "status": "True"}
SCHEDULED = {"type": "PodScheduled", "status": "True"}


def status(phase="Running", *conditions, **fields):
    return {"phase": phase, "conditions": list(conditions), **fields}


class Api:
    """Takes patches; `answers` are raised first."""

    def __init__(self):
        self.patches, self.answers, self.arrived = [], [], asyncio.Event()

    async def patch(self, resource, name, namespace, patch, *, type, subresource):
        assert (name, namespace, type, subresource) == ("p", "n", "strategic", "status")
        await asyncio.sleep(0)
        if self.answers:
            raise self.answers.pop(0)
        self.patches.append(patch["status"])
        self.arrived.set()

    async def next(self):
        await asyncio.wait_for(self.arrived.wait(), 5)
        self.arrived.clear()
        return self.patches[-1]


@pytest.fixture
def api():
    return Api()


@asynccontextmanager
async def running(api, known=None):
    known = {"u": pod()} if known is None else known
    writer = StatusWriter(api, known.get)
    task = asyncio.create_task(writer.run())
    try:
        yield writer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_new_status_is_written_and_the_same_is_not(api):
    async with running(api) as writer:
        writer.want(pod(), status("Running", READY))
        await api.next()
        writer.want(pod(), status("Running", READY))
        writer.want(pod(), status("Succeeded", READY))
        assert (await api.next())["phase"] == "Succeeded"
    assert [p["phase"] for p in api.patches] == ["Running", "Succeeded"]


async def test_what_the_api_has_already_is_not_written_after_a_restart(api):
    known = pod(status=status("Running", READY, SCHEDULED, startTime="then"))
    async with running(api, {"u": known}) as writer:
        writer.want(known, status("Running", READY))
        await writer.flush(known)
    assert api.patches == []


async def test_only_the_newest_of_many_wanted_is_written(api):
    async with running(api) as writer:
        for phase in ("Pending", "Running", "Failed"):
            writer.want(pod(), status(phase))
        assert (await api.next())["phase"] == "Failed"
    assert len(api.patches) == 1


async def test_only_own_conditions_are_sent_and_addresses_replace(api):
    async with running(api) as writer:
        writer.want(pod(), status("Running", READY, SCHEDULED, podIPs=[{"ip": "10.0.0.1"}]))
        sent = await api.next()
    assert sent["conditions"] == [{"reason": None, "message": None, **READY}]
    assert sent["podIPs"] == [{"ip": "10.0.0.1"}, {"$patch": "replace"}]


async def test_a_failed_write_is_tried_again(api):
    api.answers = [ServiceUnavailable("down")]
    async with running(api) as writer:
        writer.want(pod(), status("Running"))
        assert (await api.next())["phase"] == "Running"


async def test_a_pod_that_is_gone_or_replaced_is_not_written_to(api):
    known = {"u": pod()}
    async with running(api, known) as writer:
        for answer in (NotFound("gone"), Conflict("another uid")):
            api.answers = [answer]
            known.clear()
            writer.want(pod(), status("Running", READY))
            await writer.flush(pod())
    assert api.patches == []


async def test_a_conflict_of_the_same_pod_is_no_success(api):
    api.answers = [Conflict("try again")]
    writer = StatusWriter(api, {"u": pod()}.get)
    writer.want(pod(), status("Running"))
    with pytest.raises(Conflict):
        await writer.flush(pod())


async def test_the_base_has_the_wanted_status_with_everybody_elses_conditions_of_now(api):
    known = {"u": pod()}
    async with running(api, known) as writer:
        writer.want(pod(), status("Running", READY, startTime="then"))
        known["u"] = pod(status=status("Pending", SCHEDULED))
        found = writer.base(pod())["status"]
    assert (found["phase"], found["startTime"]) == ("Running", "then")
    assert found["conditions"] == [READY, SCHEDULED]


async def test_a_final_phase_that_somebody_else_wrote_is_kept(api):
    known = {"u": pod(status=status("Failed", reason="Evicted"))}
    async with running(api, known) as writer:
        writer.want(pod(), status("Running"))
        found = writer.base(pod())["status"]
    assert (found["phase"], found["reason"]) == ("Failed", "Evicted")
