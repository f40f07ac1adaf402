"""One nf_tables transaction: operations in, bytes out, and the way back from an error's sequence number to the element."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from . import wire
from .wire import ElementError, attribute, message, nested, number, text

MOST_BYTES = 60_000
"""Of elements in one message: NFTA_SET_ELEM_LIST_ELEMENTS is one attribute, whose length is 16 bits."""


@dataclass(frozen=True, slots=True)
class SetSpec:
    """A set or map whose elements are written raw. Concatenated keys come packed, every part padded to 4 bytes.

    kind: "set", "map" (data_length bytes of data) or "verdicts"; interval: keys come as start + end, both key_length long.
    bounds: an interval set of one field, which the kernel keeps as bounds: a key is a bound and a byte more, 1 where an interval
    ends before it (then there is no data). Such a set is written from its lowest bound up, ends before beginnings.
    """

    family: int
    table: str
    name: str
    key_length: int
    kind: Literal["set", "map", "verdicts"] = "set"
    data_length: int = 0
    interval: bool = False
    bounds: bool = False


@dataclass(frozen=True, slots=True)
class ChainSpec:
    """A chain without hook (one that is jumped or gone to)."""

    family: int
    table: str
    name: str


@dataclass(slots=True)
class _Operation:
    label: str
    build: Callable[[int, int], bytes]
    keys: Sequence[bytes] = ()
    sizes: Sequence[int] = ()


class Batch:
    """Operations of one transaction: all take effect together or none does."""

    def __init__(self) -> None:
        self._operations: list[_Operation] = []
        self.elements = 0
        self.size = 0

    def __bool__(self) -> bool:
        return bool(self._operations)

    def add_elements(self, spec: SetSpec, items: Iterable[tuple[bytes, bytes]], timeout: int = 0) -> None:
        """Add (key, data) elements; data is b"" in a set, `wire.verdict(...)` in a verdict map. timeout: ms, 0 none."""
        encode = element_encoder(spec, timeout)
        self._elements(spec, wire.NEWSETELEM, wire.F_CREATE, "add element", ((key, encode(key, data)) for key, data in items))

    def delete_elements(self, spec: SetSpec, keys: Iterable[bytes]) -> None:
        """Delete elements by key. An absent one fails the transaction with ENOENT."""
        encode = element_encoder(SetSpec(spec.family, spec.table, spec.name, spec.key_length, interval=spec.interval, bounds=spec.bounds))
        self._elements(spec, wire.DELSETELEM, 0, "delete element", ((key, encode(key, b"")) for key in keys))

    def flush_elements(self, spec: SetSpec) -> None:
        """Delete every element of a set or map."""
        body = text(1, spec.table) + text(2, spec.name)
        self._append(_Operation(f"flush set {spec.name}", _builder(wire.DELSETELEM, 0, spec.family, body)), len(body))

    def add_chain(self, spec: ChainSpec) -> None:
        """Add a chain; one that is there already stays as it is."""
        body = text(1, spec.table) + text(3, spec.name)
        self._append(_Operation(f"add chain {spec.name}", _builder(wire.NEWCHAIN, wire.F_CREATE, spec.family, body)), len(body))

    def flush_chain(self, spec: ChainSpec) -> None:
        """Delete every rule of a chain."""
        body = text(1, spec.table) + text(2, spec.name)
        self._append(_Operation(f"flush chain {spec.name}", _builder(wire.DELRULE, 0, spec.family, body)), len(body))

    def delete_chain(self, spec: ChainSpec) -> None:
        """Delete a chain with its rules. EBUSY while something leads to it."""
        body = text(1, spec.table) + text(3, spec.name)
        self._append(_Operation(f"delete chain {spec.name}", _builder(wire.DELCHAIN, 0, spec.family, body)), len(body))

    def add_dynamic_map(self, spec: SetSpec, key_type: int, data_type: int, size: int) -> None:
        """Add a map that packets write to (see `expressions.update`); one that is there already stays as it is.

        The types are nft's datatype numbers, 6 bits each part of a concatenation; only for showing.
        """
        body = text(1, spec.table) + text(2, spec.name) + number(3, 0x8 | 0x10 | 0x20)  # map, timeout, eval
        body += number(4, key_type) + number(5, spec.key_length) + number(6, data_type) + number(7, spec.data_length)
        body += nested(9, number(1, size)) + number(10, len(self._operations) + 1)
        self._append(_Operation(f"add map {spec.name}", _builder(wire.NEWSET, wire.F_CREATE, spec.family, body)), len(body))

    def delete_set(self, spec: SetSpec) -> None:
        """Delete a set or map. EBUSY while a rule uses it."""
        body = text(1, spec.table) + text(2, spec.name)
        self._append(_Operation(f"delete set {spec.name}", _builder(wire.DELSET, 0, spec.family, body)), len(body))

    def add_rule(self, spec: ChainSpec, expressions: Sequence[bytes]) -> None:
        """Append a rule, given as encoded expressions (see `expressions`)."""
        body = text(1, spec.table) + text(2, spec.name) + nested(4, *(nested(1, part) for part in expressions))
        flags = wire.F_CREATE | 0x800  # NLM_F_APPEND
        self._append(_Operation(f"add rule in {spec.name}", _builder(wire.NEWRULE, flags, spec.family, body)), len(body))

    def delete_table(self, family: int, name: str) -> None:
        """Delete a table with all that is in it. An absent one fails with ENOENT."""
        body = text(1, name)
        self._append(_Operation(f"delete table {name}", _builder(wire.DELTABLE, 0, family, body)), len(body))

    def encode(self, sequence: int, generation: int | None = None) -> bytes:
        """Return the whole transaction, to be sent at once. Messages are numbered from `sequence`; the last asks for an answer.

        With generation the kernel refuses (ERESTART) when the ruleset has changed since that generation id was read.
        """
        begin = attribute(1, struct.pack(">I", generation)) if generation is not None else b""
        parts = [wire.control(wire.BATCH_BEGIN, sequence, begin)]
        last = len(self._operations) - 1
        for index, operation in enumerate(self._operations):
            parts.append(operation.build(sequence + 1 + index, wire.F_ACK if index == last else 0))
        parts.append(wire.control(wire.BATCH_END, sequence + 2 + last))
        return b"".join(parts)

    @property
    def messages(self) -> int:
        """How many sequence numbers the transaction takes."""
        return len(self._operations) + 2

    def explain(self, index: int, errno: int, offset: int, words: str) -> ElementError:
        """Return what an error means that came for the index-th message (0: the begin), at a byte offset (-1: not told)."""
        if not 1 <= index <= len(self._operations):
            return ElementError("transaction", b"", errno, words)
        operation = self._operations[index - 1]
        at = len(operation.build(0, 0)) - sum(operation.sizes)
        for key, size in zip(operation.keys, operation.sizes, strict=True):
            at += size
            if offset < at and offset >= 0:
                return ElementError(operation.label, key, errno, words)
        return ElementError(operation.label, operation.keys[0] if len(operation.keys) == 1 else b"", errno, words)

    def _append(self, operation: _Operation, size: int) -> None:
        self._operations.append(operation)
        self.size += size

    def _elements(self, spec: SetSpec, kind: int, flags: int, label: str, items: Iterable[tuple[bytes, bytes]]) -> None:
        keys: list[bytes] = []
        parts: list[bytes] = []
        size = 0
        for key, part in items:
            if size + len(part) > MOST_BYTES:
                self._element_message(spec, kind, flags, label, keys, parts)
                keys, parts, size = [], [], 0
            keys.append(key)
            parts.append(part)
            size += len(part)
        if keys:
            self._element_message(spec, kind, flags, label, keys, parts)

    def _element_message(self, spec: SetSpec, kind: int, flags: int, label: str, keys: Sequence[bytes], parts: Sequence[bytes]) -> None:
        body = text(1, spec.table) + text(2, spec.name) + nested(3, *parts)
        operation = _Operation(f"{label} {spec.name}", _builder(kind, flags, spec.family, body), keys, [len(p) for p in parts])
        self.elements += len(keys)
        self._append(operation, len(body))


def _builder(kind: int, flags: int, family: int, body: bytes) -> Callable[[int, int], bytes]:
    return lambda sequence, more: message(kind, flags | more, sequence, family, body)


def element_encoder(spec: SetSpec, timeout: int = 0) -> Callable[[bytes, bytes], bytes]:
    """Return a function from (key, data) to one NFTA_LIST_ELEM attribute.

    All elements of one map have the same shape, so everything but key and data is packed once.
    """
    length = spec.key_length
    tail = attribute(4, struct.pack(">Q", timeout)) if timeout else b""
    if spec.interval:

        def interval(key: bytes, data: bytes) -> bytes:
            upper = nested(10, attribute(1, key[length:]))
            return nested(1, nested(1, attribute(1, key[:length])), upper, tail)

        return interval
    if spec.bounds:

        def bound(key: bytes, data: bytes) -> bytes:
            value = nested(2, attribute(1, data)) if data else b""
            return nested(1, nested(1, attribute(1, key[:length])), value, number(3, key[length]))

        return bound
    before = nested(1, attribute(1, bytes(length)))[:-length]
    if spec.kind == "map":
        head = struct.pack("=HH", 4 + 8 + length + 8 + spec.data_length + len(tail), 1 | wire.NESTED) + before
        middle = nested(2, attribute(1, bytes(spec.data_length)))[: -spec.data_length]
        return lambda key, data: head + key + middle + data + tail
    if spec.kind == "verdicts":
        return lambda key, data: nested(1, before, key, nested(2, data), tail)
    head = struct.pack("=HH", 4 + 8 + length + len(tail), 1 | wire.NESTED) + before
    return lambda key, data: head + key + tail
