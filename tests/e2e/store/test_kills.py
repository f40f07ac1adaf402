"""A store is killed at its system calls, one after another, under 64 writers: nothing acknowledged is lost, nothing is half there.

strace delivers SIGKILL when the process enters the n-th call of a kind, before the kernel carries it out.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from moorings_core.ports.store import PutRecord
from moorings_core.store.sqlite import SqliteStore

from .writer import COMMITS, GROUP, WRITERS, pair

CALLS = WRITERS * COMMITS // GROUP
"""How many calls of each kind the store's thread makes at least: one for each group of commits."""
POINTS = int(os.environ.get("MOORINGS_KILL_POINTS", "8"))
"""How many points of each kind of call are tried: evenly spread over all; 0: every one."""


def run(directory: Path, *inject: str) -> tuple[dict[int, tuple[int, int]], str, int]:
    """Run the writers; return what they had acknowledged (writer -> number, revision), what strace said, and the exit code."""
    command = ["strace", "-f", "-qq", *inject, sys.executable, "-m", "tests.e2e.store.writer", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=Path(__file__).parents[3])
    acknowledged: dict[int, tuple[int, int]] = {}
    for line in done.stdout.splitlines():
        writer, number, revision = map(int, line.split())
        acknowledged[writer] = (number, revision)
    return acknowledged, done.stderr, done.returncode


def test_without_a_kill_every_writer_comes_to_its_end(tmp_path):
    acknowledged, said, code = run(tmp_path, "-e", "trace=none")
    assert (code, {number for number, _ in acknowledged.values()}, len(acknowledged)) == (0, {COMMITS - 1}, WRITERS), said


@pytest.mark.parametrize("call", ["pwrite64", "fdatasync"])
@pytest.mark.parametrize("point", range(1, CALLS + 1, max(CALLS // POINTS, 1) if POINTS else 1))
async def test_whatever_call_it_dies_at_all_that_was_acknowledged_is_there_and_no_commit_is_half_done(call, point, tmp_path):
    acknowledged, said, code = run(tmp_path, "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={point}")
    assert code == -9, said
    await check(tmp_path, acknowledged)


async def check(directory: Path, acknowledged: dict[int, tuple[int, int]]) -> None:
    """Look at a store that was killed."""
    store = await SqliteStore.open(directory, {})
    try:
        for writer in range(WRITERS):
            number, revision = acknowledged.get(writer, (-1, 0))
            first, second = [await store.get(key) for key in pair(writer)]
            assert (first is None) == (second is None), f"half a commit of writer {writer}"
            found = int(first.value[: len(first.value) // 200]) if first else -1
            assert first is None or (second is not None and first.value == second.value), f"two commits of writer {writer} are mixed"
            assert found in (number, number + 1), f"writer {writer}: {number} was acknowledged, {found} is there"
            assert second is None or second.revision >= revision
        newest = max((revision for _, revision in acknowledged.values()), default=0)
        (after,) = await store.commit([PutRecord("/after", b"1")])
        assert after > newest, "a version was given twice"
    finally:
        await store.close()
