"""Requests at a fixed rate and one long TCP stream to each echo server, until standard input ends, for a second at least; then a
report as JSON.

Run inside a network namespace: python load.py RATE http://ADDRESS:PORT/PATH|echo://ADDRESS:PORT ... Prints "ready" once every
target has answered. The rate is kept whether answers come or not: a request that is late is not made up for by waiting.
"""

import asyncio
import json
import sys
import time
from itertools import cycle
from urllib.parse import urlsplit

TIMEOUT = 3.0
STREAM_PAUSE = 0.005


class Report:
    """What has happened so far."""

    def __init__(self):
        self.requests, self.answered, self.failures, self.slowest = 0, 0, [], 0.0
        self.streams = {}

    async def request(self, url):
        """Do one request on a connection of its own."""
        self.requests += 1
        started = time.monotonic()
        try:
            async with asyncio.timeout(TIMEOUT):
                await get(url)
            self.answered += 1
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as error:
            self.failures.append(f"{url}: {error!r}")
        self.slowest = max(self.slowest, time.monotonic() - started)

    async def stream(self, url):
        """Send numbers and have them back in order."""
        counts = self.streams[url] = {"sent": 0, "echoed": 0, "error": ""}
        reader, writer = await connect(url)
        await reader.readline()
        try:
            await asyncio.gather(send(writer, counts), receive(reader, counts))
        except (OSError, ValueError) as error:
            counts["error"] = repr(error)
        finally:
            writer.close()


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
    pages = cycle(url for url in urls if url.startswith("http://"))
    streams = [asyncio.create_task(report.stream(url)) for url in urls if url.startswith("echo://")]
    due, ready = time.monotonic(), False
    while not end.done() or report.requests < rate:  # what was done meanwhile may have taken less than a second
        task = asyncio.create_task(report.request(next(pages)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        if not ready and report.answered >= len(urls) and all(s["echoed"] for s in report.streams.values()):
            ready = bool(print("ready", flush=True)) or True
        due += 1 / rate
        await asyncio.sleep(max(due - time.monotonic(), 0))
    await asyncio.gather(*tasks)
    for stream in streams:
        stream.cancel()
    await asyncio.gather(*streams, return_exceptions=True)
    print(json.dumps(vars(report)))


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), sys.argv[2:]))
