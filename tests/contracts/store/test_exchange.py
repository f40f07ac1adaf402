"""A store exchanged for another one in use: every acknowledged write is there, watches see each change once and in order."""

import asyncio
import itertools
import signal

import pytest

from moorings_core.ports.store import DeleteRecord, PreconditionFailed, PutRecord, StoreUnavailable
from moorings_core.store.etcd.store import EtcdStore
from moorings_core.store.exchange import ExchangeableStore, ExchangeRefused
from moorings_core.store.memory import MemoryStore
from moorings_core.store.sqlite import SqliteStore

numbers = itertools.count()
PAIRS = [("sqlite", "etcd"), ("etcd", "sqlite"), ("sqlite", "sqlite"), ("memory", "etcd"), ("etcd", "etcd")]


@pytest.fixture
def fresh(etcd, tmp_path):
    """A function that opens an empty store."""

    async def opened(name):
        place = tmp_path / f"{name}-{next(numbers)}"
        match name:
            case "etcd":
                return await EtcdStore.open(place, {"endpoints": etcd.endpoint, "prefix": place.name})
            case "sqlite":
                return await SqliteStore.open(place, {})
        return MemoryStore()

    return opened


class Load:
    """Writers of one store, each on keys of its own, and a follower of it all."""

    def __init__(self, store):
        self.store, self.acknowledged, self.seen = store, {}, []
        self.stop = asyncio.Event()

    async def writer(self, number):
        for n in itertools.count():
            if self.stop.is_set():
                return
            key = f"{number}/{n % 7}"
            expect = self.acknowledged.get(key, (0, b""))[0]
            if expect and n % 5 == 0:
                operation, value = DeleteRecord(key, expect), None
            else:
                value = str(n).encode()
                operation = PutRecord(key, value, expect)
            (revision,) = await self.store.commit([operation])
            await asyncio.sleep(0)  # the store in memory never waits
            self.acknowledged[key] = (revision if value is not None else 0, value)
            self.newest = revision

    async def follower(self):
        async for batch in self.store.watch("", 0):
            self.seen += [event for event in batch if event.key]

    async def until(self, revision):
        async with asyncio.timeout(20):
            while not self.seen or self.seen[-1].revision < revision:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(("one", "other"), PAIRS)
async def test_exchanged_under_load_and_back(one, other, fresh):
    store = ExchangeableStore(await fresh(one))
    await store.commit([PutRecord("before", b"1")])
    load = Load(store)
    following = asyncio.create_task(load.follower())
    writers = [asyncio.create_task(load.writer(n)) for n in range(8)]
    chosen = []

    async def choose():
        chosen.append(store.revision)

    for name in (other, one):
        count = len(load.seen)
        await store.exchange(await fresh(name), choose)
        async with asyncio.timeout(20):
            while len(load.seen) < count + 50:
                await asyncio.sleep(0.01)
    load.stop.set()
    await asyncio.gather(*writers)
    (last,) = await store.commit([PutRecord("last", b"!")])
    await load.until(last)
    revisions = [event.revision for event in load.seen]
    assert revisions == sorted({*revisions})
    state = {}
    for event in load.seen:
        state[event.key] = (event.revision if event.value is not None else 0, event.value)
    assert {key: state[key] for key in load.acknowledged} == load.acknowledged
    present = {record.key: (record.revision, record.value) for record in (await store.list("")).records}
    assert present == {key: found for key, found in state.items() if found[1] is not None} | {
        key: present[key] for key in ("before", "last")
    }
    assert len(chosen) == 2
    await store.close()
    await asyncio.wait_for(following, 10)


async def test_objects_keep_their_revisions(fresh):
    store = ExchangeableStore(await fresh("sqlite"))
    (revision,) = await store.commit([PutRecord("a", b"1")])
    await store.exchange(await fresh("etcd"), _nothing)
    assert (await store.get("a")).revision == revision
    with pytest.raises(PreconditionFailed):
        await store.commit([PutRecord("a", b"2", expect=revision + 1)])
    (later,) = await store.commit([PutRecord("a", b"2", expect=revision)])
    assert later > revision
    await store.close()


async def test_a_place_that_is_not_empty_is_refused_and_nothing_changes(fresh):
    store, target = ExchangeableStore(await fresh("sqlite")), await fresh("etcd")
    await target.commit([PutRecord("somebody's", b"1")])
    with pytest.raises(ExchangeRefused, match="another prefix"):
        await store.exchange(target, _nothing)
    await store.commit([PutRecord("a", b"1")])
    assert [record.key for record in (await store.list("")).records] == ["a"]
    await store.close()


async def test_a_choice_that_cannot_be_noted_leaves_the_old_store(fresh):
    store = ExchangeableStore(await fresh("sqlite"))
    await store.commit([PutRecord("a", b"1")])

    async def fail():
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        await store.exchange(await fresh("memory"), fail)
    await store.commit([PutRecord("b", b"1")])
    assert [record.key for record in (await store.list("")).records] == ["a", "b"]
    await store.close()


async def test_an_etcd_that_goes_away_in_the_middle_leaves_the_old_store(fresh, etcd):
    store, target = ExchangeableStore(await fresh("sqlite")), await fresh("etcd")
    await store.commit([PutRecord(f"a/{n}", b"1") for n in range(30)])
    await asyncio.to_thread(etcd.stop, kill=True)
    try:
        with pytest.raises(StoreUnavailable, match="etcd"):
            await store.exchange(target, _nothing)
        await store.commit([PutRecord("b", b"1")])
        assert not store.shared
    finally:
        await asyncio.to_thread(etcd.start)
    await store.close()


async def _nothing():
    pass


class Slow(MemoryStore):
    """A store that answers nobody before it is closed, and then that it is."""

    def __init__(self):
        super().__init__()
        self.closed = asyncio.Event()

    async def latest(self):
        await self.closed.wait()
        raise StoreUnavailable("the store is closed")

    async def close(self):
        self.closed.set()
        await super().close()


async def test_who_asks_while_a_store_goes_is_answered_by_the_next_one(fresh):
    store, target = ExchangeableStore(Slow()), await fresh("sqlite")
    await store.commit([PutRecord("a", b"1")])
    asking = asyncio.create_task(store.latest())
    await asyncio.sleep(0)

    async def chosen():
        assert not asking.done()

    await store.exchange(target, chosen)
    async with asyncio.timeout(10):
        assert await asking == store.revision
    await store.close()


async def test_a_store_that_is_closed_says_so_to_who_still_waits_for_etcd(etcd, fresh):
    store = await fresh("etcd")
    etcd.process.send_signal(signal.SIGSTOP)
    try:
        asking = asyncio.create_task(store.latest())
        await asyncio.sleep(0)
        await store.close()
        with pytest.raises(StoreUnavailable):
            async with asyncio.timeout(10):
                await asking
    finally:
        etcd.process.send_signal(signal.SIGCONT)
