"""WebSocket frames. Bytes in, messages out; no socket here. Source: RFC 6455."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from typing import NamedTuple

from moorings_core.ports.errors import MooringsError

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
NORMAL = b"\x03\xe8"
"""The payload of a close frame: status 1000, all went well."""
FRAME_MOST = 32 * 1024 * 1024


class WebSocketError(MooringsError):
    """The peer broke the protocol."""


class Message(NamedTuple):
    """A whole message; kind is TEXT, BINARY, CLOSE, PING or PONG."""

    kind: int
    data: bytes


def accept_key(key: str) -> str:
    """Return the answer to a handshake's Sec-WebSocket-Key."""
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


def frame(data: bytes, kind: int = BINARY) -> bytes:
    """Return an unfragmented frame as a server sends it: unmasked."""
    return _head(len(data), kind, masked=0) + data


def masked_frame(data: bytes, kind: int = BINARY) -> bytes:
    """Return an unfragmented frame as a client has to send it: under a mask that nobody can foresee."""
    mask = os.urandom(4)
    return _head(len(data), kind, masked=0x80) + mask + _unmasked(data, mask)


def _head(size: int, kind: int, masked: int) -> bytes:
    if size < 126:
        return bytes([0x80 | kind, masked | size])
    if size < 1 << 16:
        return bytes([0x80 | kind, masked | 126]) + size.to_bytes(2, "big")
    return bytes([0x80 | kind, masked | 127]) + size.to_bytes(8, "big")


class Reader:
    """Collects frames into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._parts: list[bytes] = []
        self._kind = BINARY

    def feed(self, data: bytes) -> Iterator[Message]:
        """Take bytes; yield the messages that are now complete. Raises WebSocketError."""
        self._buffer += data
        while (parsed := self._frame()) is not None:
            final, kind, payload = parsed
            if kind >= CLOSE:
                yield Message(kind, payload)
                continue
            if kind != CONTINUATION:
                self._kind, self._parts = kind, []
            self._parts.append(payload)
            if final:
                yield Message(self._kind, b"".join(self._parts))
                self._parts = []

    def _frame(self) -> tuple[bool, int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        size, at = buffer[1] & 0x7F, 2
        extra = {126: 2, 127: 8}.get(size, 0)
        if len(buffer) < at + extra:
            return None
        if extra:
            size, at = int.from_bytes(buffer[at : at + extra], "big"), at + extra
        if size > FRAME_MOST:
            raise WebSocketError(f"a frame of {size} bytes is larger than {FRAME_MOST}")
        masked = bool(buffer[1] & 0x80)
        if len(buffer) < at + 4 * masked + size:
            return None
        mask, at = bytes(buffer[at : at + 4 * masked]), at + 4 * masked
        payload = bytes(buffer[at : at + size])
        final, kind = bool(buffer[0] & 0x80), buffer[0] & 0x0F
        del buffer[: at + size]
        return final, kind, _unmasked(payload, mask) if masked else payload


def _unmasked(data: bytes, mask: bytes) -> bytes:
    size = len(data)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")
