"""Streams with two directions: running both until one ends, and reading a client's WebSocket messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import Any

from . import websocket

CHUNK = 64 * 1024


async def until_one_ends(*directions: Coroutine[Any, Any, None]) -> None:
    """Run the directions of a stream until one of them ends, however it ends; then end the others."""
    tasks = [asyncio.create_task(direction) for direction in directions]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def messages(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> AsyncGenerator[bytes, None]:
    """Yield what is in the messages of a WebSocket until the peer closes it; pings are answered. Raises WebSocketError."""
    frames = websocket.Reader()
    while data := await reader.read(CHUNK):
        for message in frames.feed(data):
            if message.kind == websocket.CLOSE:
                return
            if message.kind == websocket.PING:
                writer.write(websocket.frame(message.data, websocket.PONG))
            elif message.kind in (websocket.BINARY, websocket.TEXT) and message.data:
                yield message.data
