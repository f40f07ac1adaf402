"""The nfnetlink codec, without a kernel."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings_core.kernel.nftables import Batch, ChainSpec, SetSpec, goto, wire
from moorings_core.kernel.nftables.batch import MOST_BYTES, element_encoder

MAP = SetSpec(wire.IPV4, "t", "m", 16, "map", 8)
SET = SetSpec(wire.IPV4, "t", "s", 4)
VERDICTS = SetSpec(wire.IPV4, "t", "v", 12, "verdicts")
keys = st.binary(min_size=16, max_size=16)
data = st.binary(min_size=8, max_size=8)


def decoded(batch: Batch) -> list[wire.Message]:
    return list(wire.messages(batch.encode(100)))


@given(st.dictionaries(keys, data, max_size=40), st.sampled_from([0, 5000]))
def test_map_elements_survive_the_round_trip(items: dict[bytes, bytes], timeout: int) -> None:
    batch = Batch()
    batch.add_elements(MAP, items.items(), timeout)
    found: dict[bytes, bytes] = {}
    for message in decoded(batch)[1:-1]:
        found.update(wire.elements(message.body))
    assert found == items
    assert batch.elements == len(items)


def test_elements_of_one_shape_and_of_others_are_told_apart() -> None:
    """Those that follow one of their shape are cut out by it: also when the next has a timeout, no data, or a longer key."""
    batch, plain = Batch(), SetSpec(MAP.family, MAP.table, "s", 16)
    one, two, three, longer = b"k" * 16, b"l" * 16, b"m" * 16, b"n" * 20
    batch.add_elements(MAP, [(one, b"1" * 8), (two, b"2" * 8)])
    batch.add_elements(MAP, [(three, b"3" * 8)], 5000)
    batch.add_elements(plain, [(one, b""), (two, b"")])
    batch.add_elements(SetSpec(MAP.family, MAP.table, "l", 20, "map", 8), [(longer, b"4" * 8)])
    lists = b"".join(message.body for message in decoded(batch)[1:-1])
    every = b"".join(lists[start:end] for kind, start, end in wire.attributes(lists) if kind == 3)
    assert every
    found = list(wire.elements(wire.attribute(3, every)))
    assert found == [(one, b"1" * 8), (two, b"2" * 8), (three, b"3" * 8), (one, b""), (two, b""), (longer, b"4" * 8)]


@given(st.text("abcdefgh-0123456789", min_size=1, max_size=20))
def test_verdict_elements_are_compared_as_they_were_sent(chain: str) -> None:
    batch = Batch()
    batch.add_elements(VERDICTS, [(b"k" * 12, goto(chain))])
    assert dict(wire.elements(decoded(batch)[1].body)) == {b"k" * 12: goto(chain)}


def test_an_interval_key_is_start_and_end() -> None:
    spec = SetSpec(wire.IPV4, "t", "i", 4, interval=True)
    batch = Batch()
    batch.add_elements(spec, [(b"\x0a\0\0\0\x0a\xff\xff\xff", b"")])
    assert dict(wire.elements(decoded(batch)[1].body)) == {b"\x0a\0\0\0\x0a\xff\xff\xff": b""}


def test_no_message_outgrows_the_attribute_length() -> None:
    batch = Batch()
    batch.add_elements(MAP, ((struct.pack(">4I", 1, 2, 3, n), b"d" * 8) for n in range(5000)))
    messages = decoded(batch)
    assert len(messages) > 5
    assert all(len(m.body) < MOST_BYTES + 100 < 65536 for m in messages)
    assert [m.sequence for m in messages] == list(range(100, 100 + len(messages)))


def test_only_the_last_operation_asks_for_an_answer_and_begin_names_the_subsystem() -> None:
    batch = Batch()
    batch.add_chain(ChainSpec(wire.IPV4, "t", "c"))
    batch.add_elements(SET, [(b"abcd", b"")])
    raw = batch.encode(7, generation=9)
    messages = list(wire.messages(raw))
    assert [bool(m.flags & wire.F_ACK) for m in messages] == [False, False, True, False]
    assert (messages[0].type, messages[-1].type) == (wire.BATCH_BEGIN, wire.BATCH_END)
    assert wire.attribute_map(messages[0].body) == {1: struct.pack(">I", 9)}
    assert raw[18:20] == struct.pack(">H", 10)
    assert batch.messages == 4


@pytest.mark.parametrize(("spec", "size"), [(MAP, 44), (SET, 16), (VERDICTS, 48)])
def test_elements_are_packed_as_measured(spec: SetSpec, size: int) -> None:
    element = element_encoder(spec)(bytes(spec.key_length), goto("a") if spec.kind == "verdicts" else bytes(spec.data_length))
    length, kind = struct.unpack_from("=HH", element)
    assert kind == 1 | wire.NESTED
    assert length == len(element) == size


def test_an_error_offset_is_traced_to_its_element() -> None:
    batch = Batch()
    batch.add_elements(SET, [(bytes([n] * 4), b"") for n in range(10)])
    body = batch.encode(1)
    first = len(body) - 20 - 10 * 16
    start_of_message = 20
    offset_of_seventh = first + 6 * 16 - start_of_message
    assert batch.explain(1, 17, offset_of_seventh, "").key == bytes([6] * 4)
    assert batch.explain(1, 17, -1, "").key == b""
    assert batch.explain(0, 85, -1, "").operation == "transaction"
