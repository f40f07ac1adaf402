"""Byte pipes: a client that speaks SPDY/3.1 itself, bare or chopped into WebSocket messages, meets the runtime's server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from moorings_core import websocket
from moorings_core.duplex import messages, until_one_ends

CHUNK = 64 * 1024
Copy = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


async def join(
    client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    runtime: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    *,
    tunnelled: bool,
) -> None:
    """Pass bytes both ways until either side ends; tunnelled: the client's bytes are in WebSocket messages."""
    up: Copy = _unwrap if tunnelled else _copy
    down: Copy = _wrap if tunnelled else _copy
    try:
        await until_one_ends(up(client[0], runtime[1]), down(runtime[0], client[1]))
    finally:
        runtime[1].close()


async def send(stream: AsyncIterator[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send a stream as binary WebSocket messages until it ends or the client is gone."""
    await until_one_ends(_send(stream, writer), _until_closed(reader, writer))


async def _send(stream: AsyncIterator[bytes], writer: asyncio.StreamWriter) -> None:
    async for data in stream:
        writer.write(websocket.frame(data))
        await writer.drain()
    writer.write(websocket.frame(websocket.NORMAL, websocket.CLOSE))
    await writer.drain()


async def _until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async for _ in messages(reader, writer):
        pass


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(CHUNK):
        sink.write(data)
        await sink.drain()


async def _wrap(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(CHUNK):
        sink.write(websocket.frame(data))
        await sink.drain()


async def _unwrap(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    frames = websocket.Reader()
    while data := await source.read(CHUNK):
        for message in frames.feed(data):
            if message.kind == websocket.CLOSE:
                return
            if message.kind in (websocket.BINARY, websocket.TEXT):
                sink.write(message.data)
        await sink.drain()
