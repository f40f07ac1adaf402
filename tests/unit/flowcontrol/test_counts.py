"""What flow control counts of the requests that it lets in, under upstream's names."""

import asyncio

from prometheus_client import CollectorRegistry, generate_latest

from moorings_core.api.bootstrap import create_missing
from moorings_core.api.context import User
from moorings_core.api.core import ApiCore
from moorings_core.api.flowcontrol.born import objects
from moorings_core.api.flowcontrol.control import FlowControl
from moorings_core.api.paths import Target
from moorings_core.client.local import LocalClient
from moorings_core.ports.cluster import ClusterConfig
from moorings_core.store.memory import MemoryStore

POD = Target("", "v1", "pods", "default", "x")
KNOWN = ("system:authenticated",)


async def test_requests_are_counted_by_the_schema_and_level_that_let_them_in():
    core, registry = ApiCore(ClusterConfig(), MemoryStore()), CollectorRegistry()
    await core.cache.load()
    follower = asyncio.create_task(core.cache.follow())
    await create_missing(LocalClient(core, User("test", ("system:masters",))), objects())
    await core.cache.wait_for(core.store.revision)
    flows = FlowControl(core.cache, registry)
    flows.start()
    for user in (User("a", KNOWN), User("a", KNOWN), User("b", KNOWN), User("root", ("system:masters", *KNOWN))):
        (await flows.enter(user, "get", POD, "")).leave()
    follower.cancel()
    await asyncio.gather(follower, return_exceptions=True)
    counted = generate_latest(registry).decode()
    name = "apiserver_flowcontrol_dispatched_requests_total"
    assert f'{name}{{flow_schema="global-default",priority_level="global-default"}} 3.0' in counted
    assert f'{name}{{flow_schema="exempt",priority_level="exempt"}} 1.0' in counted
