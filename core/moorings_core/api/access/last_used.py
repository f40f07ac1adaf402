"""Notes at a Secret on which day its token was last shown: so that tokens which nobody uses can be found."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from moorings_core.api.context import Context
from moorings_core.api.writes import Writer
from moorings_core.log import get_logger
from moorings_core.ports.errors import ApiError
from moorings_core.ports.objects import Key, Object, key_of
from moorings_core.registry.kinds import Kind

from .accounts import LAST_USED

log = get_logger(__name__)
DAY = "%Y-%m-%d"


class LastUsed:
    """Writes the label beside the requests that show a token, once a day for each Secret. kind: of Secrets."""

    def __init__(self, writer: Writer, kind: Kind) -> None:
        self._writer, self._kind = writer, kind
        self._running: dict[Key, asyncio.Task[None]] = {}

    def note(self, secret: Object) -> None:
        """A request has shown the token of this Secret."""
        key, today = key_of(secret), datetime.now(UTC)
        days = (today.strftime(DAY), (today + timedelta(days=1)).strftime(DAY))
        if key in self._running or (secret["metadata"].get("labels") or {}).get(LAST_USED) in days:
            return
        task = self._running[key] = asyncio.get_running_loop().create_task(self._write(key, secret["metadata"]["uid"], days[0]))
        task.add_done_callback(lambda _: self._running.pop(key, None))

    async def close(self) -> None:
        """End what is being written."""
        for task in list(self._running.values()):
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _write(self, key: Key, uid: str, day: str) -> None:
        patch = {"metadata": {"uid": uid, "labels": {LAST_USED: day}}}
        try:
            await self._writer.patch(self._kind, key, patch, "merge", Context())
        except ApiError as error:
            log.warning("use of a token not noted", secret=f"{key.namespace}/{key.name}", error=str(error))
