"""64 writers on a SQLite store, for tests that kill it: python -m tests.e2e.store.writer DIRECTORY.

Prints "WRITER NUMBER REVISION" for each commit that was acknowledged; a commit writes two keys. History is compacted and the log
checkpointed on the way.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from moorings_core.ports.store import PutRecord
from moorings_core.store import sqlite

WRITERS, COMMITS, GROUP = 64, 12, 16
sqlite.CHECKPOINT_PAGES, sqlite.GROUP_MOST = 200, GROUP


def pair(writer: int) -> tuple[str, str]:
    """Return the keys that a writer writes together."""
    return f"/pairs/{writer}/a", f"/pairs/{writer}/b"


async def write(store: sqlite.SqliteStore, writer: int) -> None:
    """Commit pairs one after another, each with a number of its own."""
    for number in range(COMMITS):
        revisions = await store.commit([PutRecord(key, b"%d" % number * 200) for key in pair(writer)])
        os.write(1, b"%d %d %d\n" % (writer, number, max(revisions)))  # at once, and whole: a line is never torn
        if writer == 0 and number % 4 == 3:
            await store.compact(store.revision - 100)


async def main(directory: Path) -> None:
    """Run all writers to their end."""
    store = await sqlite.SqliteStore.open(directory, {})
    async with asyncio.TaskGroup() as tasks:
        for writer in range(WRITERS):
            tasks.create_task(write(store, writer))
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
