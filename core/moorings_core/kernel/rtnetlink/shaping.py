"""Queueing disciplines: a token bucket (tbf) at the root of a link, which delays what comes too fast.

Source: tc-tbf(8), linux/pkt_sched.h.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from . import wire
from .messages import ABSENT, Request
from .wire import attribute, attributes, nested, string, text, u32

NEWQDISC, DELQDISC, GETQDISC = 36, 37, 38
ROOT, HANDLE = 0xFFFFFFFF, 0x10000
TCMSG = struct.Struct("=BxxxiIII")
ETHERNET = 1


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """Bytes a second that a link sends, and bytes that it may send at once after a pause."""

    rate: int
    burst: int


def put_bucket(index: int, bucket: TokenBucket, queue: int) -> Request:
    """Let a link send no faster, or correct it; queue: bytes that wait before more is dropped."""
    rate = struct.pack("=BBHhHI", 0, ETHERNET, 0, 0, 0, min(bucket.rate, 0xFFFFFFFF))
    options = attribute(1, rate + bytes(12) + struct.pack("=III", queue, 0, 0)) + u32(6, bucket.burst)
    options += attribute(4, struct.pack("=Q", bucket.rate)) if bucket.rate > 0xFFFFFFFF else b""
    body = TCMSG.pack(0, index, HANDLE, ROOT, 0) + text(1, "tbf") + nested(2, options)
    return Request(f"put token bucket on {index}", NEWQDISC, wire.F_CREATE | wire.F_REPLACE, body)


def delete_bucket(index: int) -> Request:
    """Let a link send as fast as it can."""
    return Request(f"delete token bucket of {index}", DELQDISC, 0, TCMSG.pack(0, index, HANDLE, ROOT, 0), ABSENT)


def bucket(body: bytes) -> tuple[int, int] | None:
    """Parse RTM_NEWQDISC: (link, bytes a second) of a token bucket at a root; None for any other."""
    _, index, _, parent, _ = TCMSG.unpack_from(body)
    parts = attributes(body, TCMSG.size)
    if string(parts.get(1, b"")) != "tbf" or parent != ROOT:
        return None
    options = attributes(parts.get(2, b""))
    rate: int = struct.unpack("=Q", options[4])[0] if 4 in options else struct.unpack_from("=I", options[1], 8)[0]
    return index, rate
