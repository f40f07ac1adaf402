"""Tells in each FlowSchema's status whether the priority level that it names is there.

Every server of a cluster does; the second finds it done. Source: apiserver pkg/util/flowcontrol/apf_controller.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

from moorings_core.api.cache import Cache, Change
from moorings_core.api.codec import now
from moorings_core.api.context import Context, WriteOptions
from moorings_core.api.writes import Writer
from moorings_core.log import get_logger
from moorings_core.ports.errors import ApiError, NotFound
from moorings_core.ports.objects import Key, Object
from moorings_core.registry.kinds import Kind, Registry

from .born import GROUP

log = get_logger(__name__)
SCHEMAS, LEVELS = "flowschemas", "prioritylevelconfigurations"
DANGLING = "Dangling"
MANAGER = "api-priority-and-fairness-config-consumer-v1"
RETRY_SECONDS = 1.0


class Dangling:
    """Keeps the condition of all FlowSchemas."""

    def __init__(self, cache: Cache, registry: Registry, writer: Writer) -> None:
        self._cache, self._registry, self._writer = cache, registry, writer
        self._wake = asyncio.Event()

    def start(self) -> None:
        """Follow schemas and levels; call once the cache is loaded."""
        for plural in (SCHEMAS, LEVELS):
            self._cache.collection(GROUP, plural).listeners[self._observe] = None
        self._wake.set()

    async def run(self) -> None:
        """Write conditions for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            for schema, condition in list(self._wrong()):
                try:
                    await self._tell(schema, condition)
                except NotFound:
                    continue
                except ApiError as error:
                    log.warning("flow schema not told of its level", schema=schema["metadata"]["name"], error=str(error))
                    asyncio.get_running_loop().call_later(RETRY_SECONDS, self._wake.set)

    def _observe(self, _: Change) -> None:
        self._wake.set()

    def _wrong(self) -> Iterator[tuple[Object, Object]]:
        levels = {s.object["metadata"]["name"] for s in self._cache.collection(GROUP, LEVELS).select()}
        for stored in self._cache.collection(GROUP, SCHEMAS).select():
            wanted = condition_of(stored.object, levels)
            if wanted is not None:
                yield stored.object, wanted

    async def _tell(self, schema: Object, condition: Object) -> None:
        kind, name = self._kind(), schema["metadata"]["name"]
        context = Context(options=WriteOptions(field_manager=MANAGER, force=True))
        status = {"conditions": [{**condition, "lastTransitionTime": now()}]}
        if schema["metadata"].get("managedFields"):
            await self._writer.apply(kind, Key("", name), {"metadata": {"name": name}, "status": status}, context, "status")
            return
        others = [c for c in (schema.get("status") or {}).get("conditions") or () if c.get("type") != DANGLING]
        patch = {"status": {"conditions": [*others, *status["conditions"]]}, "metadata": _version(schema)}
        await self._writer.patch(kind, Key("", name), patch, "merge", replace(context, options=WriteOptions()), "status")

    def _kind(self) -> Kind:
        found = self._registry.lookup(GROUP, "v1", SCHEMAS)
        assert found is not None
        return found


def condition_of(schema: Object, levels: set[str]) -> Object | None:
    """Return what a schema's condition has to say, None where it says so."""
    name = (schema["spec"].get("priorityLevelConfiguration") or {}).get("name", "")
    known = name in levels
    text = f'This FlowSchema references the PriorityLevelConfiguration object named "{name}" '
    wanted = {
        "type": DANGLING,
        "status": "False" if known else "True",
        "reason": "Found" if known else "NotFound",
        "message": text + ("and it exists" if known else "but there is no such object"),
    }
    said: Object = next((c for c in (schema.get("status") or {}).get("conditions") or () if c.get("type") == DANGLING), {})
    return None if all(said.get(field) == value for field, value in wanted.items()) else wanted


def _version(schema: Object) -> Object:
    return {"resourceVersion": schema["metadata"]["resourceVersion"]}
