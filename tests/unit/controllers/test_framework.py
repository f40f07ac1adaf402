"""The queue, the caches that know our own writes, the loop, and the manager over real informers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings_core.client.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
)
from moorings_core.controllers.framework import Cache, Intent, Note, Question, Result, Watch, WorkQueue
from moorings_core.controllers.manager import Manager
from moorings_core.controllers.ownership import itself
from moorings_core.ports.client import Create, Patch, WatchEvent
from moorings_core.ports.cluster import FAST, ClusterConfig
from moorings_core.ports.errors import Expired, NotFound
from moorings_core.ports.objects import Key

from .simulator import Api, Kubelet, World
from .test_deployment import deployment
from .test_endpoints import service


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def keys(*names, namespace="a"):
    return [Key(namespace, name) for name in names]


def test_queue_gives_each_key_once_and_never_twice_at_a_time():
    queue = WorkQueue(Clock())
    (one,) = keys("one")
    queue.add(one)
    queue.add(one)
    assert queue.take(10) == [one] and queue.take(10) == []
    queue.add(one)
    assert queue.take(10) == [], "it is being worked on"
    queue.done(one)
    assert queue.take(10) == [one]
    queue.done(one)
    assert len(queue) == 0


def test_queue_takes_namespaces_in_turn():
    queue = WorkQueue(Clock())
    for key in [*keys("1", "2", "3", namespace="busy"), *keys("1", namespace="quiet")]:
        queue.add(key)
    assert [key.namespace for key in queue.take(3)] == ["busy", "quiet", "busy"]


def test_queue_delays_double_and_are_forgotten_after_success():
    clock = Clock()
    queue = WorkQueue(clock)
    (one,) = keys("one")
    assert [queue.retry(one) for _ in range(4)] == [0.005, 0.01, 0.02, 0.04]
    queue.forget(one)
    assert queue.retry(one) == 0.005
    assert queue.take(1) == []
    clock.now = 0.006
    assert queue.take(1) == [one]
    queue.done(one)
    clock.now = 100
    assert queue.take(1) == [], "the earliest time counts, the others are dropped"


async def test_queue_wakes_for_new_and_for_ripe_keys():
    loop = asyncio.get_running_loop()
    queue = WorkQueue(loop.time)
    one, two = keys("one", "two")
    waiting = asyncio.create_task(queue.wait())
    await asyncio.sleep(0)
    queue.add(one)
    await asyncio.wait_for(waiting, 5)
    assert queue.take(1) == [one]
    queue.add_after(two, 0.01)
    await asyncio.wait_for(queue.wait(), 5)
    assert queue.take(1) == [two]


def obj(name, version, uid="u", **metadata):
    return {"metadata": {"name": name, "namespace": "a", "uid": uid, "resourceVersion": str(version), **metadata}}


def test_cache_keeps_our_write_until_the_informer_has_caught_up():
    cache = Cache(CONFIG_MAPS, Clock())
    cache.observe(None, obj("x", 1))
    cache.assume(obj("x", 5, data="ours"))
    cache.observe(obj("x", 1), obj("x", 3))
    assert cache.get("x", "a")["metadata"]["data"] == "ours"
    cache.observe(obj("x", 3), obj("x", 7))
    assert cache.get("x", "a") == obj("x", 7)
    cache.assume(obj("x", 6, data="an answer that came late"))
    assert cache.get("x", "a") == obj("x", 7)


def test_cache_does_not_bring_back_the_dead():
    """The watch told of creation and deletion before the answer to the create arrived."""
    cache = Cache(CONFIG_MAPS, Clock())
    cache.observe(None, obj("x", 2))
    cache.observe(obj("x", 2), None)
    cache.assume(obj("x", 2))
    assert cache.get("x", "a") is None
    cache.assume(obj("x", 9, uid="another"))
    assert cache.get("x", "a") is not None


def test_cache_counts_a_deleted_object_as_deleting_whatever_old_news_says():
    cache = Cache(PODS, Clock())
    cache.observe(None, obj("x", 1))
    cache.assume_deleted(Key("a", "x"), "u", "now")
    assert cache.get("x", "a")["metadata"]["deletionTimestamp"] == "now"
    cache.observe(obj("x", 1), obj("x", 2))
    assert cache.get("x", "a")["metadata"]["deletionTimestamp"] == "now"
    cache.observe(obj("x", 2), obj("x", 3, deletionTimestamp="then"))
    assert cache.get("x", "a")["metadata"]["deletionTimestamp"] == "then"
    cache.observe(obj("x", 3), None)
    cache.observe(None, obj("x", 4, uid="fresh"))
    assert "deletionTimestamp" not in cache.get("x", "a")["metadata"]


def test_cache_gives_up_an_assumption_that_nobody_confirms():
    clock = Clock()
    cache, seen = Cache(CONFIG_MAPS, clock), []
    cache.on_change(lambda old, new: seen.append((old is not None, new is not None)))
    cache.assume(obj("x", 5))
    clock.now = 299
    cache.expire()
    assert cache.get("x", "a") is not None
    clock.now = 301
    cache.expire()
    assert cache.get("x", "a") is None and seen == [(False, True), (True, False)]


@given(st.lists(st.tuples(st.sampled_from(["create", "update", "delete"]), st.sampled_from("xyz"), st.booleans()), max_size=40))
def test_cache_ends_at_the_truth_and_indexes_agree(steps):
    """Answers and watch news of one history, in whatever relative order: in the end the cache is what the API has."""
    cache = Cache(CONFIG_MAPS, Clock())
    cache.add_index("version", lambda o: [o["metadata"]["resourceVersion"]])
    truth, news, version = {}, [], 0
    for deed, name, ours in steps:
        version += 1
        old = truth.get(name)
        if deed == "delete" or (deed == "create") == (old is not None):
            if old is None:
                continue
            truth.pop(name)
            news.append((old, None))
            if ours:
                cache.assume_deleted(Key("a", name), old["metadata"]["uid"], "t")
            continue
        new = obj(name, version, uid=old["metadata"]["uid"] if old else f"u{version}")
        truth[name] = new
        news.append((old, new))
        if ours:
            cache.assume(new)
        if version % 3 == 0 and news:
            cache.observe(*news.pop(0))
    for old, new in news:
        cache.observe(old, new)
    assert {o["metadata"]["name"]: o for o in cache} == truth
    for found in truth.values():
        assert cache.by_index("version", found["metadata"]["resourceVersion"]) == [found]
    assert sum(len(bucket) for bucket in cache._indexes["version"].values()) == len(truth)


class Copier:
    """A controller for the loop's tests: for each config map a secret of that name; chokes on "bad"."""

    name = "copier"

    def watches(self):
        return (Watch(CONFIG_MAPS, itself), Watch(SECRETS, lambda *_: ()))

    def reconcile(self, key, view, now):
        if key.name == "bad":
            raise ValueError("cannot stand it")
        source = view.get(CONFIG_MAPS, key.name, key.namespace)
        if source is None or view.get(SECRETS, key.name, key.namespace):
            return Result()
        if key.name == "asks":
            question = Question(CONFIG_MAPS, key.namespace, "absent")
            if question not in view.answers:
                return Result(questions=[question])
            assert isinstance(view.answers[question], NotFound)
        made = {"metadata": {"name": key.name, "namespace": key.namespace}}
        note = Note(source, "Normal", "Copied", "made {name}")
        failed = Note(source, "Warning", "Refused", "because {error}")
        return Result([Intent(Create(SECRETS, made), note, failed)])


async def test_one_bad_key_does_not_stop_the_others(caplog):
    api = Api()
    sim = World(api, [Copier()])
    for name in ("a", "bad", "asks", "z"):
        api.create(CONFIG_MAPS, {"metadata": {"name": name, "namespace": "d"}})
    for _ in range(5):
        sim.deliver(CONFIG_MAPS, 10)
        await sim.step(sim.loops[0])
    assert sorted(o["metadata"]["name"] for o in api.all(SECRETS)) == ["a", "asks", "z"]
    assert "key=d/bad" in caplog.text and "cannot stand it" in caplog.text
    assert ("Normal", "Copied", "made z") in sim.recorder.told


async def test_many_keys_go_in_one_commit():
    api = Api()
    commits = []
    original = api.commit

    async def counting(writes):
        commits.append(len(writes))
        return await original(writes)

    api.commit = counting
    for number in range(50):
        api.create(CONFIG_MAPS, {"metadata": {"name": f"c{number}", "namespace": "d"}})
    sim = World(api, [Copier()])
    await sim.settle()
    assert sum(commits) == 50 and len(commits) < 10


async def test_a_broken_commit_gives_the_keys_back():
    api = Api()
    api.create(CONFIG_MAPS, {"metadata": {"name": "a", "namespace": "d"}})
    sim = World(api, [Copier()])
    original, api.commit = api.commit, None  # calling None raises
    await sim.step(sim.loops[0])
    api.commit = original
    await sim.settle()
    assert len(api.all(SECRETS)) == 1


class Remote:
    """The simulator's API as a client over an event loop: lists, watches that break at random, writes."""

    def __init__(self, api: Api, rng: random.Random) -> None:
        self.api, self.rng, self.wake = api, rng, asyncio.Event()
        api.observer = self._changed

    def _changed(self):
        self.wake.set()
        self.wake = asyncio.Event()

    async def list(self, resource, namespace="", **options):
        return await self.api.list(resource, namespace)

    async def get(self, resource, name, namespace="", **options):
        return await self.api.get(resource, name, namespace)

    async def watch(self, resource, namespace="", *, since, **options) -> AsyncIterator[WatchEvent]:
        position = len(self.api.log)
        missed = [new or old for _, old, new in self.api.log if int((new or old)["metadata"]["resourceVersion"]) > int(since)]
        if missed:
            raise Expired("too old")
        while True:
            for of, old, new in self.api.log[position:]:
                if of != resource:
                    continue
                kind = "DELETED" if new is None else "MODIFIED" if old else "ADDED"
                yield WatchEvent(kind, new if new is not None else old)
                if self.rng.random() < 0.02:
                    raise ConnectionResetError("broken")
            position = len(self.api.log)
            await self.wake.wait()

    async def create(self, resource, obj, **options):
        return self.api.create(resource, obj)

    async def update(self, resource, obj, *, subresource=""):
        return self.api.update(resource, obj, subresource)

    async def patch(self, resource, name, namespace, patch, **options):
        return self.api.write(Patch(resource, namespace, name, patch))

    async def commit(self, writes):
        return await self.api.commit(writes)


@pytest.mark.parametrize("identity", ["", "me"])
async def test_manager_runs_everything_on_informers(identity):
    """A namespace with a Deployment and a Service comes to life, and all of it goes when the namespace is deleted."""
    api = Api()
    client, kubelet = Remote(api, random.Random(1)), Kubelet(api)
    resources = [PODS, DEPLOYMENTS, SERVICES, CONFIG_MAPS, SECRETS, ENDPOINT_SLICES]
    resources += [ENDPOINTS, REPLICA_SETS, SERVICE_ACCOUNTS]
    manager = Manager(client, ClusterConfig(timing=FAST), ca="PEM", identity=identity, resources=resources)
    task = asyncio.create_task(manager.run())

    async def until(condition):
        async with asyncio.timeout(20):
            while not condition():
                assert not task.done(), task.exception()
                await asyncio.sleep(0.01)

    try:
        for name in kubelet.nodes:
            status = {"conditions": [{"type": "Ready", "status": "True"}]}
            api.create(NODES, {"metadata": {"name": name}, "spec": {}, "status": status})
        api.create(NAMESPACES, {"metadata": {"name": "d"}})
        api.create(DEPLOYMENTS, deployment())
        api.create(SERVICES, service())
        await until(lambda: len(api.all(PODS)) == 3)
        kubelet.all_ready()
        await until(lambda: any(len(s["endpoints"]) == 3 for s in api.all(ENDPOINT_SLICES)))
        await until(lambda: api.read(DEPLOYMENTS, "web", "d").get("status", {}).get("availableReplicas") == 3)
        await until(lambda: len(api.all(CONFIG_MAPS)) == 1 and len(api.all(SERVICE_ACCOUNTS)) == 1)
        await until(lambda: all(n["spec"].get("podCIDR") for n in api.all(NODES)))
        api.delete(NAMESPACES, "d")
        await until(lambda: kubelet.all_ready() or not api.all(NAMESPACES))
        await until(lambda: kubelet.all_ready() or not api.all(NAMESPACES))
        await until(lambda: not api.all(PODS) and not api.all(NAMESPACES))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
