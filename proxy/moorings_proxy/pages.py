"""A few pages over HTTP: metrics and health. Plain asyncio: an agent has no room for more."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping

READ_SECONDS = 5.0
REASONS = {200: "OK", 404: "Not Found", 503: "Service Unavailable"}
PLAIN = "text/plain; version=0.0.4; charset=utf-8"
Page = Callable[[], tuple[int, str, bytes]]
"""Returns (code, content type, body)."""


async def listen(pages: Mapping[str, Page], address: str = "", *, sock: socket.socket | None = None) -> asyncio.Server:
    """Serve pages by path at "ADDRESS:PORT", or on a bound socket. Raises OSError."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(READ_SECONDS):
                words = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)
                path = words[1].decode("latin-1").split("?")[0] if len(words) > 2 else ""
                code, kind, body = pages[path]() if path in pages else (404, "text/plain", b"404 page not found\n")
                head = f"HTTP/1.1 {code} {REASONS[code]}\r\nContent-Type: {kind}\r\nX-Content-Type-Options: nosniff\r\n"
                writer.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
                await writer.drain()
        writer.close()

    if sock is not None:
        return await asyncio.start_server(answer, sock=sock)
    host, _, port = address.rpartition(":")
    return await asyncio.start_server(answer, host.strip("[]") or None, int(port))
