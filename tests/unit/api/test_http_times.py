"""Clients that take their time: half a request, or none, does not hold a connection for ever; one that is being answered is left alone."""

import asyncio

import pytest

from moorings_core.api.http import server
from moorings_core.api.http.message import Response

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
async def listening(monkeypatch):
    """A server that has little patience; what it answers waits for an event."""
    monkeypatch.setattr(server, "SWEEP_SECONDS", 0.01)
    go = asyncio.Event()

    async def answer(request):
        await go.wait()
        return Response(200, b"ok", {})

    made = server.HttpServer(answer)
    port = await made.start("127.0.0.1", 0, None)
    yield port, go
    await made.close()


async def connect(port, data):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    return reader, writer


@pytest.mark.parametrize(("limit", "data"), [("REQUEST_SECONDS", REQUEST[:-4]), ("IDLE_SECONDS", b"")])
async def test_who_sends_too_slowly_is_hung_up_on(listening, monkeypatch, limit, data):
    monkeypatch.setattr(server, limit, 0.05)
    reader, writer = await connect(listening[0], data)
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()


async def test_a_request_that_is_being_answered_has_all_the_time_it_needs(listening, monkeypatch):
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.05)
    monkeypatch.setattr(server, "IDLE_SECONDS", 0.05)
    port, go = listening
    reader, writer = await connect(port, REQUEST)
    late, other = await connect(port, REQUEST[:-4])
    assert await asyncio.wait_for(late.read(), 10) == b""  # so the limit has passed for both
    go.set()
    assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"ok"), 10)
    writer.close()
    other.close()
