"""Termination messages: what an ended container left in its file, or at the end of its log where it asked for that and failed."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from pathlib import Path

from moorings_core.ports.objects import Object

from .containers import container_named
from .observed import Observed, ObservedContainer
from .streams.logs import parse_line

FILE_MOST, LOG_MOST, LOG_LINES = 4096, 2048, 80
"""Bytes and lines that count, as upstream has them."""


async def read_last_words(pod: Object, observed: Observed, files: Path, logs: Path, messages: MutableMapping[str, str]) -> None:
    """Add the messages of containers that have ended to messages, by container id; files and logs are the pod's directories."""
    runs = [run for found in observed.runs.values() for run in found]
    for run in runs:
        if run.exited and run.state.id not in messages:
            messages[run.state.id] = await asyncio.to_thread(_message, pod, run, files, logs)
    for forgotten in messages.keys() - {run.state.id for run in runs}:
        del messages[forgotten]


def _message(pod: Object, run: ObservedContainer, files: Path, logs: Path) -> str:
    place = f"{run.state.name}/{run.state.attempt}"
    text = _end_of(files / place, FILE_MOST)
    container = container_named(pod, run.state.name) or {}
    if text or run.detail.exit_code == 0 or container.get("terminationMessagePolicy") != "FallbackToLogsOnError":
        return text.decode(errors="replace")
    lines = [p[2] for line in _end_of(logs / f"{place}.log", 4 * LOG_MOST).split(b"\n") if (p := parse_line(line))]
    return b"".join(line + b"\n" for line in lines[-LOG_LINES:])[-LOG_MOST:].decode(errors="replace")


def _end_of(file: Path, size: int) -> bytes:
    if not file.exists():
        return b""
    with file.open("rb") as opened:
        opened.seek(max(file.stat().st_size - size, 0))
        return opened.read(size)
