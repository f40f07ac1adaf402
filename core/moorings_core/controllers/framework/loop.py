"""Runs one controller: takes keys, reconciles them, commits the intents of many keys at once, takes the answers in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from moorings_core.client.events import EventType
from moorings_core.log import get_logger
from moorings_core.ports.client import Client, Create, Delete, Write
from moorings_core.ports.errors import ApiError
from moorings_core.ports.objects import Key, Object, Resource

from .cache import Answer, Cache, View
from .intents import Controller, Note, Question, Result, Watch, WorkKey
from .queue import WorkQueue

log = get_logger(__name__)
KEYS_A_TICK = 256
BUDGET = 0.004  # seconds of pure work before the event loop gets its turn
ROUNDS_OF_QUESTIONS = 4


class Recorder(Protocol):
    """What is used of `client.events.EventRecorder`."""

    def event(self, obj: Object, type: EventType, reason: str, message: str) -> None:
        """Note an event."""


@dataclass
class Batch:
    """What one tick is going to do: keys in hand, and the intents of each."""

    keys: list[WorkKey] = field(default_factory=list)
    results: list[tuple[WorkKey, Result]] = field(default_factory=list)
    asking: list[tuple[WorkKey, Result]] = field(default_factory=list)


class Loop:
    """One controller at work. `plan` is synchronous and `apply` does all I/O, so that a simulator can step between them."""

    def __init__(
        self,
        controller: Controller,
        caches: Mapping[Resource, Cache],
        client: Client,
        recorder: Recorder,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.controller, self._caches, self._client, self._recorder = controller, caches, client, recorder
        self._now = now
        self.queue = WorkQueue(clock)
        self._clock = clock
        self._errors: dict[WorkKey, Sequence[ApiError]] = {}
        for watch in controller.watches():
            self._index(watch)
        self._subscribed = False

    def subscribe(self) -> None:
        """Begin to turn changes into keys; call when the caches are filled, so that mappings see all of them."""
        if self._subscribed:
            return
        self._subscribed = True
        for watch in self.controller.watches():
            self._subscribe(watch)

    def watch(self, watch: Watch) -> None:
        """Read one more collection, whose cache is among the loop's by now."""
        self._index(watch)
        self._subscribe(watch)

    def _index(self, watch: Watch) -> None:
        for name, function in watch.indexes.items():
            self._caches[watch.resource].add_index(name, function)

    def _subscribe(self, watch: Watch) -> None:
        view = View(self._caches)

        def handler(old: Object | None, new: Object | None) -> None:
            try:
                for key in watch.keys(view, old, new):
                    self.queue.add(key)
            except Exception:
                log.exception("change not understood", controller=self.controller.name)

        self._caches[watch.resource].on_change(handler)

    async def run(self) -> None:
        """Work until cancelled. A key that fails, however it fails, is tried again later and stops no other."""
        self.subscribe()
        while True:
            await self.queue.wait()
            await self.apply(self.plan())
            await asyncio.sleep(0)

    def plan(self, most: int = KEYS_A_TICK) -> Batch:
        """Take keys and reconcile them, for BUDGET seconds at most."""
        batch, end = Batch(), time.perf_counter() + BUDGET
        for cache in self._caches.values():
            cache.expire()
        while len(batch.keys) < most and time.perf_counter() < end:
            taken = self.queue.take(1)
            if not taken:
                break
            batch.keys.extend(taken)
            self._reconcile(batch, taken[0], {})
        return batch

    async def apply(self, batch: Batch) -> None:
        """Ask what is asked, commit what is wanted, take the answers in and give the keys back."""
        try:
            for _ in range(ROUNDS_OF_QUESTIONS):
                if not batch.asking:
                    break
                await self._ask(batch)
            await self._commit(batch)
        except Exception:
            log.exception("batch failed", controller=self.controller.name)
            for key in batch.keys:
                self.queue.retry(key)
        finally:
            for key in batch.keys:
                self.queue.done(key)

    def _reconcile(self, batch: Batch, key: WorkKey, answers: Mapping[Question, Answer]) -> None:
        view = View(self._caches, answers, self._errors.get(key, ()))
        try:
            result = self.controller.reconcile(key, view, self._now())
        except Exception:
            delay = self.queue.retry(key)
            log.exception("reconcile failed", controller=self.controller.name, key="/".join(key), retry=delay)
            return
        (batch.asking if result.questions else batch.results).append((key, result))

    async def _ask(self, batch: Batch) -> None:
        asking, batch.asking = batch.asking, []
        questions = list({question: None for _, result in asking for question in result.questions})
        answers = dict(zip(questions, await asyncio.gather(*map(self._answer, questions)), strict=True))
        for key, result in asking:
            self._reconcile(batch, key, {question: answers[question] for question in result.questions})

    async def _answer(self, question: Question) -> Answer:
        try:
            if question.name:
                return await self._client.get(question.resource, question.name, question.namespace)
            return await self._client.list(question.resource, question.namespace, limit=0 if question.whole else 500)
        except ApiError as error:
            return error

    async def _commit(self, batch: Batch) -> None:
        flat = [(key, intent) for key, result in batch.results for intent in result.intents]
        answers = await self._client.commit([intent.write for _, intent in flat]) if flat else []
        failed: dict[WorkKey, list[ApiError]] = {}
        for (key, intent), answer in zip(flat, answers, strict=True):
            if isinstance(answer, ApiError) and _is_home_going(answer):
                continue  # nothing is made there any more; the namespace's deletion takes the rest
            if isinstance(answer, ApiError) and not isinstance(answer, intent.settled_by):
                failed.setdefault(key, []).append(answer)
                self._tell(intent.failed, error=str(answer))
            elif not isinstance(answer, ApiError):
                self._assume(intent.write, answer)
                self._tell(intent.done, name=str(answer.get("metadata", {}).get("name", "")))
        for key, result in batch.results:
            self._finish(key, result, failed.get(key, ()))

    def _finish(self, key: WorkKey, result: Result, errors: Sequence[ApiError]) -> None:
        for note in result.notes:
            self._tell(note)
        if errors:
            self._errors[key] = errors
            delay = self.queue.retry(key)
            words = "; ".join(sorted({str(error) for error in errors}))
            log.debug("intents refused", controller=self.controller.name, key="/".join(key), error=words, retry=delay)
            return
        self._errors.pop(key, None)
        self.queue.forget(key)
        if result.requeue_after is not None:
            self.queue.add_after(key, max(result.requeue_after, 0.001))

    def _assume(self, write: Write, answer: Object) -> None:
        """Take our own write in. Answers that are not the object itself (a Binding, a Scale) are left to the informer."""
        cache = self._caches.get(write.resource)
        if cache is None:
            return
        if isinstance(write, Delete):
            when = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
            cache.assume_deleted(Key(write.namespace, write.name), write.uid, when)
            return
        other = isinstance(write, Create) and write.subresource
        if not other and answer.get("kind", write.resource.kind) == write.resource.kind and answer.get("metadata", {}).get("uid"):
            cache.assume(answer)

    def _tell(self, note: Note | None, **words: str) -> None:
        if note is not None:
            message = note.message
            for word, value in words.items():
                message = message.replace(f"{{{word}}}", value)
            self._recorder.event(note.about, note.type, note.reason, message)


def _is_home_going(error: ApiError) -> bool:
    """Whether a create was refused because its namespace is being deleted."""
    return any(cause.get("reason") == "NamespaceTerminating" for cause in error.details.get("causes") or ())
