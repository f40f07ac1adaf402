"""Gathers commits that wait at the same time into one etcd transaction: one fsync and one round trip for many writers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import grpc

from moorings_core.ports.store import PreconditionFailed, PutRecord, StoreUnavailable

from .connection import Connection
from .numbers import Numbers
from .transactions import Commit, failures, request, revisions

FLIGHTS = 4
"""Transactions under way at a time: while etcd syncs one, the next are on their way"""
BYTES_MOST = 1 << 20
"""etcd refuses requests over 1.5 MiB (--max-request-bytes); a single commit over this goes alone"""
SECONDS = 10.0


class Job(NamedTuple):
    """A commit that waits, and who waits for it."""

    commit: Commit
    done: asyncio.Future[list[int]]


class Sender:
    """Sends commits in as few transactions as they fit into."""

    def __init__(self, connection: Connection, prefix: str, most: int) -> None:
        self._connection, self._prefix, self._most = connection, prefix, most
        self.numbers = Numbers()
        self._waiting: deque[Job] = deque()
        self._flights: set[asyncio.Task[None]] = set()

    async def commit(self, commit: Commit) -> Sequence[int]:
        """Write all operations of a commit or none; return their revisions. Raises PreconditionFailed, StoreUnavailable."""
        job = Job(commit, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._pump()
        return await job.done

    async def close(self) -> None:
        """Finish what is under way."""
        while self._flights:
            await asyncio.gather(*self._flights, return_exceptions=True)

    def _pump(self) -> None:
        while self._waiting and len(self._flights) < FLIGHTS:
            flight = asyncio.create_task(self._fly(self._gather()))
            self._flights.add(flight)
            flight.add_done_callback(self._landed)

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flights.discard(flight)
        self._pump()

    def _gather(self) -> list[Job]:
        """Take as many waiting commits as make one transaction: no key twice, or etcd refuses it."""
        jobs, keys, size = [self._waiting.popleft()], set[str](), 0
        keys.update(o.key for o in jobs[0].commit.operations)
        size = _size(jobs[0].commit)
        while self._waiting:
            candidate = self._waiting[0].commit
            names = {o.key for o in candidate.operations}
            size += _size(candidate)
            if len(keys) + len(names) > self._most or size > BYTES_MOST or keys & names:
                break
            keys |= names
            jobs.append(self._waiting.popleft())
        return jobs

    async def _fly(self, jobs: list[Job]) -> None:
        commits = [job.commit for job in jobs]
        try:
            answer = await self._connection.kv.Txn(request(commits, self._prefix), timeout=SECONDS)
        except grpc.aio.AioRpcError as error:
            self._refused(jobs, error)
            return
        except asyncio.CancelledError:
            _fail(jobs, "the server ends")
            raise
        if answer.succeeded:
            for job, mine in zip(jobs, revisions(commits, answer, self.numbers), strict=True):
                if not job.done.done():
                    job.done.set_result(mine)
            return
        self._lost(jobs, failures(commits, answer, self.numbers))

    def _lost(self, jobs: Sequence[Job], lost: Sequence[tuple[int, str, int] | None]) -> None:
        """Tell those whose expectation failed; the others were only in the same boat."""
        for job, failure in zip(jobs, lost, strict=True):
            if failure is None:
                self._waiting.append(job)
            elif not job.done.done():
                job.done.set_exception(PreconditionFailed(*failure))

    def _refused(self, jobs: Sequence[Job], error: grpc.aio.AioRpcError) -> None:
        if error.code() == grpc.StatusCode.INVALID_ARGUMENT and len(jobs) > 1:
            for job in jobs:  # which of them is too big, only etcd knows
                flight = asyncio.create_task(self._fly([job]))
                self._flights.add(flight)
                flight.add_done_callback(self._landed)
            return
        _fail(jobs, explain(error))


def explain(error: grpc.aio.AioRpcError) -> str:
    """Return what etcd, or the way to it, has to say."""
    return f"etcd: {error.details() or error.code().name}"


def _size(commit: Commit) -> int:
    return sum(len(o.value) + len(o.key) for o in commit.operations if isinstance(o, PutRecord))


def _fail(jobs: Sequence[Job], reason: str) -> None:
    for job in jobs:
        if not job.done.done():
            job.done.set_exception(StoreUnavailable(reason))
