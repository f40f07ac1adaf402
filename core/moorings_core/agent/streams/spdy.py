"""SPDY/3.1 frames, client side, as much as streaming needs. Bytes in, events out; no socket here.

No window is ever given back: the runtimes' servers have no flow control, and one that has closed already would answer with a reset.

Source: SPDY protocol draft 3.1, with the header compression dictionary of its section 2.6.10.1.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .spdy_dictionary import DICTIONARY

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS = 1, 2, 3, 4, 6, 7, 8
FIN = 1


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of a stream; fin: its last."""

    stream: int
    data: bytes
    fin: bool


@dataclass(frozen=True, slots=True)
class Reset:
    """A stream was cut off."""

    stream: int


@dataclass(frozen=True, slots=True)
class Pinged:
    """The peer wants its ping back."""

    reply: bytes


@dataclass(frozen=True, slots=True)
class GoneAway:
    """The peer opens nothing more."""


Event = Data | Reset | Pinged | GoneAway


class Session:
    """One connection."""

    def __init__(self) -> None:
        self._compress = zlib.compressobj(9, zlib.DEFLATED, 15, 8, zlib.Z_DEFAULT_STRATEGY, DICTIONARY)
        self._next = 1
        self._buffer = bytearray()

    def open(self, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Return a new stream's number and the frame that opens it."""
        number, self._next = self._next, self._next + 2
        block = struct.pack(">I", len(headers))
        for name, value in headers.items():
            key, text = name.lower().encode(), value.encode()
            block += struct.pack(">I", len(key)) + key + struct.pack(">I", len(text)) + text
        packed = self._compress.compress(block) + self._compress.flush(zlib.Z_SYNC_FLUSH)
        body = struct.pack(">IIH", number, 0, 0) + packed
        return number, _control(SYN_STREAM, 0, body)

    def data(self, stream: int, data: bytes, *, fin: bool = False) -> bytes:
        """Return a frame with bytes of a stream."""
        return struct.pack(">II", stream, (FIN if fin else 0) << 24 | len(data)) + data

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take bytes; yield what they say."""
        self._buffer += data
        while len(self._buffer) >= 8:
            first, second = struct.unpack(">II", self._buffer[:8])
            size, flags = second & 0xFFFFFF, second >> 24
            if len(self._buffer) < 8 + size:
                return
            body = bytes(self._buffer[8 : 8 + size])
            del self._buffer[: 8 + size]
            event = self._control(first & 0xFFFF, body, flags) if first >> 31 else Data(first, body, bool(flags & FIN))
            if event is not None:
                yield event

    def _control(self, kind: int, body: bytes, flags: int) -> Event | None:
        if kind == PING:
            return Pinged(_control(PING, 0, body))
        if kind == GOAWAY:
            return GoneAway()
        if kind == RST_STREAM:
            return Reset(struct.unpack(">I", body[:4])[0])
        if kind in (SYN_REPLY, HEADERS) and flags & FIN:
            return Data(struct.unpack(">I", body[:4])[0] & 0x7FFFFFFF, b"", True)
        return None


def _control(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack(">HHI", 0x8003, kind, flags << 24 | len(body)) + body
