"""What a write costs by the watches that it wakes: seats, and the time for which it keeps them."""

import asyncio
from contextlib import ExitStack

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from moorings_core.api.bootstrap import create_missing
from moorings_core.api.context import User
from moorings_core.api.core import ApiCore
from moorings_core.api.flowcontrol.born import objects
from moorings_core.api.flowcontrol.control import FlowControl
from moorings_core.api.flowcontrol.estimates import after_write
from moorings_core.api.flowcontrol.watched import Watched
from moorings_core.api.paths import Target
from moorings_core.api.server import ApiServer, ServerOptions
from moorings_core.client.local import LocalClient
from moorings_core.pki.tokens import TokenSigner
from moorings_core.ports.cluster import ClusterConfig
from moorings_core.store.memory import MemoryStore

ANN = User("ann", ("system:authenticated",))


def maps(namespace="", name="", plural="configmaps", subresource=""):
    return Target("", "v1", plural, namespace, name, subresource)


@pytest.mark.parametrize(
    ("watch", "query", "woken"),
    [
        (maps(), {}, True),
        (maps("d"), {}, True),
        (maps("d", "x"), {}, True),
        (maps("d"), {"fieldSelector": "metadata.name=x"}, True),
        (maps("d"), {"fieldSelector": "metadata.name=y"}, False),
        (maps("d"), {"fieldSelector": "metadata.name!=x"}, True),
        (maps("d"), {"fieldSelector": "what is this"}, True),
        (maps("d", "y"), {}, False),
        (maps("e"), {}, False),
        (maps("d", plural="secrets"), {}, False),
        (Target("example.com", "v1", "configmaps"), {}, False),
    ],
)
def test_a_write_wakes_those_who_watch_its_object_its_namespace_or_all(watch, query, woken):
    watched = Watched()
    with watched.watching(watch, query):
        assert watched.interested(maps("d", "x")) == woken
    assert watched.interested(maps("d", "x")) == 0


def test_agents_that_watch_the_pods_of_their_nodes_sleep_through_the_pods_of_others():
    watched, pods = Watched(), maps(plural="pods")
    with watched.watching(pods, {"fieldSelector": "spec.nodeName=n"}), watched.watching(pods, {"fieldSelector": "spec.nodeName="}):
        assert watched.interested(maps("d", "p", "pods")) == 1


@pytest.mark.parametrize(
    ("watches", "most", "seats", "seconds"),
    [
        (9, 10, 1, 0.0),
        (10, 10, 1, 0.005),
        (11, 10, 2, 0.005),
        (100, 10, 10, 0.005),
        (1000, 10, 10, 0.05),
        (1000, 100, 10, 0.05),
        (100, 2, 2, 0.025),
    ],
)
def test_a_write_keeps_a_seat_for_each_ten_watches_or_fewer_for_longer(watches, most, seats, seconds):
    assert after_write(maps("d"), watches, most) == (seats, pytest.approx(seconds))


def test_a_token_that_is_made_wakes_nobody():
    assert after_write(maps("d", "a", "serviceaccounts", "token"), 1000, 10) == (1, 0.0)


async def test_a_writes_seats_are_free_when_its_watchers_have_been_told():
    core = ApiCore(ClusterConfig(), MemoryStore())
    await core.cache.load()
    follower = asyncio.create_task(core.cache.follow())
    await create_missing(LocalClient(core, User("test", ("system:masters",))), objects())
    await core.cache.wait_for(core.store.revision)
    flows = FlowControl(core.cache, CollectorRegistry())
    flows.start()
    with ExitStack() as watches:
        for _ in range(25):
            watches.enter_context(flows.watched.watching(maps(), {}))
        read, write = await flows.enter(ANN, "get", maps("d", "x"), ""), await flows.enter(ANN, "update", maps("d", "x"), "")
    level = write.flow.level
    assert (read.width, read.latency, write.width, write.latency, level.executing) == (1, 0.0, 3, 0.005, 4)
    read.leave()
    write.leave()
    write.leave()
    assert level.executing == 3
    async with asyncio.timeout(5):
        while level.executing:
            await asyncio.sleep(0.001)
    follower.cancel()
    await asyncio.gather(follower, return_exceptions=True)


async def test_a_watch_counts_from_its_first_byte_to_its_end(tmp_path):
    signer = TokenSigner.load_or_create(tmp_path / "sa.key", "test")
    options = ServerOptions(ClusterConfig(), "", signer, "127.0.0.1", tokens={"t": User("root", ("system:masters",))})
    server = ApiServer(options, await MemoryStore.open(tmp_path, {}))
    port = await server.start("127.0.0.1", 0)
    watched = server._flows.watched

    async def until(count):
        async with asyncio.timeout(10):
            while watched.interested(maps("d", "x")) != count:
                await asyncio.sleep(0.005)

    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers={"Authorization": "Bearer t"}) as session:
            path = "/api/v1/namespaces/d/configmaps?watch=true&resourceVersion=0"
            async with session.get(path) as first, session.get(f"{path}&timeoutSeconds=1") as second:
                assert (first.status, second.status) == (200, 200)
                await until(2)
                await second.read()
                await until(1)
        await until(0)
    finally:
        await server.close()
