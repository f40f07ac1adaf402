"""Encryption over a store: what the store below sees, what damage looks like, how keys change."""

import asyncio
import json

import pytest

from moorings_core.pki.keyring import BadKeyring, Keyring, add_key
from moorings_core.ports.store import DeleteRecord, PutRecord
from moorings_core.store.memory import MemoryStore
from moorings_core.store.sealed import MARK, CorruptValue, KeyMissing, SealedStore

SECRET, PLAIN = "core/secrets/x/a", "core/pods/x/a"


@pytest.fixture
def ring(tmp_path):
    return Keyring.load_or_create(tmp_path / "keys.json")


@pytest.fixture
async def store(ring):
    store = SealedStore(MemoryStore(), ring, ["core/secrets/"])
    yield store
    await store.close()


async def test_the_store_below_sees_no_value_that_is_to_be_sealed_and_every_other_as_it_is(store):
    await store.commit([PutRecord(SECRET, b"word"), PutRecord(PLAIN, b"word")])
    below = {record.key: record.value for record in (await store.inner.list("")).records}
    assert below[PLAIN] == b"word"
    assert below[SECRET].startswith(MARK) and b"word" not in below[SECRET]
    assert {r.key: r.value for r in (await store.list("")).records} == {SECRET: b"word", PLAIN: b"word"}


async def test_the_same_value_is_never_sealed_alike(store):
    await store.commit([PutRecord("core/secrets/x/a", b"word"), PutRecord("core/secrets/x/b", b"word")])
    values = {record.value for record in (await store.inner.list("")).records}
    assert len(values) == 2


async def test_a_watch_sees_what_was_written(store):
    start = store.revision
    await store.commit([PutRecord(SECRET, b"1")])
    await store.commit([PutRecord(SECRET, b"2")])
    await store.commit([DeleteRecord(SECRET)])
    events = []
    async with asyncio.timeout(10):
        async for batch in store.watch("", start):
            events += [event.value for event in batch]
            if len(events) == 3:
                break
    assert events == [b"1", b"2", None]


async def test_a_value_that_is_changed_or_moved_is_told_apart(store):
    await store.commit([PutRecord(SECRET, b"word")])
    sealed = (await store.inner.get(SECRET)).value
    await store.inner.commit([PutRecord("core/secrets/x/b", sealed)])
    with pytest.raises(CorruptValue, match="core/secrets/x/b is not what was encrypted"):
        await store.get("core/secrets/x/b")
    await store.inner.commit([PutRecord(SECRET, sealed[:-1] + bytes([sealed[-1] ^ 1]))])
    with pytest.raises(CorruptValue):
        await store.list("")


async def test_rewriting_seals_with_the_newest_key_what_is_clear_or_older_and_leaves_the_rest(store, ring):
    await store.inner.commit([PutRecord("core/secrets/x/clear", b"clear"), PutRecord(PLAIN, b"plain")])
    await store.commit([PutRecord(f"core/secrets/x/{n}", b"%d" % n) for n in range(600)])
    add_key(ring.path)
    assert ring.reload()
    assert await store.rewrite() == 601
    mark = MARK + ring.current.encode()
    below = (await store.inner.list("")).records
    assert all(record.value.startswith(mark) for record in below if record.key != PLAIN)
    assert (await store.get("core/secrets/x/clear")).value == b"clear"
    assert await store.rewrite() == 0


async def test_rewriting_loses_no_write_that_comes_in_between(store, ring):
    await store.commit([PutRecord(f"core/secrets/x/{n}", b"old") for n in range(300)])
    add_key(ring.path)
    ring.reload()
    writes = [store.commit([PutRecord(f"core/secrets/x/{n}", b"new")]) for n in range(0, 300, 7)]
    await asyncio.gather(store.rewrite(), *writes)
    values = {record.key: record.value for record in (await store.list("")).records}
    assert values == {f"core/secrets/x/{n}": b"old" if n % 7 else b"new" for n in range(300)}


async def test_without_its_key_a_value_is_not_read_and_the_key_is_named(store, ring):
    await store.commit([PutRecord(SECRET, b"word")])
    old = ring.current
    add_key(ring.path)
    keys = json.loads(ring.path.read_text())["keys"]
    ring.path.write_text(json.dumps({"keys": keys[:1]}))
    ring.reload()
    with pytest.raises(KeyMissing, match=f"{SECRET} is encrypted with the key '{old}', which {ring.path} does not hold"):
        await store.get(SECRET)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "no file of keys"),
        ("[", "no file of keys"),
        ('{"keys": []}', "there is no key in it"),
        ('{"keys": [{"id": "a", "key": "AAAA"}]}', "is not 32 bytes long"),
        ('{"keys": [{"id": "a:b", "key": "' + "A" * 43 + '="}]}', "its id has other than"),
    ],
)
def test_a_file_of_keys_that_is_wrong_says_what_is(tmp_path, text, words):
    path = tmp_path / "keys.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(BadKeyring, match=words):
        Keyring.load_or_create(path)


def test_a_file_of_keys_that_breaks_leaves_the_old_keys_in_use(ring):
    before = ring.current
    ring.path.write_text("broken")
    with pytest.raises(BadKeyring):
        ring.reload()
    assert ring.current == before and before in ring.keys
