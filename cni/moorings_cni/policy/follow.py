"""Policies on a running node: follows the API, compiles, keeps the table, and sees to a pod before its first packet.

Pods and Namespaces are followed only once there is a policy: a cluster without any pays for one watch. A pod that is being wired
is judged by what the API says at that moment, not by what a watch has told up to then; if the API cannot be asked, by the latter.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

from moorings_core import measures
from moorings_core.client.informer import Informer
from moorings_core.client.resources import NAMESPACES, NETWORK_POLICIES, PODS
from moorings_core.kernel.nftables import BatchError, Monitor
from moorings_core.log import get_logger
from moorings_core.ports.client import Client
from moorings_core.ports.errors import ApiError, NotFound
from moorings_core.ports.network import Attachment, NetworkError
from moorings_core.ports.objects import Key, Object, key_of

from .compiler import Compiler, Local
from .layout import TABLE
from .model import pod_of, policy_of
from .table import Table

log = get_logger(__name__)
COALESCE, PERIOD, RETRY, CALM = 0.005, 2.0, 0.5, 0.25
PATIENCE = 3.0
"""Seconds that wiring a pod waits for the API's word on it."""
START = 30.0
"""Seconds that wiring a pod waits for the first look at the policies."""
AHEAD = 10.0
"""Seconds that what the API said about a new pod's policies counts for more than a watch that has not told of it yet."""
METRIC = "moorings_network_policy_packets"
INLINE = 64
"""Up to so many news or elements are dealt with on the event loop: it takes less time than a thread's wake-up."""
Attachments = Callable[[], Iterable[Attachment]]


class _Taken(NamedTuple):
    version: int
    until: float


class _Answer(NamedTuple):
    policies: list[Object]
    pod: Object | None


class PolicyKeeper:
    """Enforces NetworkPolicy on the pods of one node. It may be cancelled at any time; the table stays."""

    def __init__(self, client: Client, attachments: Attachments) -> None:
        self._client, self._attachments = client, attachments
        self._policies = Informer(client, NETWORK_POLICIES)
        self._pods = Informer(client, PODS, transform=_trimmed)
        self._namespaces = Informer(client, NAMESPACES)
        self._compiler, self.table = Compiler(), Table()
        self._wake, self._needed, self._started = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._turn = asyncio.Lock()
        self._news: list[Callable[[], None]] = []
        self._taken: dict[tuple[str, Key], _Taken] = {}
        self._unsure = False

    @property
    def busy(self) -> bool:
        """Whether something has been heard of that is not enforced yet."""
        return bool(self._news) or self._wake.is_set() or self._turn.locked() or not self._started.is_set()

    @property
    def informers(self) -> tuple[Informer, ...]:
        """What the API says, as far as it is followed."""
        return self._policies, self._pods, self._namespaces

    async def run(self) -> None:
        """Enforce until cancelled."""
        self._policies.on_change(lambda old, new: self._note(lambda: self._policy_news(old, new)))
        self._pods.on_change(lambda old, new: self._note(lambda: self._pod_news(old, new)))
        self._namespaces.on_change(lambda old, new: self._note(lambda: self._namespace_news(old, new)))
        try:
            with measures.told_by(self._measures):
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._policies.run())
                    tasks.create_task(self._follow_peers())
                    tasks.create_task(self._listen())
                    await self._policies.synced(timeout=24 * 3600)
                    while True:
                        await self._round()
                        await self._next()
        finally:
            await asyncio.to_thread(self.table.close)

    def _measures(self) -> Iterable[measures.Measure]:
        for count in self._compiler.count(self.table.counters()):
            labels = (("policy", str(count.policy)), ("pod", str(count.pod)), ("direction", count.direction))
            for verdict, packets in (("allowed", count.allowed), ("denied", count.denied)):
                yield measures.Measure(METRIC, "Packets of new and asking flows", (*labels, ("verdict", verdict)), packets)

    async def admit(self, attachment: Attachment) -> None:
        """Let a pod that is being wired have the policies that hold for it. Raises NetworkError: it must not start then."""
        key, local = _local(attachment)
        if key is None:
            return
        try:
            async with asyncio.timeout(START):
                answer = await self._ask(key)
                await self._started.wait()
                async with self._turn:
                    self._take_answer(answer)
                    self._compiler.set_local(key, local)
                    await self._commit()
        except TimeoutError:
            raise NetworkError(f"the network policies are not known yet: {key} can't be let in") from None
        except (BatchError, OSError) as error:
            raise NetworkError(f"the network policies of {key} can't be enforced: {error}") from error

    async def forget(self, attachment: Attachment) -> None:
        """Take away what a pod had that is not wired any more."""
        key, local = _local(attachment)
        if key is None:
            return
        async with self._turn:
            if self._compiler.local(key) == local:
                self._compiler.set_local(key, None)
                self._wake.set()

    async def _listen(self) -> None:
        """Look at the rules soon after somebody else has changed them; what is done to elements alone is seen within PERIOD."""
        monitor = Monitor(self.table.port, elements=False)
        try:
            while True:
                if any(change.table in ("", TABLE) for change in await monitor.changes()):
                    self._wake.set()
                await asyncio.sleep(CALM)
        finally:
            monitor.close()

    async def _follow_peers(self) -> None:
        await self._needed.wait()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pods.run())
            tasks.create_task(self._namespaces.run())

    def _note(self, news: Callable[[], None]) -> None:
        self._news.append(news)
        self._wake.set()

    async def _next(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(PERIOD):
                await self._wake.wait()
                await asyncio.sleep(COALESCE)
        self._wake.clear()

    async def _round(self) -> None:
        try:
            async with self._turn:
                if not self._started.is_set():
                    await self._begin()
                self._catch_up()
                await self._commit()
                await self._heal()
        except (NetworkError, BatchError, OSError) as error:
            log.error("network policies not enforced", error=str(error), retry=RETRY)
            await asyncio.sleep(RETRY)
            self._wake.set()

    async def _begin(self) -> None:
        """Take over what an earlier life has left: that denies until this one knows as much."""
        for attachment in self._attachments():
            key, local = _local(attachment)
            if key is not None:
                self._compiler.set_local(key, local)
        await self._take_news()
        self._unsure = self._compiler.has_policies or await asyncio.to_thread(self.table.exists)
        await self._commit()
        self._started.set()
        log.info("network policies are enforced", policies=len(self._policies.items))

    async def _heal(self) -> None:
        if self.table.laid and await asyncio.to_thread(self.table.changed):
            count = await asyncio.to_thread(self.table.sync, self._compiler.elements())
            if count:
                log.warning("network policy rules were changed by somebody, repaired", differences=count)

    async def _commit(self) -> None:
        """Bring the kernel up to date; the caller has the turn. Raises NetworkError, OSError."""
        await self._take_news()
        if self._compiler.has_policies and not self._needed.is_set():
            self._needed.set()
            await self._pods.synced()
            await self._namespaces.synced()
            await self._take_news()
        if not self._unsure:
            changes = self._compiler.changes()
            try:
                if not changes:
                    return
                if self.table.laid and changes.count <= INLINE:
                    return self.table.change(changes)
                if self.table.laid:
                    return await asyncio.to_thread(self.table.change, changes)
            except (BatchError, OSError) as error:
                log.warning("policy change refused, comparing with the kernel", error=str(error))
            self._unsure = True
        await asyncio.to_thread(self.table.sync, self._compiler.elements())
        self._unsure = False

    async def _take_news(self) -> None:
        news, self._news = self._news, []
        if len(news) <= INLINE:
            _do(news)
        else:
            await asyncio.to_thread(_do, news)

    async def _ask(self, key: Key) -> _Answer | None:
        """Return the policies of a pod's namespace and, where there is any, the pod; None when the API doesn't say."""
        try:
            async with asyncio.timeout(PATIENCE):
                page = await self._client.list(NETWORK_POLICIES, key.namespace)
                if not page.items:
                    return _Answer([], None)
                with suppress(NotFound):
                    return _Answer(list(page.items), await self._client.get(PODS, key.name, key.namespace))
                return _Answer(list(page.items), None)
        except (ApiError, OSError, TimeoutError) as error:
            log.warning("policies of a new pod taken from what is known", pod=str(key), error=str(error))
            return None

    def _take_answer(self, answer: _Answer | None) -> None:
        until = time.monotonic() + AHEAD
        for policy in answer.policies if answer else ():
            key = key_of(policy)
            known = self._policies.get(key.name, key.namespace)
            if known is None or _version(known) < _version(policy):
                self._taken["policy", key] = _Taken(_version(policy), until)
                self._compiler.set_policy(key, policy_of(policy))
        if answer and answer.pod:
            key = key_of(answer.pod)
            known = self._pods.get(key.name, key.namespace)
            if known is None or _version(known) < _version(answer.pod):
                self._taken["pod", key] = _Taken(_version(answer.pod), until)
                self._compiler.set_pod(key, pod_of(answer.pod))

    def _catch_up(self) -> None:
        """Go back to what the watches say where they have had time to tell of what was taken ahead of them."""
        now = time.monotonic()
        for kind, key in [name for name, taken in self._taken.items() if taken.until < now]:
            del self._taken[kind, key]
            if kind == "policy":
                self._policy_news(None, self._policies.get(key.name, key.namespace), key)
            elif self._needed.is_set():
                self._pod_news(None, self._pods.get(key.name, key.namespace), key)

    def _is_late(self, kind: str, key: Key, obj: Object | None) -> bool:
        """Whether news are older than what was taken from the API directly."""
        taken = self._taken.get((kind, key))
        if taken is None:
            return False
        if obj is not None and _version(obj) >= taken.version:
            del self._taken[kind, key]
            return False
        return obj is not None

    def _policy_news(self, old: Object | None, new: Object | None, key: Key | None = None) -> None:
        key = key or _key(old, new)
        if not self._is_late("policy", key, new):
            self._compiler.set_policy(key, policy_of(new) if new else None)

    def _pod_news(self, old: Object | None, new: Object | None, key: Key | None = None) -> None:
        key = key or _key(old, new)
        if not self._is_late("pod", key, new):
            self._compiler.set_pod(key, new["pod"] if new else None)

    def _namespace_news(self, old: Object | None, new: Object | None) -> None:
        labels = (new["metadata"].get("labels") or {}) if new else None
        self._compiler.set_namespace(_key(old, new).name, labels)


def _do(news: Iterable[Callable[[], None]]) -> None:
    for one in news:
        one()


def _key(old: Object | None, new: Object | None) -> Key:
    return key_of(new or old or {})


def _version(obj: Object) -> int:
    return int(obj["metadata"]["resourceVersion"])


def _trimmed(obj: Object) -> Object:
    """Return what is kept of a pod: there may be ten thousand."""
    metadata = {name: obj["metadata"][name] for name in ("namespace", "name", "resourceVersion")}
    return {"metadata": metadata, "pod": pod_of(obj)}


def _local(attachment: Attachment) -> tuple[Key | None, Local]:
    """Return the pod that an attachment is for; None where its runtime did not name one: no policy can mean it."""
    namespace, _, name = attachment.pod.partition("/")
    return (Key(namespace, name) if name else None), Local(attachment.pod_uid, attachment.addresses)
