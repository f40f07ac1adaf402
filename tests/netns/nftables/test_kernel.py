"""Transactions, dumps, errors and notifications against the real nf_tables, in namespaces of their own."""

import asyncio
import errno
import itertools
import os
import socket
import subprocess
from collections.abc import Iterator

import pytest

from moorings_core.kernel.nftables import (
    Batch,
    BatchError,
    Change,
    Connection,
    Monitor,
    NftablesError,
    SetSpec,
    connect,
    goto,
    run,
    run_sync,
    wire,
)  # fmt: skip
from moorings_core.kernel.nftables.connection import SO_RCVBUFFORCE

pytestmark = pytest.mark.netns
counter = itertools.count()
NUMBERS = SetSpec(wire.IPV4, "t", "m", 8, "map", 4)
VERDICTS = SetSpec(wire.IPV4, "t", "v", 4, "verdicts")
RANGES = SetSpec(wire.IPV4, "t", "r", 8, interval=True)
TABLE = """
add table ip t
add map ip t m { type ipv4_addr . mark : ipv4_addr; }
add set ip t r { type ipv4_addr . ipv4_addr; flags interval; }
add chain ip t c
add map ip t v { type ipv4_addr : verdict; }
"""


@pytest.fixture
def netns() -> Iterator[str]:
    name = f"nft{os.getpid()}-{next(counter)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield f"/run/netns/{name}"
    subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture
def connection(netns: str) -> Iterator[Connection]:
    run_sync(TABLE, netns=netns)
    connection = connect(netns)
    yield connection
    connection.close()


def test_the_parser_explains_what_it_refuses(netns: str) -> None:
    with pytest.raises(NftablesError, match="syntax error"):
        run_sync("add rubbish", netns=netns)


async def test_run_prints_what_nft_prints(netns: str) -> None:
    await run("add table ip x", netns=netns)
    assert "table ip x" in await run("list tables", netns=netns)


def test_elements_come_back_as_they_were_sent(connection: Connection) -> None:
    items = {bytes([10, 0, 0, n]) + bytes(3) + bytes([n]): bytes([10, 1, 1, n]) for n in range(200)}
    verdicts = {b"\x0a\0\0\1": goto("c"), b"\x0a\0\0\2": wire.verdict(wire.NF_DROP)}
    ranges = {bytes([10, 0, 0, 0, 1, 1, 1, 1, 10, 0, 0, 255, 1, 1, 1, 9]): b""}
    batch = Batch()
    batch.add_elements(NUMBERS, items.items())
    batch.add_elements(VERDICTS, verdicts.items())
    batch.add_elements(RANGES, ranges.items())
    connection.commit(batch)
    assert (connection.dump(NUMBERS), connection.dump(VERDICTS), connection.dump(RANGES)) == (items, verdicts, ranges)


def test_a_key_is_replaced_within_one_transaction(connection: Connection) -> None:
    first, second = Batch(), Batch()
    first.add_elements(NUMBERS, [(b"k" * 8, b"old.")])
    connection.commit(first)
    second.delete_elements(NUMBERS, [b"k" * 8])
    second.add_elements(NUMBERS, [(b"k" * 8, b"new.")])
    connection.commit(second)
    assert connection.dump(NUMBERS) == {b"k" * 8: b"new."}


def test_an_error_names_its_element_and_nothing_takes_effect(connection: Connection) -> None:
    first, second = Batch(), Batch()
    first.add_elements(NUMBERS, [(b"k" * 8, b"old.")])
    connection.commit(first)
    second.add_elements(NUMBERS, [(b"a" * 8, b"1111"), (b"k" * 8, b"new."), (b"z" * 8, b"2222")])
    second.delete_elements(VERDICTS, [b"nope"])
    with pytest.raises(BatchError) as raised:
        connection.commit(second)
    assert [(e.operation, e.key, e.errno) for e in raised.value.errors] == [
        ("add element m", b"k" * 8, errno.EEXIST),
        ("delete element v", b"nope", errno.ENOENT),
    ]
    assert connection.dump(NUMBERS) == {b"k" * 8: b"old."}
    connection.commit(first_free := Batch())
    assert not first_free


def test_a_big_transaction_is_one_transaction(connection: Connection) -> None:
    before = connection.generation()
    items = {n.to_bytes(8, "big"): n.to_bytes(4, "big") for n in range(20_000)}
    batch = Batch()
    batch.add_elements(NUMBERS, items.items())
    connection.commit(batch)
    assert connection.generation() == before + 1
    assert connection.dump(NUMBERS) == items


def test_a_stale_generation_is_refused(connection: Connection, netns: str) -> None:
    seen = connection.generation()
    run_sync("add table ip other", netns=netns)
    batch = Batch()
    batch.add_elements(NUMBERS, [(b"k" * 8, b"data")])
    with pytest.raises(BatchError) as raised:
        connection.commit(batch, generation=seen)
    assert raised.value.has(errno.ERESTART)
    connection.commit(batch, generation=connection.generation())
    assert connection.dump(NUMBERS) == {b"k" * 8: b"data"}


def test_what_a_table_holds(connection: Connection, netns: str) -> None:
    run_sync("add rule ip t c counter drop", netns=netns)
    assert connection.tables(wire.IPV4) == {"t"}
    assert connection.tables(wire.IPV6) == set()
    assert connection.chains(wire.IPV4, "t") == {"c"}
    assert connection.sets(wire.IPV4, "t") == {"m", "r", "v"}
    assert connection.sets(wire.IPV4, "absent") == set()
    assert [len(rules) for rules in connection.rules(wire.IPV4, "t").values()] == [1]
    with pytest.raises(FileNotFoundError):
        connection.dump(SetSpec(wire.IPV4, "t", "absent", 4))


async def test_a_monitor_that_lost_notices_says_that_anything_may_have_changed_and_hears_what_comes_after(netns: str) -> None:
    run_sync(TABLE, netns=netns)
    other, monitor = connect(netns), Monitor(netns=netns)
    try:
        for part in range(20):  # nobody reads meanwhile: the kernel answers the reader's next call with ENOBUFS
            batch = Batch()
            batch.add_elements(NUMBERS, ((n.to_bytes(8, "big"), b"data") for n in range(part * 10_000, (part + 1) * 10_000)))
            other.commit(batch)
        assert Change(0, "") in await asyncio.wait_for(monitor.changes(), 5)
        await run("add table ip6 after", netns=netns)
        seen: set[Change] = set()
        while Change(wire.IPV6, "after") not in seen:
            seen |= set(await asyncio.wait_for(monitor.changes(), 5))
    finally:
        monitor.close()
        other.close()


def test_more_errors_than_the_socket_holds_are_an_error_of_the_transaction_and_the_next_one_is_not_disturbed(
    connection: Connection,
) -> None:
    connection._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1)  # the kernel's least: a few answers
    wrong = Batch()
    for number in range(2000):  # a message each, so that each has an answer
        wrong.delete_elements(NUMBERS, [number.to_bytes(8, "big")])
    with pytest.raises(BatchError) as raised:
        connection.commit(wrong)
    assert raised.value.has(errno.ENOENT) or raised.value.has(errno.EPROTO)
    right = Batch()
    right.add_elements(NUMBERS, [(b"k" * 8, b"data")])
    connection.commit(right)
    assert connection.dump(NUMBERS) == {b"k" * 8: b"data"}


async def test_a_monitor_may_look_away_where_only_elements_change(connection: Connection, netns: str) -> None:
    monitor = Monitor(netns=netns, elements=False)
    try:
        await run("add element ip t m { 1.2.3.4 . 5 : 6.7.8.9 }", netns=netns)
        await run("delete element ip t m { 1.2.3.4 . 5 }", netns=netns)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(monitor.changes(), 0.2)
        await run("add rule ip t c accept", netns=netns)
        assert await asyncio.wait_for(monitor.changes(), 5) == {Change(wire.IPV4, "t")}
        await run("flush ruleset", netns=netns)
        assert Change(wire.IPV4, "t") in await asyncio.wait_for(monitor.changes(), 5)
    finally:
        monitor.close()


async def test_the_monitor_sees_others_and_not_ourselves(connection: Connection, netns: str) -> None:
    monitor = Monitor(connection.port, netns)
    try:
        batch = Batch()
        batch.add_elements(NUMBERS, ((n.to_bytes(8, "big"), b"data") for n in range(30_000)))
        await asyncio.to_thread(connection.commit, batch)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(monitor.changes(), 0.2)
        await run("flush map ip t m", netns=netns)
        flushed = await asyncio.wait_for(monitor.changes(), 5)
        assert flushed
        assert flushed <= {Change(wire.IPV4, "t"), Change(0, "")}
        await run("add table ip6 other", netns=netns)
        seen: set[Change] = set()
        while Change(wire.IPV6, "other") not in seen:
            seen |= set(await asyncio.wait_for(monitor.changes(), 5))
    finally:
        monitor.close()
