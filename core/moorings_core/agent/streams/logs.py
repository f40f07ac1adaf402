"""Container logs: the runtime's files ("TIME STREAM P|F TEXT") as the text that a client asked for.

Source: CRI log format; kubectl's tail, since, timestamps, limitBytes, follow, previous.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from moorings_core.ports.errors import BadRequest

FOLLOW_SECONDS = 0.1
CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What part of a log is wanted; tail -1: all, since: seconds since 1970."""

    follow: bool = False
    tail: int = -1
    since: float = 0
    timestamps: bool = False
    limit: int = -1

    @classmethod
    def of(cls, query: Mapping[str, str], now: float) -> LogOptions:
        """Read the options of a request. Raises BadRequest."""
        since = 0.0
        try:
            if query.get("sinceSeconds"):
                since = now - int(query["sinceSeconds"])
            elif query.get("sinceTime"):
                since = datetime.datetime.fromisoformat(query["sinceTime"]).timestamp()
            tail, limit = int(query.get("tailLines") or -1), int(query.get("limitBytes") or -1)
        except ValueError as error:
            raise BadRequest(f"log options: {error}") from error
        return cls(query.get("follow") == "true", tail, since, query.get("timestamps") == "true", limit)


def parse_line(line: bytes) -> tuple[bytes, bool, bytes] | None:
    """Return (time, whether the line is whole, text) of one line of a log file, or None where it is malformed."""
    parts = line.split(b" ", 3)
    if len(parts) < 4:
        return None
    time, _, tags, text = parts
    return time, tags.split(b":")[0] == b"F", text


def render(line: bytes, options: LogOptions) -> bytes:
    """Return what a client sees of one line, b"" where it is too old."""
    parsed = parse_line(line.rstrip(b"\n"))
    if parsed is None:
        return b""
    time, whole, text = parsed
    if options.since and _seconds(time) < options.since:
        return b""
    shown = time + b" " + text if options.timestamps else text
    return shown + b"\n" if whole else shown


async def read(path: Path, options: LogOptions, running: Callable[[], Awaitable[bool]]) -> AsyncIterator[bytes]:
    """Yield a log; with follow until the container has ended and everything was read."""
    sent = 0
    lines = await asyncio.to_thread(_existing, path, options.tail)
    position = await asyncio.to_thread(lambda: path.stat().st_size if path.exists() else 0)
    pending = b""
    if lines and not lines[-1].endswith(b"\n"):
        pending = lines.pop()
    for line in lines:
        shown = render(line, options)
        if 0 <= options.limit <= sent + len(shown):
            yield shown[: options.limit - sent]
            return
        sent += len(shown)
        if shown:
            yield shown
    while options.follow:
        alive = await running()
        data = await asyncio.to_thread(_from, path, position)
        position += len(data)
        *whole, pending = (pending + data).split(b"\n")
        for line in whole:
            shown = render(line, options)
            if shown:
                yield shown
        if not data:
            if not alive:
                return
            yield b""
            await asyncio.sleep(FOLLOW_SECONDS)


def _existing(path: Path, tail: int) -> list[bytes]:
    if not path.exists() or tail == 0:
        return []
    lines = path.read_bytes().split(b"\n")  # not splitlines: a program's carriage return ends no line of the file
    lines = [*(line + b"\n" for line in lines[:-1]), *filter(None, lines[-1:])]
    if tail < 0:
        return lines
    starts = [i for i, line in enumerate(lines) if i == 0 or _ends(lines[i - 1])]
    return lines[starts[-tail] :] if len(starts) > tail else lines


def _ends(line: bytes) -> bool:
    parsed = parse_line(line.rstrip(b"\n"))
    return parsed is None or parsed[1]


def _from(path: Path, position: int) -> bytes:
    if not path.exists():
        return b""
    with path.open("rb") as file:
        file.seek(position)
        return file.read(CHUNK)


def _seconds(time: bytes) -> float:
    text = time.decode("latin-1")
    whole, _, rest = text.partition(".")
    digits = rest.rstrip("Z").partition("+")[0]
    moment = datetime.datetime.fromisoformat(f"{whole}+00:00" if "+" not in whole else whole)
    return moment.timestamp() + (float(f"0.{digits}") if digits.isdigit() else 0.0)
