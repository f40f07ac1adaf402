"""exec and attach: a client's WebSocket joined with the runtime's streaming server.

Channels of v5.channel.k8s.io: 0 stdin, 1 stdout, 2 stderr, 3 the final Status, 4 terminal size, 255 "this channel is closed".
The first version, channel.k8s.io, says on channel 3 only what went wrong, and in plain words.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson

from moorings_core import websocket
from moorings_core.duplex import messages, until_one_ends
from moorings_core.log import get_logger
from moorings_core.ports.errors import ServiceUnavailable

from . import spdy

log = get_logger(__name__)
STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
PLAIN = "channel.k8s.io"
PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io", PLAIN)
HEAD_SECONDS = 30.0
CHUNK = 64 * 1024
BROKEN = b'{"metadata":{},"status":"Failure","message":"the runtime ended the stream without a verdict","reason":"InternalError"}'


@dataclass(frozen=True, slots=True)
class Channels:
    """Which streams a session has."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool

    def opened(self) -> list[tuple[int, str]]:
        """Return (channel, stream type) in the order in which the runtime wants them opened."""
        found = [(ERROR, "error")]
        found += [(STDIN, "stdin")] if self.stdin else []
        found += [(STDOUT, "stdout")] if self.stdout else []
        found += [(STDERR, "stderr")] if self.stderr and not self.tty else []
        return found + ([(RESIZE, "resize")] if self.tty else [])


class _Lasting(asyncio.StreamReaderProtocol):
    """What has arrived can still be read after the peer has refused what we wrote: a command may end while its input is under way."""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(None)


async def dial_spdy(url: str, protocol: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return a connection to a streaming URL after its upgrade. Raises ServiceUnavailable."""
    parts, loop = urlsplit(url), asyncio.get_running_loop()
    reader = asyncio.StreamReader(loop=loop)
    transport, lasting = await loop.create_connection(lambda: _Lasting(reader, loop=loop), parts.hostname or "", parts.port or 80)
    writer = asyncio.StreamWriter(transport, lasting, reader, loop)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [f"POST {target} HTTP/1.1", f"Host: {parts.netloc}", "Connection: Upgrade", "Upgrade: SPDY/3.1"]
    lines += [f"X-Stream-Protocol-Version: {protocol}", "Content-Length: 0", "", ""]
    writer.write("\r\n".join(lines).encode())
    async with asyncio.timeout(HEAD_SECONDS):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    if " 101 " not in head.split("\r\n", 1)[0] + " ":
        writer.close()
        raise ServiceUnavailable(f"the runtime does not stream: {head.splitlines()[0]}")
    return reader, writer


class RemoteSession:
    """One exec or attach. plain: the client speaks the first version of the protocol."""

    def __init__(self, url: str, channels: Channels, *, plain: bool = False) -> None:
        self._url, self._channels, self._plain = url, channels, plain
        self._session = spdy.Session()
        self._streams: dict[int, int] = {}
        self._numbers: dict[int, int] = {}
        self._ended: set[int] = set()

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry bytes between the client and the runtime until the command has ended or the client is gone."""
        try:
            up_reader, up = await dial_spdy(self._url, "v4.channel.k8s.io")
        except (OSError, TimeoutError, ServiceUnavailable, asyncio.IncompleteReadError) as error:
            failed = {"metadata": {}, "status": "Failure", "message": str(error), "reason": "InternalError"}
            await self._end(writer, orjson.dumps(failed))
            return
        for channel, kind in self._channels.opened():
            number, frame = self._session.open({"streamtype": kind})
            self._streams[number], self._numbers[channel] = channel, number
            up.write(frame)
        try:
            await until_one_ends(self._from_client(reader, writer, up), self._from_runtime(up_reader, up, writer))
        finally:
            up.close()

    async def _from_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, up: asyncio.StreamWriter) -> None:
        async for data in messages(reader, writer):
            self._pass_up(data, up)
            if not up.is_closing():  # what a command that has ended does not read any more is nobody's loss
                await up.drain()

    def _pass_up(self, data: bytes, up: asyncio.StreamWriter) -> None:
        channel, payload = data[0], data[1:]
        if channel == CLOSE and payload:
            number = self._numbers.get(payload[0])
            if number is not None:
                up.write(self._session.data(number, b"", fin=True))
        elif channel in self._numbers and payload:
            up.write(self._session.data(self._numbers[channel], payload))

    async def _from_runtime(self, reader: asyncio.StreamReader, up: asyncio.StreamWriter, writer: asyncio.StreamWriter) -> None:
        status = b""
        outputs = {n for c, n in self._numbers.items() if c in (STDOUT, STDERR, ERROR)}
        while outputs - self._ended and (data := await reader.read(CHUNK)):
            for event in self._session.feed(data):
                match event:
                    case spdy.Data(number, payload, fin):
                        channel = self._streams.get(number, -1)
                        if channel == ERROR:
                            status += payload
                        elif payload:
                            writer.write(websocket.frame(bytes([channel]) + payload))
                        if fin:
                            self._ended.add(number)
                    case spdy.Reset(number):
                        self._ended.add(number)
                    case spdy.Pinged(reply):
                        up.write(reply)
                    case spdy.GoneAway():
                        pass
            await writer.drain()
        await self._end(writer, status or BROKEN)

    async def _end(self, writer: asyncio.StreamWriter, status: bytes) -> None:
        """Tell the client how it went."""
        told = _failure(status) if self._plain else status
        if told:
            writer.write(websocket.frame(bytes([ERROR]) + told))
        writer.write(websocket.frame(websocket.NORMAL, websocket.CLOSE))
        await writer.drain()


def _failure(status: bytes) -> bytes:
    """Return the words of a Status that is no success, nothing for one that is."""
    try:
        parsed = orjson.loads(status)
    except ValueError:
        return status
    return b"" if parsed.get("status") == "Success" else str(parsed.get("message", "")).encode()
