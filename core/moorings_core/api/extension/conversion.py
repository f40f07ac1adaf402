"""Objects of custom kinds, and of the built-in ones that two APIs serve, in the version that is asked for and in the stored one.

Strategy None changes only the apiVersion. A webhook is asked by ConversionReview; what it answered is remembered by the object's
revision, so that the write path, which does not wait, finds it there: where it does not, it raises `NeedsConversion`, its caller
waits and tries again. Source: apiextensions-apiserver pkg/apiserver/conversion.
"""

from __future__ import annotations

import asyncio
import copy
import uuid
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import orjson

from moorings_core.api.cache import Stored, copied
from moorings_core.api.reads import Selection
from moorings_core.api.watches import Event
from moorings_core.client.transport import ConnectionBroken
from moorings_core.ports.errors import ApiError
from moorings_core.ports.objects import Object, Resource
from moorings_core.registry import forms
from moorings_core.registry.custom import served
from moorings_core.registry.custom.kind import CustomVersion

from .dialer import Dialer, endpoint_of, post

REMEMBERED = 4096
TIMEOUT = 30.0
Memory = OrderedDict[tuple[str, str, str], Object]


class NeedsConversion(Exception):
    """A webhook must be asked before this can be decided."""

    def __init__(self, custom: CustomVersion, obj: Object) -> None:
        super().__init__("conversion needed")
        self.custom, self.obj = custom, obj


class Converter:
    """Converts between the versions of custom kinds."""

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        self._known: Memory = OrderedDict()

    def at_hand(self, custom: CustomVersion, obj: Object) -> Object:
        """Return a stored object in a version. Raises NeedsConversion."""
        version = f"{custom.group}/{custom.name}"
        if obj["apiVersion"] == version or custom.webhook is None:
            return custom.present(obj)
        found = self._known.get(_memory_key(obj, version))
        if found is None:
            raise NeedsConversion(custom, obj)
        return custom.present(found)

    async def resolve(self, need: NeedsConversion) -> None:
        """Ask the webhook for what was not at hand. Raises ApiError."""
        await self._fetch(need.custom, [need.obj])

    async def present(self, resource: Resource, objects: Sequence[Object]) -> list[Object]:
        """Return stored objects in the version of a resource; nearly all built-in ones as they are. Raises ApiError."""
        custom = served.of(resource)
        if custom is None:
            return [forms.shown(resource, obj) for obj in objects] if forms.is_shared(resource) else list(objects)
        version = f"{custom.group}/{custom.name}"
        if custom.webhook is not None:
            missing = [o for o in objects if o["apiVersion"] != version and _memory_key(o, version) not in self._known]
            if missing:
                await self._fetch(custom, missing)
        return [self.at_hand(custom, obj) for obj in objects]

    @staticmethod
    def converts(resource: Resource) -> bool:
        """Whether objects may be stored otherwise than this resource shows them."""
        return served.of(resource) is not None or forms.is_shared(resource)

    @staticmethod
    def selects_late(resource: Resource, fields: str) -> bool:
        """Whether fields can only be selected by once a webhook has made the objects what the client sees. Raises BadRequest."""
        custom = served.of(resource)
        return bool(fields) and custom is not None and custom.webhook is not None and not Selection(resource, "", fields).all

    async def items(self, resource: Resource, items: Sequence[Stored], fields: str = "") -> Sequence[Stored]:
        """Return the items of a list in the version of a resource, of these only those that fields select. Raises ApiError."""
        if not self.converts(resource):
            return items
        shown = await self.present(resource, [item.object for item in items])
        if fields:
            selection = Selection(resource, "", fields)
            chosen = [(item, obj) for item, obj in zip(items, shown, strict=True) if selection.matches(obj)]
            items, shown = [item for item, _ in chosen], [obj for _, obj in chosen]
        return [item if obj is item.object else Stored(obj, item.revision, b"") for item, obj in zip(items, shown, strict=True)]

    async def events(self, source: AsyncGenerator[Event], resource: Resource, fields: str = "") -> AsyncGenerator[Event]:
        """Yield a watch's events in the version of a resource; with fields only what they select. Raises ApiError."""
        selection = Selection(resource, "", fields) if fields else None
        async with aclosing(source):
            async for event in source:
                if event.type == "BOOKMARK":
                    yield event
                    continue
                (shown,) = await self.present(resource, [event.object])
                if selection is None:
                    yield event._replace(object=shown)
                elif (kind := await self._selected(event, shown, resource, selection)) is not None:
                    yield event._replace(type=kind, object=shown)

    async def _selected(self, event: Event, shown: Object, resource: Resource, selection: Selection) -> str | None:
        """Return what an event is to one who sees only what is selected, None for nothing."""
        was, change = False, event.change
        if change is not None and change.old is not None:
            (before,) = await self.present(resource, [change.old.object])
            was = selection.matches(before)
        now = event.type != "DELETED" and selection.matches(shown)
        if now:
            return "MODIFIED" if was else "ADDED"
        return "DELETED" if was else None

    async def stored(self, custom: CustomVersion, obj: Object) -> Object:
        """Return an object in the version that is stored. Raises ApiError."""
        wanted = f"{custom.group}/{custom.storage}"
        if obj["apiVersion"] == wanted or custom.webhook is None:
            return {**obj, "apiVersion": wanted}
        (converted,) = await self._ask(custom, [obj], wanted)
        return converted

    async def _fetch(self, custom: CustomVersion, objects: Sequence[Object]) -> None:
        version = f"{custom.group}/{custom.name}"
        for obj, converted in zip(objects, await self._ask(custom, objects, version), strict=True):
            self._known[_memory_key(obj, version)] = converted
        while len(self._known) > REMEMBERED + len(objects):
            self._known.popitem(last=False)

    async def _ask(self, custom: CustomVersion, objects: Sequence[Object], version: str) -> list[Object]:
        """Ask the webhook. Raises ApiError with upstream's words."""
        webhook = custom.webhook or {}
        about = f"conversion webhook for {objects[0]['apiVersion']}, Kind={objects[0]['kind']} failed"
        request = {"uid": str(uuid.uuid4()), "desiredAPIVersion": version, "objects": [copied(o) for o in objects]}
        review = {"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "request": request}
        try:
            endpoint, path = endpoint_of(webhook["clientConfig"], self._dialer)
            async with asyncio.timeout(TIMEOUT):
                status, body = await post(endpoint, path, orjson.dumps(review))
            answer = orjson.loads(body) if status == 200 else {}
        except (OSError, ConnectionBroken, ValueError, KeyError) as error:
            raise ApiError(f"{about}: {error or type(error).__name__}", code=500) from error
        if status != 200:
            raise ApiError(f"{about}: the server answered {status}", code=500)
        return _checked(about, request, answer, version)


def _memory_key(obj: Object, version: str) -> tuple[str, str, str]:
    metadata = obj["metadata"]
    return metadata.get("uid", ""), metadata.get("resourceVersion", ""), version


def _checked(about: str, request: Object, answer: object, version: str) -> list[Object]:
    """Return the converted objects. A webhook may change what an object holds, not which it is. Raises ApiError."""
    response = answer.get("response") if isinstance(answer, dict) else None
    if not isinstance(response, dict) or response.get("uid") != request["uid"]:
        raise ApiError(f"{about}: the answer is to another question", code=500)
    result = response.get("result") or {}
    if result.get("status") != "Success":
        raise ApiError(f"{about}: {result.get('message', '')}", code=500)
    converted, given = response.get("convertedObjects") or [], request["objects"]
    if len(converted) != len(given):
        raise ApiError(f"{about}: expected {len(given)} converted objects, got {len(converted)}", code=500)
    made = []
    for new, old in zip(converted, given, strict=True):
        if new.get("apiVersion") != version or new.get("kind") != old["kind"]:
            raise ApiError(f"{about}: invalid converted object: {new.get('apiVersion')}, Kind={new.get('kind')}", code=500)
        metadata = copy.deepcopy(old["metadata"])
        for field in ("labels", "annotations"):
            metadata.pop(field, None)
            if (new.get("metadata") or {}).get(field):
                metadata[field] = new["metadata"][field]
        made.append({**new, "metadata": metadata})
    return made
