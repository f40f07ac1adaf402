"""What every store promises (moorings_core.ports.store.Store)."""

import asyncio
import itertools
import os
import re
import sqlite3
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moorings_core.pki.keyring import Keyring
from moorings_core.ports.store import (
    Compacted,
    DeleteRecord,
    PreconditionFailed,
    PutRecord,
    StoreEvent,
    StoreUnavailable,
    UnfinishedCopy,
)
from moorings_core.store.etcd.connection import EtcdParameters
from moorings_core.store.etcd.store import EtcdStore
from moorings_core.store.memory import MemoryStore
from moorings_core.store.sealed import SealedStore
from moorings_core.store.sqlite import CorruptStore, SqliteStore
from tests.etcd_process import Etcd


def sealed(inner):
    """Return how a store is opened under encryption of half of what these tests write."""

    async def opened(path, parameters):
        return SealedStore(await inner(path, parameters), Keyring.load_or_create(path / "keys.json"), ["a", "k1", "key", "p/"])

    return opened


OPEN = {"memory": MemoryStore.open, "sqlite": SqliteStore.open, "etcd": EtcdStore.open}
OPEN |= {f"{name}, sealed": sealed(inner) for name, inner in OPEN.items()}
prefixes = itertools.count()


@pytest.fixture(params=OPEN)
def name(request):
    return request.param


@pytest.fixture
def parameters(name, request):
    """What a store of this name is opened with; each test has a prefix of its own in etcd."""
    if not name.startswith("etcd"):
        return {}
    return {"endpoints": [request.getfixturevalue("etcd").endpoint], "prefix": f"test-{next(prefixes)}"}


@pytest.fixture
async def store(name, parameters, tmp_path):
    store = await OPEN[name](tmp_path, parameters)
    yield store
    await store.close()


async def first_batches(store, prefix, after, count):
    """Return the first `count` events of a watch."""
    events = []
    async with asyncio.timeout(10):
        async for batch in store.watch(prefix, after):
            events += batch
            if len(events) >= count:
                return events[:count]
    return events


async def test_a_put_is_read_back_with_its_revision(store):
    (revision,) = await store.commit([PutRecord("a/1", b"x")])
    record = await store.get("a/1")
    assert record == ("a/1", b"x", revision)
    assert await store.get("a/2") is None
    assert await store.get("a/") is None
    assert store.revision == revision


async def test_revisions_grow_by_operation(store):
    first = await store.commit([PutRecord("a", b"1"), PutRecord("b", b"2")])
    second = await store.commit([DeleteRecord("a"), PutRecord("b", b"3"), DeleteRecord("none"), PutRecord("c", b"4")])
    assert second[2] == 0
    second = [revision for revision in second if revision]
    assert list(first) + list(second) == sorted({*first, *second})


async def test_preconditions_hold_for_the_whole_commit(store):
    (revision,) = await store.commit([PutRecord("a", b"1", expect=0)])
    with pytest.raises(PreconditionFailed) as caught:
        await store.commit([PutRecord("b", b"2"), PutRecord("a", b"3", expect=0)])
    assert (caught.value.index, caught.value.key, caught.value.have) == (1, "a", revision)
    assert await store.get("b") is None
    await store.commit([PutRecord("a", b"4", expect=revision)])
    with pytest.raises(PreconditionFailed):
        await store.commit([DeleteRecord("a", expect=revision)])


async def test_what_a_write_was_refused_for_is_there_when_the_refusal_is_told(store):
    async def make(*more):
        try:
            await store.commit([PutRecord("a", b"1", expect=0), *more])
        except PreconditionFailed as refusal:
            return refusal.have, await store.get("a")
        return "made"

    slow = [PutRecord(f"b/{n}", b"x" * 1000) for n in range(50)]
    outcomes = await asyncio.gather(make(*slow), make())
    outcomes.remove("made")
    ((have, found),) = outcomes
    assert found is not None and found.revision == have


async def test_deleting_what_is_not_there_is_no_operation(store):
    before = store.revision
    assert list(await store.commit([DeleteRecord("nothing")])) == [0]
    assert store.revision == before


async def test_of_many_conditional_writers_one_wins(store):
    async def attempt(number):
        try:
            await store.commit([PutRecord("leader", str(number).encode(), expect=0)])
        except PreconditionFailed:
            return 0
        return 1

    assert sum(await asyncio.gather(*(attempt(n) for n in range(20)))) == 1


async def test_lists_are_ordered_paged_and_of_one_revision(store):
    await store.commit([PutRecord(f"p/{n:02}", b"old") for n in range(10)])
    at = store.revision
    await store.commit([PutRecord("p/03", b"new"), DeleteRecord("p/04"), PutRecord("p/99", b"late"), PutRecord("q/1", b"x")])
    first = await store.list("p/", at=at, limit=4)
    assert ([r.key for r in first.records], first.more, first.remaining) == (["p/00", "p/01", "p/02", "p/03"], True, 6)
    rest = await store.list("p/", at=at, after=first.records[-1].key)
    assert [r.value for r in [*first.records, *rest.records]] == [b"old"] * 10
    newest = await store.list("p/")
    assert [r.key for r in newest.records if r.value != b"old"] == ["p/03", "p/99"]


async def test_a_watch_continues_where_it_is_told_without_gap_or_double(store):
    await store.commit([PutRecord("a/1", b"1")])
    after = store.revision
    await store.commit([PutRecord("a/2", b"2"), PutRecord("b/1", b"x")])
    following = asyncio.create_task(first_batches(store, "a/", after, 3))
    await asyncio.sleep(0)
    await store.commit([PutRecord("a/3", b"3")])
    await store.commit([DeleteRecord("a/1")])
    events = await following
    assert [(e.key, e.value) for e in events] == [("a/2", b"2"), ("a/3", b"3"), ("a/1", None)]
    assert [e.revision for e in events] == sorted(e.revision for e in events)


async def test_compaction_ends_old_history_only(store):
    revisions = [(await store.commit([PutRecord("a", str(n).encode())]))[0] for n in range(5)]
    await store.compact(revisions[-2])
    with pytest.raises(Compacted):
        await first_batches(store, "", revisions[0] - 1, 1)
    with pytest.raises(Compacted):
        await store.list("", at=revisions[0])
    assert (await store.get("a")).value == b"4"
    assert [e.value for e in await first_batches(store, "", revisions[-2], 1)] == [b"4"]


async def test_the_latest_revision_contains_what_was_acknowledged(store):
    (revision,) = await store.commit([PutRecord("a", b"1")])
    assert await store.latest() >= revision


async def test_a_commit_as_big_as_allowed_is_one_commit(store):
    most = min(store.most, 2000)
    revisions = await store.commit([PutRecord(f"n/{n:04}", b"v") for n in range(most)])
    assert len({*revisions}) == most
    page = await store.list("n/")
    assert [r.revision for r in page.records] == list(revisions)
    with pytest.raises(PreconditionFailed):
        await store.commit([*(PutRecord(f"n/{n:04}", b"w") for n in range(most - 1)), PutRecord("late", b"x", expect=5)])
    assert {r.value for r in (await store.list("n/")).records} == {b"v"}


async def test_a_copy_keeps_revisions_and_goes_on_after_them(store, name, parameters, tmp_path):
    changes = [StoreEvent("a/1", b"one", 7), StoreEvent("a/2", b"two", 9), StoreEvent("a/3", b"three", 12)]
    await store.receive(changes)
    await store.receive([StoreEvent("a/2", b"zwei", 15), StoreEvent("a/3", None, 16)])
    if not name.startswith("memory"):
        with pytest.raises(UnfinishedCopy):
            await OPEN[name](tmp_path, parameters)
    await store.continue_from(20)
    assert list((await store.list("")).records) == [("a/1", b"one", 7), ("a/2", b"zwei", 15)]
    with pytest.raises(Compacted):
        await first_batches(store, "", 15, 1)
    with pytest.raises(PreconditionFailed) as caught:
        await store.commit([PutRecord("a/1", b"uno", expect=6)])
    assert caught.value.have == 7
    following = asyncio.create_task(first_batches(store, "", 20, 2))
    first, second = [*await store.commit([PutRecord("a/1", b"uno", expect=7)]), *await store.commit([DeleteRecord("a/2", expect=15)])]
    assert 20 < first < second
    assert await following == [("a/1", b"uno", first), ("a/2", None, second)]
    if not name.startswith("memory"):
        await store.close()
        again = await OPEN[name](tmp_path, parameters)
        assert list((await again.list("")).records) == [("a/1", b"uno", first)]
        await again.close()


async def test_close_ends_watches_and_refuses_writes(store):
    following = asyncio.create_task(first_batches(store, "", store.revision, 1))
    await asyncio.sleep(0)
    await store.close()
    assert await following == []


operations = st.lists(
    st.one_of(
        st.builds(PutRecord, st.sampled_from("abc"), st.binary(max_size=3)),
        st.builds(DeleteRecord, st.sampled_from("abc")),
    ),
    max_size=12,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=operations)
async def test_replaying_the_watch_gives_the_state(steps):
    store = MemoryStore()
    for step in steps:
        await store.commit([step])
    state = {}
    if store.revision:
        async for batch in store.watch("", 0):
            for event in batch:
                if event.value is None:
                    state.pop(event.key)
                else:
                    state[event.key] = event.value
            break
    assert state == {r.key: r.value for r in (await store.list("")).records}


class TestSqlite:
    async def test_reopening_continues_revisions(self, tmp_path):
        store = await SqliteStore.open(tmp_path, {})
        (revision,) = await store.commit([PutRecord("a", b"1")])
        await store.close()
        again = await SqliteStore.open(tmp_path, {})
        assert (await again.get("a")).revision == revision
        assert list(await again.commit([PutRecord("b", b"2")])) == [revision + 1]
        with pytest.raises(PreconditionFailed):
            await again.commit([PutRecord("a", b"x", expect=0)])
        await again.close()

    async def test_killed_under_load_every_acknowledged_write_is_there(self, tmp_path):
        program = """
import asyncio, sys, pathlib
from moorings_core.store.sqlite import SqliteStore
from moorings_core.ports.store import PutRecord
async def main():
    store = await SqliteStore.open(pathlib.Path(sys.argv[1]), {})
    async def writer(w):
        n = 0
        while True:
            (revision,) = await store.commit([PutRecord(f"{w}/{n}", b"v" * 2000)])
            sys.stdout.write(f"{w}/{n} {revision}\\n"); sys.stdout.flush()
            n += 1
    await asyncio.gather(*(writer(w) for w in range(64)))
asyncio.run(main())
"""
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(tmp_path), stdout=asyncio.subprocess.PIPE)
        acknowledged = {}
        async with asyncio.timeout(60):
            while len(acknowledged) < 1500:
                key, revision = (await process.stdout.readline()).split()
                acknowledged[key.decode()] = int(revision)
        process.kill()
        rest = await process.stdout.read()
        for line in rest.splitlines():
            if len(line.split()) == 2:
                key, revision = line.split()
                acknowledged[key.decode()] = int(revision)
        await process.wait()
        store = await SqliteStore.open(tmp_path, {})
        stored = {r.key: r.revision for r in (await store.list("")).records}
        await store.close()
        assert {k: stored.get(k) for k in acknowledged} == acknowledged

    async def test_a_damaged_value_is_noticed(self, tmp_path):
        store = await SqliteStore.open(tmp_path, {})
        await store.commit([PutRecord("a", b"precious")])
        await store.close()
        connection = sqlite3.connect(tmp_path / "moorings.db")
        connection.execute("UPDATE log SET value = ? WHERE key = 'a'", (b"pretious",))
        connection.commit()
        connection.close()
        again = await SqliteStore.open(tmp_path, {})
        with pytest.raises(CorruptStore, match="restore it from a backup"):
            await again.get("a")
        await again.close()

    async def test_a_damaged_file_is_refused_with_advice(self, tmp_path):
        (tmp_path / "moorings.db").write_bytes(b"this is no database" * 100)
        with pytest.raises(CorruptStore, match="backup"):
            await SqliteStore.open(tmp_path, {})

    async def test_a_full_disk_refuses_writes_keeps_reads_and_recovers(self, tmp_path):
        room = tmp_path / "small"
        room.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(room)], check=True)
        try:
            store = await SqliteStore.open(room, {})
            await store.commit([PutRecord("kept", b"1")])
            ballast = room / "ballast"
            with pytest.raises(StoreUnavailable):
                for n in range(1000):
                    await store.commit([PutRecord(f"big/{n}", os.urandom(50_000))])
            ballast.unlink(missing_ok=True)
            assert (await store.get("kept")).value == b"1"
            before = store.revision
            subprocess.run(["mount", "-o", "remount,size=16m", str(room)], check=True)
            (revision,) = await store.commit([PutRecord("after", b"2")])
            assert revision > before
            assert (await store.get("after")).value == b"2"
            await store.close()
        finally:
            subprocess.run(["umount", str(room)], check=True)


class TestEtcd:
    """What only a store that others share has to promise."""

    @pytest.fixture
    def etcd(self, tmp_path):
        etcd = Etcd(tmp_path)
        etcd.start()
        yield etcd
        etcd.stop()

    async def test_two_servers_see_one_order_with_the_same_revisions(self, etcd, tmp_path):
        one, two = [await EtcdStore.open(tmp_path, {"endpoints": etcd.endpoint}) for _ in range(2)]
        after = one.revision
        seen = [asyncio.create_task(first_batches(store, "", after, 150)) for store in (one, two)]

        async def writer(store, name):
            for n in range(25):
                await store.commit([PutRecord(f"{name}/{n}", b"v"), PutRecord(f"{name}/gone", b"v"), PutRecord(f"{name}/{n}b", b"v")])

        await asyncio.gather(*(writer(store, name) for store, name in ((one, "a"), (two, "b"))))
        first, second = await asyncio.gather(*seen)
        assert first == second
        assert [e.revision for e in first] == sorted({e.revision for e in first})
        listed = {r.key: r.revision for r in (await two.list("")).records}
        assert listed == {e.key: e.revision for e in first}
        await one.close()
        await two.close()

    async def test_a_follower_of_one_server_reaches_what_another_server_wrote(self, etcd, tmp_path):
        one, two = [await EtcdStore.open(tmp_path, {"endpoints": etcd.endpoint}) for _ in range(2)]
        reached = asyncio.Event()

        async def follow(wanted):
            async for batch in one.watch("", one.revision):
                if batch[-1].revision >= wanted:
                    reached.set()

        await two.commit([PutRecord("a", b"1")])
        other = await EtcdStore.open(tmp_path, {"endpoints": etcd.endpoint, "prefix": "somebody-else"})
        await other.commit([PutRecord("a", b"1")])
        following = asyncio.create_task(follow(await one.latest()))
        async with asyncio.timeout(10):
            while not reached.is_set():
                await one.latest()
                await asyncio.sleep(0.05)
        following.cancel()
        for store in (one, two, other):
            await store.close()

    async def test_concurrent_commits_share_transactions_and_losers_lose_alone(self, etcd, tmp_path):
        store = await EtcdStore.open(tmp_path, {"endpoints": etcd.endpoint})
        (base,) = await store.commit([PutRecord("contended", b"0")])

        async def attempt(n):
            try:
                await store.commit([PutRecord(f"own/{n}", b"v", expect=0), PutRecord("contended", b"1", expect=base)])
            except PreconditionFailed as error:
                return error.index, error.key
            return None

        async def alone(n):
            return await store.commit([PutRecord(f"alone/{n}", b"v", expect=0)])

        won, revisions = await asyncio.gather(asyncio.gather(*map(attempt, range(20))), asyncio.gather(*map(alone, range(200))))
        assert won.count(None) == 1
        assert {*won} == {None, (1, "contended")}
        assert len((await store.list("own/")).records) == 1
        assert len({revision for (revision,) in revisions}) == 200
        assert len({store.numbers.back(revision) for (revision,) in revisions}) < 100, "many commits to a transaction"
        await store.close()

    async def test_killed_and_started_again_it_is_followed_without_a_gap(self, etcd, tmp_path):
        store = await EtcdStore.open(tmp_path, {"endpoints": etcd.endpoint})
        following = asyncio.create_task(first_batches(store, "", store.revision, 30))
        acknowledged = []
        for n in range(20):
            acknowledged += await store.commit([PutRecord(f"a/{n}", b"v")])
        await asyncio.to_thread(etcd.stop, kill=True)
        with pytest.raises(StoreUnavailable, match="etcd"):
            await store.commit([PutRecord("while-away", b"v")])
        with pytest.raises(StoreUnavailable):
            await store.latest()
        await asyncio.to_thread(etcd.start)
        for n in range(20, 30):
            acknowledged += await self._when_back(store, PutRecord(f"a/{n}", b"v"))
        seen = await following
        assert [e.revision for e in seen] == acknowledged[:30]
        await store.close()

    @staticmethod
    async def _when_back(store, operation):
        async with asyncio.timeout(20):
            while True:
                try:
                    return await store.commit([operation])
                except StoreUnavailable:
                    await asyncio.sleep(0.05)

    async def test_a_full_etcd_refuses_writes_with_its_reason_and_keeps_reads(self, tmp_path):
        etcd = Etcd(tmp_path, "--quota-backend-bytes", str(4 << 20))
        etcd.start()
        store = await EtcdStore.open(tmp_path, {"endpoints": etcd.endpoint})
        await store.commit([PutRecord("kept", b"1")])
        with pytest.raises(StoreUnavailable, match="space"):
            for n in range(200):
                await store.commit([PutRecord(f"big/{n}", os.urandom(200_000))])
        assert (await store.get("kept")).value == b"1"
        await store.close()
        etcd.stop()

    @pytest.mark.parametrize(
        ("parameters", "complaint"),
        [
            ({"endpoint": "x"}, "endpoint: etcd has no such parameter"),
            ({"endpoints": ["ftp://x"]}, "'ftp://x' is no URL"),
            ({"endpoints": ["http://a:1", "https://b:1"]}, "all must be http, or all https"),
            ({"endpoints": "https://a:1", "ca": "/nowhere/ca"}, "no file /nowhere/ca"),
            ({"transaction": 0}, "a number from 1 to 1000"),
        ],
    )
    async def test_wrong_parameters_are_named(self, parameters, complaint, tmp_path):
        with pytest.raises(EtcdParameters, match=re.escape(complaint)):
            await EtcdStore.open(tmp_path, parameters)
