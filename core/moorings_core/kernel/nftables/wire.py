"""The nfnetlink wire format of nf_tables, as far as batches, dumps and notifications need it. Sans-I/O.

Source: linux/netfilter/nf_tables.h, linux/netfilter/nfnetlink.h, linux/netlink.h.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from moorings_core.ports.errors import MooringsError

SUBSYSTEM = 10 << 8
BATCH_BEGIN, BATCH_END = 0x10, 0x11
NLMSG_ERROR, NLMSG_DONE = 2, 3
F_REQUEST, F_ACK, F_DUMP, F_CREATE, F_EXCL, F_DUMP_INTR = 1, 4, 0x300, 0x400, 0x200, 0x10
NEWTABLE, GETTABLE, DELTABLE, NEWCHAIN, GETCHAIN, DELCHAIN, NEWRULE, GETRULE, DELRULE = range(9)
NEWSET, GETSET, DELSET, NEWSETELEM, GETSETELEM, DELSETELEM, NEWGEN, GETGEN = range(9, 17)
NESTED = 0x8000
TYPE_MASK = 0x3FFF
NF_DROP, NF_ACCEPT = 0, 1
VERDICT_GOTO, VERDICT_JUMP, VERDICT_RETURN = -4, -3, -5
INET, IPV4, IPV6 = 1, 2, 10

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
HEADER_LENGTH = _HEADER.size + 4


class ElementError(NamedTuple):
    """What the kernel refused: the operation in words, the element's key ("" when it is not an element's), the errno."""

    operation: str
    key: bytes
    errno: int
    message: str = ""

    def __str__(self) -> str:
        return f"{self.operation} {self.key.hex()}: {os.strerror(self.errno)} {self.message}".strip()


class BatchError(MooringsError):
    """A transaction was refused, so nothing of it took effect. `errors` has one entry for each message that was wrong."""

    def __init__(self, errors: Sequence[ElementError]) -> None:
        super().__init__("; ".join(str(error) for error in errors[:5]) + (" ..." if len(errors) > 5 else ""))
        self.errors = errors

    def has(self, number: int) -> bool:
        """Whether one of the errors is that errno."""
        return any(error.errno == number for error in self.errors)


@dataclass(frozen=True, slots=True)
class Message:
    """One received netlink message; body is what follows the nfgenmsg header, except for errors and DONE."""

    type: int
    flags: int
    sequence: int
    port: int
    family: int
    body: bytes


def attribute(kind: int, payload: bytes) -> bytes:
    """Return one padded netlink attribute."""
    length = len(payload) + 4
    return _ATTRIBUTE.pack(length, kind) + payload + b"\0" * (-length % 4)


def nested(kind: int, *parts: bytes) -> bytes:
    """Return an attribute that holds attributes."""
    return attribute(kind | NESTED, b"".join(parts))


def text(kind: int, value: str) -> bytes:
    """Return a NUL-terminated string attribute."""
    return attribute(kind, value.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    """Return a 32-bit attribute, in network order as nf_tables wants it."""
    return attribute(kind, struct.pack(">I", value & 0xFFFFFFFF))


def message(kind: int, flags: int, sequence: int, family: int, *parts: bytes) -> bytes:
    """Return one message; kind is without the subsystem of nf_tables."""
    return _message(SUBSYSTEM | kind, flags, sequence, family, b"".join(parts), 0)


def control(kind: int, sequence: int, body: bytes = b"") -> bytes:
    """Return BATCH_BEGIN or BATCH_END for a transaction of the nf_tables subsystem."""
    return _message(kind, 0, sequence, 0, body, SUBSYSTEM >> 8)


def _message(kind: int, flags: int, sequence: int, family: int, body: bytes, resource: int) -> bytes:
    head = _HEADER.pack(HEADER_LENGTH + len(body), kind, flags | F_REQUEST, sequence, 0)
    return head + struct.pack(">BBH", family, 0, resource) + body


def verdict(code: int, chain: str = "") -> bytes:
    """Return the content of a verdict map's data: NFTA_DATA_VERDICT."""
    parts = number(1, code) + (text(2, chain) if chain else b"")
    return nested(2, parts)


def goto(chain: str) -> bytes:
    """Return the verdict `goto chain`."""
    return verdict(VERDICT_GOTO, chain)


def messages(data: bytes) -> Iterator[Message]:
    """Split what one recv returned."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, flags, sequence, port = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        if kind in (NLMSG_ERROR, NLMSG_DONE):
            yield Message(kind, flags, sequence, port, 0, data[at + _HEADER.size : at + length])
        else:
            family = data[at + _HEADER.size] if length > _HEADER.size else 0
            yield Message(kind, flags, sequence, port, family, data[at + HEADER_LENGTH : at + length])
        at += length + (-length % 4)


def attributes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int, int]]:
    """Yield (kind, start, end) of each attribute's payload within data."""
    at, end = start, len(data) if end is None else end
    while at + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < 4:
            return
        yield kind & TYPE_MASK, at + 4, at + length
        at += length + (-length % 4)


def attribute_map(data: bytes) -> dict[int, bytes]:
    """Return the attributes of a message or of a nested attribute by kind; the last of a kind wins."""
    return {kind: data[start:end] for kind, start, end in attributes(data)}


def string(payload: bytes) -> str:
    """Return what a string attribute holds."""
    return payload.rstrip(b"\0").decode()


def elements(body: bytes, *, bounds: bool = False) -> Iterator[tuple[bytes, bytes]]:
    """Yield (key, data) of each element in a NEWSETELEM message; data is b"" in a set, NFTA_DATA_VERDICT whole in a verdict map.

    A key that is the start of an interval is followed by its end; with bounds by a byte: 1 where an interval ends before it.
    """
    for kind, start, end in attributes(body):
        if kind == 3:
            yield from _listed(body, start, end, bounds)


def _listed(body: bytes, at: int, end: int, bounds: bool) -> Iterator[tuple[bytes, bytes]]:
    """Yield the elements of a list. Nearly all have the shape of the one before them: those are cut out without a look inside."""
    while at + 4 <= end:
        length = _ATTRIBUTE.unpack_from(body, at)[0]
        if length < 4:
            return
        key, data = _element(body, at + 4, at + length, bounds)
        yield key, data
        start, size = at + 12, len(key)
        at += length + (-length % 4)
        plain = not bounds and size % 4 == 0 and length == (12 + size if not data else 20 + size + len(data))
        if not plain or body[start : start + size] != key or (data and body[at - len(data) : at] != data):
            continue
        head, middle = body[start - 12 : start], body[start + size : start + size + 8] if data else b""
        to, value, whole = 12 + size, 12 + size + len(middle), length
        while at + whole <= end and body.startswith(head, at) and body.startswith(middle, at + to):
            yield body[at + 12 : at + to], body[at + value : at + whole]
            at += whole


def counters(body: bytes) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Yield (key, (packets, bytes)) of each element in a NEWSETELEM message that has a counter; keys as `elements` has them."""
    for kind, start, end in attributes(body):
        if kind == 3:
            for _, first, last in attributes(body, start, end):
                expression = attribute_map(attribute_map(body[first:last]).get(7, b""))
                if string(expression.get(1, b"")) == "counter":
                    values = attribute_map(expression[2])
                    count, size = (int.from_bytes(values[number], "big") for number in (2, 1))
                    yield _element(body, first, last, False)[0], (count, size)


def _element(body: bytes, start: int, end: int, bounds: bool) -> tuple[bytes, bytes]:
    key = upper = data = b""
    flags = 0
    for kind, first, last in attributes(body, start, end):
        if kind == 1:
            key = body[first + 4 : last]
        elif kind == 3 and bounds:
            flags = body[last - 1]
        elif kind == 10:
            upper = body[first + 4 : last]
        elif kind == 2:
            is_verdict = _ATTRIBUTE.unpack_from(body, first)[1] & TYPE_MASK == 2
            data = _verdict(body[first + 4 : last]) if is_verdict else body[first + 4 : last]
    return key + (bytes([flags & 1]) if bounds else upper), data


@lru_cache(maxsize=4096)
def _verdict(payload: bytes) -> bytes:
    """Make a dumped verdict equal to the one that was sent."""
    parts = attribute_map(payload)
    return verdict(struct.unpack(">i", parts[1])[0], string(parts[2]) if 2 in parts else "")
