"""Port-forwarding over plain WebSocket messages, joined with the runtime's streaming server.

v4.channel.k8s.io: the n-th port asked for has the channels 2n for data and 2n + 1 for what goes wrong; the first message on each is the
port in two bytes, little-endian. Source: the kubelet's portforward over WebSockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from urllib.parse import parse_qsl

from moorings_core import websocket
from moorings_core.duplex import messages, until_one_ends
from moorings_core.ports.errors import BadRequest, ServiceUnavailable

from . import spdy
from .remote import CHUNK, dial_spdy

FORWARD = "v4.channel.k8s.io"
RUNTIME = "portforward.k8s.io"


def ports_of(query: str) -> list[int]:
    """Return the ports that a request names as `port` or `ports`. Raises BadRequest."""
    texts = [text for name, value in parse_qsl(query) if name in ("port", "ports") for text in value.split(",")]
    if not texts:
        raise BadRequest('query parameter "port" is required')
    for text in texts:
        if not (text.isdigit() and 0 < int(text) < 65536):
            raise BadRequest(f'unable to parse "{text}" as a port')
    return [int(text) for text in texts]


class ForwardSession:
    """One client's ports."""

    def __init__(self, url: str, ports: Sequence[int]) -> None:
        self._url, self._ports = url, ports
        self._session = spdy.Session()
        self._channels: dict[int, int] = {}
        self._numbers: dict[int, int] = {}

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry bytes between the client and the pod's ports until one side ends."""
        try:
            up_reader, up = await dial_spdy(self._url, RUNTIME)
        except (OSError, TimeoutError, ServiceUnavailable, asyncio.IncompleteReadError) as error:
            writer.write(websocket.frame(b"\x01" + str(error).encode()))
            return
        for number, port in enumerate(self._ports):
            for channel, kind in ((2 * number + 1, "error"), (2 * number, "data")):
                stream, frame = self._session.open({"streamtype": kind, "port": str(port), "requestid": str(number)})
                self._channels[stream], self._numbers[channel] = channel, stream
                up.write(frame)
                writer.write(websocket.frame(bytes([channel]) + port.to_bytes(2, "little")))
        try:
            await until_one_ends(self._from_client(reader, writer, up), self._from_runtime(up_reader, up, writer))
        finally:
            up.close()

    async def _from_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, up: asyncio.StreamWriter) -> None:
        async for data in messages(reader, writer):
            stream = self._numbers.get(data[0])
            if stream is not None and data[0] % 2 == 0:
                up.write(self._session.data(stream, data[1:]))
                await up.drain()

    async def _from_runtime(self, reader: asyncio.StreamReader, up: asyncio.StreamWriter, writer: asyncio.StreamWriter) -> None:
        left = {stream for stream, channel in self._channels.items() if channel % 2 == 0}
        while left and (data := await reader.read(CHUNK)):
            for event in self._session.feed(data):
                match event:
                    case spdy.Data(stream, payload, fin):
                        if payload:
                            writer.write(websocket.frame(bytes([self._channels.get(stream, 0)]) + payload))
                        if fin:
                            left.discard(stream)
                    case spdy.Reset(stream):
                        left.discard(stream)
                    case spdy.Pinged(reply):
                        up.write(reply)
                    case spdy.GoneAway():
                        pass
            await writer.drain()
        writer.write(websocket.frame(websocket.NORMAL, websocket.CLOSE))
        await writer.drain()
