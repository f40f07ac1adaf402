"""Exchanges the store when the cluster's configuration asks for another one.

Data: the cluster file in the ConfigMap kube-system/moorings in; its annotations `moorings.dev/store` (what is in use, as JSON) and
`moorings.dev/store-error` (why what is asked for is not) out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from moorings_core.api.identity import SELECTOR
from moorings_core.client.resources import CONFIG_MAPS, LEASES
from moorings_core.config import load_text
from moorings_core.log import get_logger
from moorings_core.ports.client import Client
from moorings_core.ports.cluster import StoreConfig
from moorings_core.ports.errors import ApiError, MooringsError
from moorings_core.ports.objects import Object
from moorings_core.ports.store import Store

from . import choice as choices
from .choice import Choice
from .exchange import ExchangeableStore, ExchangeRefused

log = get_logger(__name__)
NAMESPACE, NAME, FILE = "kube-system", "moorings", "cluster.yaml"
IN_USE, ERROR = "moorings.dev/store", "moorings.dev/store-error"
Open = Callable[[str, Path, Mapping[str, Any]], Awaitable[Store]]


class StoreKeeper:
    """Keeps the store in use at what the configuration says."""

    def __init__(self, client: Client, store: ExchangeableStore, data: Path, choice: Choice, open_store: Open, identity: str) -> None:
        self._client, self._store, self._data, self._choice = client, store, data, choice
        self._open, self._identity = open_store, identity
        self._refused: StoreConfig | None = None

    async def run(self) -> None:
        """Follow the configuration until cancelled."""
        name = f"metadata.name={NAME}"
        # A server that has just started knows no change since the object's own version, but all since the list's.
        listed = await self._client.list(CONFIG_MAPS, NAMESPACE, fields=name)
        for found in listed.items:
            await self._follow(found)
        watch = self._client.watch(CONFIG_MAPS, NAMESPACE, since=listed.version, fields=name)
        async with aclosing(watch) as events:  # type: ignore[type-var]
            async for event in events:
                if event.type in ("ADDED", "MODIFIED"):
                    await self._follow(event.object)

    async def _follow(self, found: Object) -> None:
        try:
            wanted = load_text(found.get("data", {}).get(FILE, "")).server.store
        except MooringsError as error:
            await self._say(found, str(error))
            return
        if self._choice.is_for(wanted):
            self._refused = None
            await self._say(found, "")
        elif wanted != self._refused:
            await self._exchange(found, wanted)

    async def _exchange(self, found: Object, wanted: StoreConfig) -> None:
        revision = self._store.revision
        choice = Choice(wanted.backend, dict(wanted.parameters), f"store-{revision}")
        try:
            await self._alone()
            target = await self._open(choice.backend, self._data / choice.directory, choice.parameters)
            if self._store.durable and not target.durable:
                await target.close()
                raise ExchangeRefused(f"the store {choice.backend} forgets everything when the server ends; choose one that keeps it")

            async def chosen() -> None:
                await asyncio.to_thread(choices.note, self._data, choice)

            await self._store.exchange(target, chosen)
        except (MooringsError, OSError, TimeoutError) as error:
            log.error("store not exchanged", backend=wanted.backend, error=str(error))
            self._refused = replace(wanted)
            await self._say(found, str(error) or "it took too long")
            return
        log.info("store exchanged", backend=choice.backend, was=self._choice.backend)
        self._choice, self._refused = choice, None
        await self._say(found, "")

    async def _alone(self) -> None:
        """Refuse where other servers write to the store: they would go on with the old one."""
        if not self._store.shared:
            return
        leases = (await self._client.list(LEASES, NAMESPACE, labels=SELECTOR)).items
        others = sorted(x["metadata"]["name"] for x in leases if x["metadata"]["name"] != self._identity)
        if others:
            raise ExchangeRefused(f"other servers use the store, too: stop them and delete their leases first ({', '.join(others)})")

    async def _say(self, found: Object, error: str) -> None:
        in_use = orjson.dumps({"backend": self._choice.backend, "parameters": self._choice.parameters}).decode()
        wanted = {IN_USE: in_use, ERROR: error or None}
        annotations = found["metadata"].get("annotations") or {}
        if all(annotations.get(key) == value for key, value in wanted.items()):
            return
        try:
            await self._client.patch(CONFIG_MAPS, NAME, NAMESPACE, {"metadata": {"annotations": wanted}})
        except ApiError as failure:
            log.warning("state of the store not told", error=str(failure))
