"""Requests and responses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import parse_qsl, unquote

REASONS = {
    101: "Switching Protocols",
    200: "OK",
    201: "Created",
    202: "Accepted",
    304: "Not Modified",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    409: "Conflict",
    410: "Gone",
    413: "Request Entity Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Entity",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
Peer = Mapping[str, tuple[str, ...]]
"""The client certificate's subject: attribute name to values; empty without one"""


class Upgraded(Protocol):
    """A connection that has left HTTP."""

    transport: asyncio.Transport
    leftover: bytes


Takeover = Callable[[asyncio.Transport, bytes], Awaitable[None]]
"""Gets the transport and the bytes already read; whoever takes over sets the transport's protocol and closes it in the end."""


@dataclass(slots=True)
class Request:
    """A request with its whole body. headers are in lower case, the last of a repeated one counts; `repeated` has all of those.

    remote: the address that it comes from.
    """

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    peer: Peer
    repeated: Mapping[str, Sequence[str]] = field(default_factory=dict)
    remote: str = ""
    _query: dict[str, str] | None = None
    _path: str | None = None

    @property
    def path(self) -> str:
        """The path, percent-decoded."""
        if self._path is None:
            raw = self.target.partition("?")[0]
            self._path = unquote(raw) if "%" in raw else raw
        return self._path

    def values(self, name: str) -> Sequence[str]:
        """Return all values of a header, in their order."""
        return self.repeated.get(name) or ([self.headers[name]] if name in self.headers else [])

    @property
    def query(self) -> dict[str, str]:
        """Query parameters; of a repeated one the first counts."""
        if self._query is None:
            found: dict[str, str] = {}
            text = self.target.partition("?")[2]
            for name, value in parse_qsl(text, keep_blank_values=True) if text else ():
                found.setdefault(name, value)
            self._query = found
        return self._query


@dataclass(slots=True)
class Response:
    """An answer: a body, or a stream of chunks, or a takeover of the connection after the head has been sent."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    stream: AsyncIterator[bytes] | None = None
    takeover: Takeover | None = None
    warnings: tuple[str, ...] = ()


Handler = Callable[[Request], Awaitable[Response]]


def head(response: Response, *, close: bool) -> bytes:
    """Return the status line and headers."""
    lines = [f"HTTP/1.1 {response.status} {REASONS.get(response.status, 'Unknown')}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    lines += [f'Warning: 299 - "{_quoted(text)}"' for text in response.warnings]
    if response.stream is not None:
        lines.append("Transfer-Encoding: chunked")
    elif response.takeover is None:
        lines.append(f"Content-Length: {len(response.body)}")
    if close and response.takeover is None:
        lines.append("Connection: close")
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"


def _quoted(text: str) -> str:
    """Return a warning as a header's quoted string; a client's own words may stand in it, and nothing in them may end the header."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain.replace("\\", "\\\\").replace('"', '\\"').encode().decode("latin-1")
