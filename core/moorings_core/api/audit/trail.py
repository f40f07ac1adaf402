"""Follows one request and hands what is to be recorded to the log. It stands in the way of every request, so little is done here."""

from __future__ import annotations

import itertools
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from moorings_core.api.access.attributes import Attributes, Decision
from moorings_core.api.context import User
from moorings_core.api.http.message import Request, Response
from moorings_core.api.paths import Target

from .policy import REQUEST, Wanted

HEADER, ID_MOST = "audit-id", 64
_PROCESS = str(uuid.uuid4())[:24]
_numbers = itertools.count(random.getrandbits(40))


class Entry(NamedTuple):
    """One stage of one request, ready to be written down by another thread. status 0: not known yet."""

    trail: Trail
    stage: str
    at: float
    status: int
    body: bytes


Put = Callable[[Entry], None]


@dataclass(slots=True)
class Trail:
    """One request that is recorded. asked has the user who sent it, `acting` the one that it acts as; made: the name of what it created."""

    put: Put
    wanted: Wanted
    request: Request
    asked: Attributes
    target: Target | None
    id: str = ""
    received: float = 0
    acting: User | None = None
    decision: Decision | None = None
    made: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    """What admission has to say of the request"""

    def begin(self) -> None:
        """Note the arrival."""
        self.received = time.time()
        self.id = self.request.headers.get(HEADER, "")[:ID_MOST] or _new_id()
        self._note("RequestReceived", 0)

    def answered(self, response: Response) -> None:
        """Note the answer; of a stream its beginning now and its end when it comes."""
        response.headers["Audit-Id"] = self.id
        if response.stream is None and response.takeover is None:
            self._note("ResponseComplete", response.status, response.body)
            return
        self._note("ResponseStarted", response.status)
        if response.stream is not None:
            response.stream = self._followed(response.stream, response.status)
        elif response.takeover is not None:
            takeover = response.takeover

            async def followed(*connection: object) -> None:
                try:
                    await takeover(*connection)  # type: ignore[arg-type]
                finally:
                    self._note("ResponseComplete", response.status)

            response.takeover = followed

    def failed(self) -> None:
        """Note that the server itself failed."""
        self._note("Panic", 500)

    async def _followed(self, stream: AsyncIterator[bytes], status: int) -> AsyncIterator[bytes]:
        try:
            async for chunk in stream:
                yield chunk
        finally:
            self._note("ResponseComplete", status)

    def _note(self, stage: str, status: int, body: bytes = b"") -> None:
        if stage in self.wanted.stages:
            kept = body if self.wanted.level > REQUEST or status >= 400 else b""
            self.put(Entry(self, stage, time.time(), status, kept))


def _new_id() -> str:
    """Return an id that looks like a UUID: random for this process, then counted, which takes a tenth of the time."""
    return f"{_PROCESS}{next(_numbers):012x}"
