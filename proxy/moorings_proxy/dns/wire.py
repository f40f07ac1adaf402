"""DNS messages, as far as a server of plain records needs them; answers of others pass as bytes. Sans-I/O.

By hand and not by dnspython: an answer costs 10 us instead of 200, and an agent has 45 MB for everything.
Source: RFC 1035 (messages, names), RFC 2782 (SRV), RFC 3596 (AAAA), RFC 6891 (EDNS), RFC 2308 (negative answers).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

A, NS, CNAME, SOA, PTR, TXT, AAAA, SRV, OPT, ANY = 1, 2, 5, 6, 12, 16, 28, 33, 41, 255
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = 0, 1, 2, 3, 4, 5
QR, AUTHORITATIVE, TRUNCATED, RECURSION_DESIRED, RECURSION_AVAILABLE = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080
DNSSEC_OK = 0x8000
PLAIN_SIZE, MOST_SIZE = 512, 1232
"""Bytes of a UDP answer: without EDNS, and what passes every path without fragments."""

_HEADER = struct.Struct(">6H")
_RECORD = struct.Struct(">HHIH")


class WireError(ValueError):
    """The message is not DNS, or not what a server answers."""


class Record(NamedTuple):
    """One resource record of class IN; name without the last dot."""

    name: str
    type: int
    ttl: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Query:
    """One question. name is in lower case, question the raw bytes; size is what the asker takes by UDP; edns: it sent an OPT."""

    id: int
    flags: int
    name: str
    type: int
    klass: int
    question: bytes
    raw: bytes
    size: int = PLAIN_SIZE
    edns: bool = False
    dnssec: bool = False


def parse_query(data: bytes) -> Query:
    """Return the question that a packet asks. Raises WireError, also for answers: those must not be answered."""
    if len(data) < 12:
        raise WireError("short")
    id_, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(data)
    if flags & QR or questions != 1 or answers or authorities:
        raise WireError("not a plain query")
    name, at = read_name(data, 12)
    if at + 4 > len(data):
        raise WireError("short question")
    kind, klass = struct.unpack_from(">HH", data, at)
    question = data[12 : at + 4]
    at += 4
    size, edns, dnssec = PLAIN_SIZE, False, False
    for _ in range(additionals):
        at, record_type, record_class, ttl = skip_record(data, at)
        if record_type == OPT:
            size, edns, dnssec = max(PLAIN_SIZE, min(record_class, MOST_SIZE)), True, bool(ttl & DNSSEC_OK)
    return Query(id_, flags, name.lower(), kind, klass, question, data, size, edns, dnssec)


def skip_record(data: bytes, at: int) -> tuple[int, int, int, int]:
    """Return the end of the record at an offset, its type, class and TTL. Raises WireError."""
    _, at = read_name(data, at)
    if at + 10 > len(data):
        raise WireError("short record")
    kind, klass, ttl, length = _RECORD.unpack_from(data, at)
    if at + 10 + length > len(data):
        raise WireError("short data")
    return at + 10 + length, kind, klass, ttl


def read_name(data: bytes, at: int) -> tuple[str, int]:
    """Return the name at an offset and where it ends. Raises WireError; compression must point backwards, so it ends."""
    labels: list[str] = []
    end, limit = -1, at
    while True:
        if at >= len(data):
            raise WireError("name runs out")
        length = data[at]
        if length >= 0xC0:
            if at + 1 >= len(data):
                raise WireError("pointer runs out")
            target = (length & 0x3F) << 8 | data[at + 1]
            if target >= limit:
                raise WireError("pointer forward")
            end = at + 2 if end < 0 else end
            at = limit = target
        elif length > 63:
            raise WireError("label type")
        elif length == 0:
            return ".".join(labels), at + 1 if end < 0 else end
        else:
            if at + 1 + length > len(data):
                raise WireError("label runs out")
            # A dot within a label can't be of ours; as a control character it stays apart from every real name.
            labels.append(data[at + 1 : at + 1 + length].decode("latin-1").replace(".", "\0"))
            at += 1 + length
            if sum(map(len, labels)) + len(labels) > 254:
                raise WireError("name too long")


def pack_name(name: str) -> bytes:
    """Return a name in wire format, uncompressed. Raises WireError."""
    if not name:
        return b"\0"
    parts = [label.encode("latin-1") for label in name.split(".")]
    if any(not 0 < len(part) < 64 for part in parts):
        raise WireError(f"not a name: {name}")
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


def pack_srv(port: int, target: str, weight: int) -> bytes:
    """Return the data of an SRV record of priority 0."""
    return struct.pack(">HHH", 0, weight, port) + pack_name(target)


def pack_soa(primary: str, mailbox: str, serial: int, minimum: int) -> bytes:
    """Return the data of an SOA record."""
    return pack_name(primary) + pack_name(mailbox) + struct.pack(">5I", serial, 7200, 1800, 86400, minimum)


def reply(
    query: Query,
    rcode: int,
    answers: Sequence[Record] = (),
    authority: Sequence[Record] = (),
    additional: Sequence[Record] = (),
    *,
    authoritative: bool = False,
    limit: int = 65535,
) -> bytes:
    """Return an answer of at most limit bytes: additional records are left out first, then the answer says it is truncated."""
    flags = QR | RECURSION_AVAILABLE | query.flags & (RECURSION_DESIRED | 0x7800) | rcode
    flags |= AUTHORITATIVE if authoritative else 0
    opt = struct.pack(">BHHIH", 0, OPT, MOST_SIZE, 0, 0) if query.edns else b""
    room = limit - 12 - len(query.question) - len(opt)
    counts, body = [0, 0, 0], b""
    for section, records in enumerate((answers, authority, additional)):
        for record in records:
            packed = _pack(record, query)
            if len(body) + len(packed) > room:
                if section < 2:
                    flags |= TRUNCATED
                break
            body += packed
            counts[section] += 1
    head = _HEADER.pack(query.id, flags, 1, counts[0], counts[1], counts[2] + bool(opt))
    return head + query.question + body + opt


def _pack(record: Record, query: Query) -> bytes:
    owner = b"\xc0\x0c" if record.name == query.name else pack_name(record.name)
    return owner + _RECORD.pack(record.type, IN, record.ttl, len(record.data)) + record.data


def failure(data: bytes, rcode: int) -> bytes:
    """Return an answer to something that could not be parsed: its id, and the code."""
    id_, flags = struct.unpack_from(">HH", data)
    return _HEADER.pack(id_, QR | flags & 0x7900 | rcode, 0, 0, 0, 0)


def ttl_offsets(data: bytes) -> tuple[int, list[tuple[int, int]]]:
    """Return the code of an answer and (offset, value) of every TTL in it but the OPT's. Raises WireError."""
    if len(data) < 12:
        raise WireError("short")
    _, flags, questions, *counts = _HEADER.unpack_from(data)
    at = 12
    for _ in range(questions):
        at = read_name(data, at)[1] + 4
    found = []
    for _ in range(sum(counts)):
        start = read_name(data, at)[1]
        at, kind, _, ttl = skip_record(data, at)
        if kind != OPT:
            found.append((start + 4, ttl))
    return flags & 15, found


def records(data: bytes) -> Iterator[tuple[str, int, int, int, int]]:
    """Yield (owner, type, TTL, start of data, end) of each record in the answer section. Raises WireError."""
    _, _, questions, answers, _, _ = _HEADER.unpack_from(data)
    at = 12
    for _ in range(questions):
        at = read_name(data, at)[1] + 4
    for _ in range(answers):
        name, start = read_name(data, at)
        at, kind, _, ttl = skip_record(data, at)
        yield name.lower(), kind, ttl, start + 10, at
