"""Requests at a fixed rate, one long TCP stream to each echo server, datagrams to UDP echo servers and questions to DNS servers,
until standard input ends, for a second at least; then a report as JSON.

Run inside a network namespace: python load.py RATE URL ... where a URL is one of
http://ADDRESS:PORT/PATH  a page, over a connection of its own             new://ADDRESS:PORT   a line of an echo server, likewise
keep://ADDRESS:PORT       a line and its echo, over connections that stay  echo://ADDRESS:PORT  a stream of numbers
bulk://ADDRESS:PORT       a long transfer, there and back, with a checksum
udp://ADDRESS:PORT        datagrams of one socket                          dns://ADDRESS/NAME   questions of one socket
The rate is that of http, new and keep together. A stream counts the numbers that came back in order, so that one lost or changed
byte is seen. Prints "ready" once every target has answered. The rate is kept whether answers come or not: a request that is late is
not made up for by waiting.
"""

import asyncio
import hashlib
import json
import os
import sys
import time
from itertools import cycle
from urllib.parse import urlsplit

TIMEOUT = 10.0
"""Seconds for an answer on a busy machine. A lost packet is not hidden by it: datagrams are sent once and all counted."""
STREAM_PAUSE = 0.005
KEPT = 16
"""Connections to each server that requests are sent over."""
BLOCK, AHEAD = 1 << 16, 1 << 20
REQUESTS, STREAMS = ("http://", "new://", "keep://"), ("echo://", "bulk://")
BROKEN = (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError)


class Report:
    """What has happened so far."""

    def __init__(self):
        self.requests, self.answered, self.failures, self.slowest = 0, 0, [], 0.0
        self.streams, self.datagrams = {}, {}
        self.kept = {}
        self.broken = 0
        """Connections that were to stay and did not."""

    def all_answer(self):
        """Whether every stream and every datagram server has answered."""
        return all(s["echoed"] for s in self.streams.values()) and all(d["answered"] for d in self.datagrams.values())

    async def request(self, url):
        """Do one request on a connection of its own."""
        self.requests += 1
        started = time.monotonic()
        try:
            async with asyncio.timeout(TIMEOUT):
                await (self.ask_kept(url) if url.startswith("keep://") else greet(url) if url.startswith("new://") else get(url))
            self.answered += 1
        except BROKEN as error:
            self.failures.append(f"{url}: {error!r}")
        self.slowest = max(self.slowest, time.monotonic() - started)

    async def ask_kept(self, url):
        """Send a line over a connection that nobody uses at the moment, and have it back."""
        pool = self.kept.setdefault(url, [asyncio.Semaphore(KEPT), []])
        async with pool[0]:
            fresh = not pool[1]
            reader, writer = await greeted(url) if fresh else pool[1].pop()
            try:
                line = b"%d\n" % self.requests
                writer.write(line)
                if await reader.readline() != line:
                    raise ValueError(f"another line than {line!r}")
            except BaseException:
                self.broken += 1
                writer.close()
                raise
            pool[1].append((reader, writer))

    async def stream(self, url):
        """Send numbers, or blocks, and have them back in order."""
        counts = self.streams[url] = {"sent": 0, "echoed": 0, "error": ""}
        reader, writer = await greeted(url)
        try:
            if url.startswith("bulk://"):
                await transfer(reader, writer, counts)
            else:
                await asyncio.gather(send(writer, counts), receive(reader, counts))
        except (OSError, ValueError) as error:
            counts["error"] = repr(error)
        finally:
            writer.close()


class Datagrams(asyncio.DatagramProtocol):
    """Questions of one socket, told apart by a number of two bytes; an answer counts once."""

    def __init__(self, counts, dns):
        self.counts, self.waiting = counts, set()
        self.place = slice(2) if dns else slice(-2, None)  # an echo server says who asked before it echoes

    def datagram_received(self, data, _):
        number = int.from_bytes(data[self.place], "big")
        if number in self.waiting:
            self.waiting.remove(number)
            self.counts["answered"] += 1


async def ask(url, counts):
    """Send a datagram every few milliseconds from one port, and wait for the last answers."""
    parts = urlsplit(url)
    port = parts.port or 53
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        lambda: Datagrams(counts, parts.scheme == "dns"), remote_addr=(parts.hostname, port)
    )
    try:
        while True:
            number = counts["asked"] % 60000 + 8000
            protocol.waiting.add(number)
            counts["asked"] += 1
            transport.sendto(number.to_bytes(2, "big") + (question(parts.path[1:]) if parts.scheme == "dns" else b""))
            await asyncio.sleep(STREAM_PAUSE * 2)
    except asyncio.CancelledError:
        async with asyncio.timeout(TIMEOUT):
            while protocol.waiting:
                await asyncio.sleep(STREAM_PAUSE)
    finally:
        transport.close()


def question(name):
    """Return a DNS query for an A record without its first two bytes."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return b"\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"


async def connect(url):
    parts = urlsplit(url)
    return await asyncio.open_connection(parts.hostname, parts.port or 80)


async def send(writer, counts):
    while True:
        writer.write(b"%d\n" % counts["sent"])
        await writer.drain()
        counts["sent"] += 1
        await asyncio.sleep(STREAM_PAUSE)


async def receive(reader, counts):
    while True:
        line = await reader.readline()
        if int(line or -1) != counts["echoed"]:
            raise ValueError(f"{line!r} in place of {counts['echoed']}")
        counts["echoed"] += 1


async def transfer(reader, writer, counts):
    """Send blocks until cancelled, then wait for the last ones; raises ValueError when what came back is not what was sent."""
    block, there, back = os.urandom(BLOCK), hashlib.sha256(), hashlib.sha256()

    async def fetch():
        while data := await reader.read(BLOCK):
            back.update(data)
            counts["echoed"] += len(data)
        raise ConnectionResetError("the stream ended")

    fetching = asyncio.create_task(fetch())
    try:
        while not fetching.done():
            if counts["sent"] - counts["echoed"] < AHEAD:
                writer.write(block)
                there.update(block)
                counts["sent"] += len(block)
                await writer.drain()
            await asyncio.sleep(STREAM_PAUSE)
        await fetching
    except asyncio.CancelledError:
        async with asyncio.timeout(TIMEOUT):
            while counts["echoed"] < counts["sent"] and not fetching.done():
                await asyncio.sleep(STREAM_PAUSE)
        if there.digest() != back.digest():
            raise ValueError(f"the checksums of {counts['sent']} bytes differ") from None
    finally:
        fetching.cancel()
        await asyncio.gather(fetching, return_exceptions=True)


async def greeted(url):
    """Connect, and read the line with which an echo server begins."""
    reader, writer = await connect(url)
    if not await reader.readline():
        writer.close()
        raise ConnectionResetError("no greeting")
    return reader, writer


async def greet(url):
    _, writer = await greeted(url)
    writer.close()


async def get(url):
    parts = urlsplit(url)
    reader, writer = await connect(url)
    try:
        writer.write(f"GET {parts.path} HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n".encode())
        answer = await reader.read()
        if b" 200 " not in answer.split(b"\r\n", 1)[0]:
            raise ValueError(f"answered {answer[:60]!r}")
    finally:
        writer.close()


async def main(rate, urls):
    report, tasks = Report(), set()
    end = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    pages = cycle(url for url in urls if url.startswith(REQUESTS))
    streams = [asyncio.create_task(report.stream(url)) for url in urls if url.startswith(STREAMS)]
    for url in (url for url in urls if url.startswith(("udp://", "dns://"))):
        counts = report.datagrams[url] = {"asked": 0, "answered": 0}
        streams.append(asyncio.create_task(ask(url, counts)))
    due, ready = time.monotonic(), False
    while not end.done() or report.requests < rate:  # what was done meanwhile may have taken less than a second
        task = asyncio.create_task(report.request(next(pages)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        if not ready and report.answered >= len(urls) and report.all_answer():
            ready = bool(print("ready", flush=True)) or True
        due += 1 / rate
        await asyncio.sleep(max(due - time.monotonic(), 0))
    await asyncio.gather(*tasks)
    for stream in streams:
        stream.cancel()
    await asyncio.gather(*streams, return_exceptions=True)
    report.kept.clear()
    print(json.dumps(vars(report)))


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), sys.argv[2:]))
