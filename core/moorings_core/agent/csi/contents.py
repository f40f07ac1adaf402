"""The life that snapshots and groups of them share: an object that asks, and a content that stands for what the driver has.

    asked for, its claims bound > content > the driver takes it > content's status > status of what asked
    content made by hand, with a handle > bound to what it names
    what asked is deleted > its content, if its policy says so > the driver's own > what asked

A content with its finalizer is written before the driver is asked and stays until the driver has deleted: no crash leaks anything.
What is of one kind alone are its Steps. Source: external-snapshotter's API v1.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from moorings_core.client.events import EventRecorder
from moorings_core.client.informer import Informer
from moorings_core.client.keyed import KeyedWorker
from moorings_core.ports.client import Client
from moorings_core.ports.errors import Conflict
from moorings_core.ports.objects import Key, Object, Resource, key_of

from .finalizers import has, set_finalizers, with_, without
from .plugins import Driver
from .reach import Reach

PLACE = "storage.moorings.dev/topology"
"""JSON of the topology of the driver that took a snapshot: only it can delete one that is on one node."""
SYNC_SECONDS, READY_SECONDS, LOOK_AGAIN = 600.0, 1.0, 2.0


@dataclass(frozen=True, slots=True)
class Words:
    """What a kind calls its parts."""

    name: str
    reason: str
    """How reasons of its events begin"""
    asked: Resource
    content: Resource
    classes: Resource
    reference: str
    """The content's field that names what asked for it"""
    by_hand: str
    """The field of the source of what asks that names a content"""
    bound: str
    """The field of the status of what asks that names its content"""
    class_name: str
    content_finalizer: str
    finalizers: Sequence[str]
    """Ours on what asks; the last one goes with the object"""
    content_name: Callable[[Object], str]
    takes: Callable[[Driver], bool]
    """Whether a driver can make such ones"""


class Steps(Protocol):
    """What a kind does by itself. All raise ApiError and CsiError, after which the step is tried again; delays are in seconds."""

    async def take(self, asked: Object) -> float | None:
        """Bring what asks for a new one a step on."""

    async def follow(self, asked: Object, content: Object) -> float | None:
        """Let what asked say what its content, which is this agent's, has come to."""

    async def protected(self, asked: Object) -> Object:
        """Return what asks with its finalizers."""

    async def has(self, driver: Driver, content: Object) -> bool:
        """Whether a driver has what a content made by hand names. Raises ValueError with what is wrong with the content's class."""

    def is_mine(self, asked: Object) -> bool:
        """Whether this agent may let go what has no content."""

    async def is_held(self, asked: Object) -> bool:
        """Whether something speaks against the deletion of what asked, for now."""

    async def leave(self, asked: Object) -> None:
        """Do what comes before the end of the content of what asked."""

    async def left(self, asked: Object) -> None:
        """Do what comes after it."""

    async def bring_on(self, content: Object, driver: Driver) -> float | None:
        """Have a content's own made, or look at it, if it is not ready."""

    async def destroy(self, content: Object, driver: Driver) -> None:
        """Have the driver delete what a content stands for."""


class Contents:
    """Walks the objects of one kind, and their contents, through their life."""

    def __init__(self, client: Client, reach: Reach, events: EventRecorder, words: Words, steps: Steps) -> None:
        self._client, self._reach, self._events, self._words, self._steps = client, reach, events, words, steps
        self.asked, self.contents, self.classes = (Informer(client, each) for each in (words.asked, words.content, words.classes))
        self._asked_work: KeyedWorker[Key] = KeyedWorker(words.name, self._asked)
        self._content_work: KeyedWorker[str] = KeyedWorker(f"{words.name} content", self._content)

    async def run(self, *needed: Informer) -> None:
        """Work until cancelled, once those needed are there, too."""
        self.asked.on_change(self._asked_changed)
        self.contents.on_change(self._content_changed)
        informers = (self.classes, self.contents, self.asked)
        async with asyncio.TaskGroup() as tasks:
            for informer in informers:
                tasks.create_task(informer.run())
            for informer in (*informers, *needed):
                await informer.synced(SYNC_SECONDS)
            tasks.create_task(self._asked_work.run())
            tasks.create_task(self._content_work.run())

    def look_again(self) -> None:
        """Work on everything that is there."""
        for asked in self.asked.items:
            self._asked_work.add(asked)
        for content in self.contents.items:
            self._content_work.add(content.name)

    def answers_for(self, content: Object) -> Driver | None:
        """Return the driver of a content if this agent is to work on it."""
        driver = self._reach.driver(content["spec"]["driver"])
        if driver is None or not self._words.takes(driver) or not self._reach.leads(driver):
            return None
        place = (content["metadata"].get("annotations") or {}).get(PLACE)
        return driver if place in (None, place_of(driver)[PLACE]) else None

    def class_named(self, asked: Object, driver: Driver) -> Object | None:
        """Return the class that is named, if it is the driver's."""
        found = self.classes.get(asked["spec"][self._words.class_name])
        return found if found is not None and found["driver"] == driver.name else None

    def class_of(self, named: Object) -> Object | None:
        """Return the class that a content, or what asks, names; None where it is not there or none is named."""
        return self.classes.get(named["spec"].get(self._words.class_name) or "")

    async def with_class(self, asked: Object, chosen: Object) -> Object:
        """Return what asks with its class, which it may have left open."""
        if asked["spec"].get(self._words.class_name):
            return asked
        return await self.patch(asked, {"spec": {self._words.class_name: chosen["metadata"]["name"]}})

    async def secured(self, content: Object) -> Object:
        """Return a content with the finalizer under which its end is ours."""
        finalizer = self._words.content_finalizer
        return content if has(content, finalizer) else await self._set(self._words.content, content, with_(content, finalizer))

    async def protected(self, asked: Object, *finalizers: str) -> Object:
        """Return what asks with finalizers."""
        for finalizer in finalizers:
            if not has(asked, finalizer):
                asked = await self._set(self._words.asked, asked, with_(asked, finalizer))
        return asked

    async def told(self, asked: Object, wanted: Mapping[str, Any]) -> bool:
        """Write a status of what asked where it is another one; return whether it was."""
        known = asked.get("status") or {}
        if all(known.get(k) == v for k, v in wanted.items()):
            return False
        await self.patch(asked, {"status": dict(wanted)}, "status")
        return True

    async def failed(self, asked: Object, reason: str, message: str) -> float:
        """Say in what asks why it comes to nothing; return when to look again."""
        if ((asked.get("status") or {}).get("error") or {}).get("message") != message:
            await self.patch(asked, {"status": {"readyToUse": False, "error": {"message": message, "time": now()}}}, "status")
            self._events.event(asked, "Warning", reason, message)
        return LOOK_AGAIN

    async def tell(self, content: Object, status: Mapping[str, Any]) -> None:
        """Write a content's status, without an error unless there is one in it."""
        name = content["metadata"]["name"]
        patch = {"status": {"error": None, **status}}
        await self._client.patch(self._words.content, name, "", patch, type="merge", subresource="status")

    async def tell_error(self, content: Object, reason: str, message: str, event: str = "") -> None:
        """Say what does not work; into the status only once, as each change of it brings the content back here at once."""
        self._events.event(content, "Warning", reason, event or message)
        if ((content.get("status") or {}).get("error") or {}).get("message") != message:
            await self.tell(content, {"readyToUse": False, "error": {"message": message, "time": now()}})

    async def patch(self, asked: Object, patch: Object, subresource: str = "") -> Object:
        """Change part of what asks and return the whole."""
        metadata = asked["metadata"]
        place = (self._words.asked, metadata["name"], metadata["namespace"], patch)
        return await self._client.patch(*place, type="merge", subresource=subresource)

    def _asked_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._asked_work.add(key_of(new))
        bound = ((new or old or {}).get("status") or {}).get(self._words.bound)
        if bound:
            self._content_work.add(bound)

    def _content_changed(self, old: Object | None, new: Object | None) -> None:
        reference = ((new or old or {}).get("spec") or {}).get(self._words.reference) or {}
        self._asked_work.add(Key(reference.get("namespace", ""), reference.get("name", "")))
        if new is not None:
            self._content_work.add(new["metadata"]["name"])

    async def _asked(self, key: Key) -> float | None:
        asked = self.asked.get(key.name, key.namespace)
        if asked is None:
            return None
        try:
            if "deletionTimestamp" in asked["metadata"]:
                return await self._let_go(asked)
            if asked["spec"]["source"].get(self._words.by_hand):
                return await self._bind_made_by_hand(asked)
            return await self._steps.take(asked)
        except Conflict:
            return LOOK_AGAIN

    async def _bind_made_by_hand(self, asked: Object) -> float | None:
        words = self._words
        content = self.contents.get(asked["spec"]["source"][words.by_hand])
        if content is None:
            return LOOK_AGAIN
        driver = self.answers_for(content)
        try:
            if driver is None or not await self._steps.has(driver, content):
                return None
        except ValueError as error:
            return await self.failed(asked, f"{words.reason}ContentCreationFailed", str(error))
        reference, metadata = content["spec"][words.reference], asked["metadata"]
        same = (reference.get("namespace"), reference.get("name")) == (metadata["namespace"], metadata["name"])
        if not same or reference.get("uid") not in (None, "", metadata["uid"]):
            text = f"{words.content.kind} [{content['metadata']['name']}] is bound to a different {words.name}"
            return await self.failed(asked, f"{words.reason}ContentMisbound", text)
        asked = await self._steps.protected(asked)
        if not reference.get("uid"):
            bound = {"spec": {words.reference: {"uid": metadata["uid"]}}, "metadata": {"annotations": place_of(driver)}}
            content = await self._client.patch(words.content, content["metadata"]["name"], "", bound, type="merge")
        return await self._steps.follow(asked, content)

    async def _let_go(self, asked: Object) -> float | None:
        """What is deleted goes with its content, if its policy says so, once nothing speaks against that."""
        words = self._words
        if not any(has(asked, finalizer) for finalizer in words.finalizers):
            return None
        content = self.contents.get((asked.get("status") or {}).get(words.bound) or words.content_name(asked))
        if content is not None and content["spec"][words.reference].get("uid") != asked["metadata"]["uid"]:
            content = None
        if self.answers_for(content) is None if content is not None else not self._steps.is_mine(asked):
            return None
        if await self._steps.is_held(asked):
            return LOOK_AGAIN
        await self._steps.leave(asked)
        if content is not None and content["spec"]["deletionPolicy"] == "Delete":
            if "deletionTimestamp" not in content["metadata"]:
                await self._client.delete(words.content, content["metadata"]["name"], uid=content["metadata"]["uid"])
            return None  # its end brings what asked back here
        await self._steps.left(asked)
        await self._set(words.asked, asked, [f for f in asked["metadata"]["finalizers"] if f not in words.finalizers])
        return None

    async def _content(self, name: str) -> float | None:
        content = self.contents.get(name)
        driver = self.answers_for(content) if content is not None else None
        if content is None or driver is None:
            return None
        try:
            if "deletionTimestamp" in content["metadata"]:
                await self._end(content, driver)
                return None
            return None if (content.get("status") or {}).get("readyToUse") else await self._steps.bring_on(content, driver)
        except Conflict:
            return LOOK_AGAIN

    async def _end(self, content: Object, driver: Driver) -> None:
        """Delete what a content stands for, if its policy says so, and let it go."""
        words = self._words
        if not has(content, words.content_finalizer):
            return
        reference = content["spec"][words.reference]
        asked = self.asked.get(reference.get("name", ""), reference.get("namespace", ""))
        alive = asked is not None and asked["metadata"]["uid"] == reference.get("uid")
        if alive and asked is not None and "deletionTimestamp" not in asked["metadata"]:
            return  # what asked for it goes first
        if content["spec"]["deletionPolicy"] == "Delete":
            await self._steps.destroy(content, driver)
        await self._set(words.content, content, without(content, words.content_finalizer))

    async def _set(self, resource: Resource, obj: Object, finalizers: Sequence[str]) -> Object:
        return await set_finalizers(self._client, resource, obj, list(finalizers))


def place_of(driver: Driver) -> dict[str, str]:
    """Return the annotation that says where the driver is that has taken a snapshot."""
    return {PLACE: json.dumps(dict(sorted(driver.topology.items())))}


def now() -> str:
    """Return the time as the API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
