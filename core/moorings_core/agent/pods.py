"""The pods of this node: one piece of work per pod, done again whenever the API, the runtime or a probe says something new.

Looking at a pod: desired from the informer, actual from the runtime, `plan` decides, operations are applied, the status is written
when it changed. A pod that is gone from the API, or was deleted, is ended and cleaned up; its uid never runs again.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import SubprocessError

from moorings_core.client.events import EventRecorder
from moorings_core.client.informer import Informer
from moorings_core.client.keyed import KeyedWorker
from moorings_core.client.resources import PODS, SERVICES
from moorings_core.log import get_logger
from moorings_core.ports.client import Client
from moorings_core.ports.errors import ApiError, MooringsError, NotFound
from moorings_core.ports.objects import Object
from moorings_core.ports.runtime import Runtime, RuntimeFailure

from .cgroups import PodCgroups
from .containers import container_named
from .handlers import Handlers
from .images import Images
from .last_words import read_last_words
from .local_storage import LocalStorage
from .observed import Observed
from .observer import Observer
from .plan import Backoff, CreateSandbox, KillContainer, Operation, StartContainer, deadline_left, finished_phase, plan
from .pod_state import PodSettings, PodState
from .probes import ContainerProbes
from .resize import with_granted
from .resizer import Resizer
from .starter import Look, Prepared, Starter
from .status import OWN_CONDITIONS, View, pod_status
from .status_writer import StatusWriter
from .termination import Terminator
from .volumes.manager import VolumeManager
from .volumes.sources import Sources

log = get_logger(__name__)
RELIST_SECONDS, LEFTOVER_SECONDS = 1.0, 10.0
VOLUME_RETRY_SECONDS = 0.5
PREPARED_SECONDS = 1.0
"""How long what was fetched for a pod's sandbox is good for its containers."""
EVICTION_SECONDS = 1.0
"""What a pod gets to end that the node ends for what it takes, as upstream gives it."""
AGAIN = 0.0
"""A step went well: look at the pod again at once."""
PODS_AT_ONCE = 256
"""More than a node has pods, ending ones included: a slow end never keeps others from starting."""
LIVE_VOLUMES = ("configMap", "secret", "downwardAPI", "projected")


@dataclass(frozen=True, slots=True)
class Run:
    """A run of a container as clients ask for it."""

    container: str
    log: Path


class PodManager:
    """Runs pods."""

    def __init__(self, client: Client, runtime: Runtime, volumes: VolumeManager, settings: PodSettings, events: EventRecorder) -> None:
        self._client, self._runtime, self._volumes, self._settings, self._events = client, runtime, volumes, settings, events
        self.pods = Informer(client, PODS, fields=f"spec.nodeName={settings.node}")
        self._services = Informer(client, SERVICES)
        self._sources, self._handlers, self._cgroups = Sources(client), Handlers(runtime), PodCgroups(settings.cgroup)
        self._observer = Observer(runtime)
        images = Images(runtime, settings.timing)
        self._starter = Starter(runtime, self._handlers, images, volumes, self._cgroups, self._services, settings, events)
        self._terminator = Terminator(runtime, self._handlers, volumes, self._cgroups, settings, events, self._address)
        self._resizer = Resizer(runtime, self._terminator, settings, events, self._others)
        self._by_uid: dict[str, Object] = {}
        self._storage = LocalStorage(runtime, lambda: list(self._by_uid.values()), settings.root, settings.log_directory)
        self._statuses = StatusWriter(client, self._by_uid.get)
        self._states: dict[str, PodState] = defaultdict(PodState)
        self._prepared: dict[str, Prepared] = {}
        self._finished: set[str] = set()
        self._work: KeyedWorker[str] = KeyedWorker("pod", self._sync, at_once=PODS_AT_ONCE)
        self._name = ""

    async def run(self) -> None:
        """Run pods until cancelled."""
        self._name, _ = await self._runtime.version()
        self.pods.on_change(self._pod_changed)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.pods.run())
            tasks.create_task(self._services.run())
            await self.pods.synced()
            await self._services.synced()
            tasks.create_task(self._statuses.run())
            tasks.create_task(self._work.run())
            tasks.create_task(self._watch_runtime())
            tasks.create_task(self._watch_leftovers())
            tasks.create_task(self._storage.run(self._settings.timing.storage_look, self._evict))

    def find(self, namespace: str, name: str) -> Object:
        """Return a pod of this node. Raises NotFound."""
        found = self.pods.get(name, namespace)
        if found is None:
            raise NotFound(f'pod "{name}" not found on this node')
        return found

    async def container_id(self, pod: Object, container: str) -> str:
        """Return the id of a container's latest run. Raises NotFound."""
        run = (await self._observer.observe(pod["metadata"]["uid"])).latest(container)
        if run is None:
            raise NotFound(f'container "{container}" in pod "{pod["metadata"]["name"]}" is not available')
        return run.state.id

    async def sandbox_id(self, pod: Object) -> str:
        """Return the id of a pod's living sandbox. Raises NotFound."""
        observed = await self._observer.observe(pod["metadata"]["uid"])
        if observed.sandbox is None:
            raise NotFound(f'pod "{pod["metadata"]["name"]}" is not running')
        return observed.sandbox.id

    async def run_of(self, pod: Object, container: str, previous: bool) -> Run:
        """Return a container's latest run, or the one before. Raises NotFound."""
        observed = await self._observer.observe(pod["metadata"]["uid"])
        run = observed.previous(container) if previous else observed.latest(container) or observed.previous(container)
        if run is None:
            what = "previous terminated container" if previous else "container"
            raise NotFound(f'{what} "{container}" in pod "{pod["metadata"]["name"]}" not found')
        return Run(run.state.id, self._settings.log_directory(pod) / f"{container}/{run.state.attempt}.log")

    async def is_running(self, run: Run) -> bool:
        """Whether a run goes on."""
        try:
            return (await self._runtime.inspect(run.container)).state == "running"
        except RuntimeFailure:
            return False

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        pod = new or old
        assert pod is not None
        uid = pod["metadata"]["uid"]
        if new is None:
            self._by_uid.pop(uid, None)
            self._terminator.shorten(uid, 0)
        else:
            self._by_uid[uid] = new
            if old is not None and _only_own_status(old, new):
                return
            if "deletionTimestamp" in new["metadata"]:
                self._terminator.shorten(uid, _grace(new))
        self._work.add(uid)

    async def _watch_runtime(self) -> None:
        while True:
            try:
                changed = await self._observer.relist()
            except RuntimeFailure as error:
                log.warning("runtime does not answer", error=str(error))
                changed = set()
            for uid in changed | (self._observer.uids - self._by_uid.keys()):
                self._work.add(uid)
            await asyncio.sleep(RELIST_SECONDS)

    def _evict(self, uid: str, message: str) -> bool:
        """Fail a pod for what it takes of the node; return whether that is new. One that is ending already is left alone."""
        pod = self._by_uid.get(uid)
        if pod is None or "deletionTimestamp" in pod["metadata"] or self._states[uid].verdict is not None:
            return False
        self._states[uid].verdict, self._states[uid].grace = ("Evicted", message), EVICTION_SECONDS
        self._events.event(pod, "Warning", "Evicted", message)
        self._work.add(uid)
        return True

    async def _watch_leftovers(self) -> None:
        """Have whatever is left here of pods that the API does not know cleaned up."""
        while True:
            left = await asyncio.to_thread(lambda: set(self._volumes.leftovers()) | self._cgroups.leftovers())
            for uid in left - self._by_uid.keys():
                self._work.add(uid)
            try:
                await self._runtime.reap()
            except (RuntimeFailure, OSError, SubprocessError) as error:
                log.warning("orphans not ended", error=str(error))
            await asyncio.sleep(LEFTOVER_SECONDS)

    async def _sync(self, uid: str) -> float | None:
        pod = self._by_uid.get(uid)
        if pod is None:
            await self._terminator.end(uid, keep=False)
            self._forget(uid)
            return None
        if uid in self._finished:
            return await self._confirm_gone(pod)
        observed = await self._observer.observe(uid)
        if "deletionTimestamp" in pod["metadata"]:
            await self._terminate(pod, observed)
            return None
        if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            await self._wind_down(pod, observed)
            return None
        return await self._advance(pod, observed)

    async def _advance(self, pod: Object, observed: Observed) -> float | None:
        """Do the next steps of a pod that is to run; return when to look again."""
        uid, timing = pod["metadata"]["uid"], self._settings.timing
        state = self._states[uid]
        pod = self._resizer.grant(pod, state)
        self._watch_probes(pod, observed, state)
        await self._read_last_words(pod, observed)
        left = deadline_left(pod, time.time())
        if left is not None and left <= 0:
            state.verdict = ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
        if state.verdict or finished_phase(pod, observed):
            await self._wind_down(pod, observed)
            return None
        resized = await self._resizer.apply(pod, observed, state)
        backoff = Backoff(timing.crash_backoff, timing.crash_backoff_max)
        planned = plan(pod, observed, state.views, state.memory, backoff, time.time())
        if not planned.operations:
            self._want_status(pod, observed)
            await self._refresh(pod, state)
            await self._starter.tidy(observed)
            return _soonest(resized, planned.after, left, timing.volume_refresh if self._has_live_volumes(pod) else None)
        if observed.sandbox is not None:
            self._want_status(pod, observed)
        retry = await self._apply(pod, observed, planned.operations)
        if retry is not None:
            self._want_status(pod, await self._observer.observe(uid))
        return AGAIN if retry is None else _soonest(retry, resized, planned.after, left)

    async def _apply(self, pod: Object, observed: Observed, operations: Sequence[Operation]) -> float | None:
        """Apply operations; return the seconds after which to try again what failed, None when all went well."""
        try:
            prepared = await self._prepare(pod)
        except (MooringsError, OSError, TimeoutError) as error:
            return self._cannot_mount(pod, error)
        retries: list[float | None] = []
        for operation in operations:
            if isinstance(operation, CreateSandbox):
                retries.append(await self._starter.sandbox(pod, observed, operation.attempt))
            elif isinstance(operation, KillContainer):
                await self._kill(pod, observed, operation)
        starts = [o for o in operations if isinstance(o, StartContainer)]
        look = Look({**pod, "status": self._status(pod, observed)}, observed, self._states[pod["metadata"]["uid"]])
        retries += await asyncio.gather(*(self._starter.container(look, o, prepared) for o in starts))
        return min((r for r in retries if r is not None), default=None)

    async def _kill(self, pod: Object, observed: Observed, operation: KillContainer) -> None:
        self._events.event(pod, "Normal", "Killing", operation.reason)
        run = next((r for r in observed.running if r.state.id == operation.id), None)
        if run is not None:
            await self._terminator.stop_one(pod, run, operation.grace)

    async def _prepare(self, pod: Object) -> Prepared:
        """Fetch what the pod refers to and make its volumes. Raises MooringsError, OSError, TimeoutError."""
        uid = pod["metadata"]["uid"]
        known = self._prepared.pop(uid, None)
        if known is not None and time.monotonic() - known.at < PREPARED_SECONDS:
            return known
        snapshot = await self._sources.fetch(pod)
        paths = await self._volumes.setup(pod, snapshot, self._settings.allocatable)
        self._states[uid].mount_failures = 0
        self._prepared[uid] = found = Prepared(snapshot, paths, time.monotonic())
        return found

    def _cannot_mount(self, pod: Object, error: BaseException) -> float:
        """Tell why, and return when to try again: later each time."""
        text = str(error) or type(error).__name__
        self._events.event(pod, "Warning", "FailedMount", f"Unable to attach or mount volumes: {text}")
        log.warning("volumes not ready", pod=pod["metadata"]["name"], error=text)
        state = self._states[pod["metadata"]["uid"]]
        state.mount_failures += 1
        return min(VOLUME_RETRY_SECONDS * 2.0 ** (state.mount_failures - 1), self._settings.timing.volume_refresh)

    def _watch_probes(self, pod: Object, observed: Observed, state: PodState) -> None:
        """Have one prober per run that lives, none for any other."""
        running = {run.state.id: run for run in observed.running}
        for container_id in [i for i in state.probes if i not in running]:
            state.probes.pop(container_id).stop()
        for container_id, run in running.items():
            container = container_named(pod, run.state.name)
            if container_id in state.probes or container is None:
                continue
            if any(container.get(k) for k in ("startupProbe", "readinessProbe", "livenessProbe")):
                address = self._starter.address(pod, observed)
                state.probes[container_id] = self._prober(pod, container, container_id, address)

    def _prober(self, pod: Object, container: Object, container_id: str, address: str) -> ContainerProbes:
        uid = pod["metadata"]["uid"]

        async def check(probe: Object) -> tuple[bool, str]:
            return await self._handlers.run(probe, container, container_id, address)

        def report(kind: str, success: bool, text: str) -> None:
            word = kind.removesuffix("Probe").capitalize()
            self._events.event(pod, "Warning", "Unhealthy", f"{word} probe failed: {text}")

        return ContainerProbes(container, check, lambda: self._work.add(uid), report)

    async def _read_last_words(self, pod: Object, observed: Observed) -> None:
        uid = pod["metadata"]["uid"]
        files = self._volumes.pod_directory(uid) / "containers"
        await read_last_words(pod, observed, files, self._settings.log_directory(pod), self._states[uid].messages)

    def _status(self, pod: Object, observed: Observed, *, terminated: bool = False) -> Object:
        state = self._states[pod["metadata"]["uid"]]
        view = View(
            observed,
            state.views,
            dict(state.waiting),
            state.memory,
            self._settings.addresses,
            self._name,
            time.time(),
            terminated,
            dict(state.messages),
            state.verdict,
            state.resizing,
        )
        return pod_status(self._statuses.base(pod), view)

    def _want_status(self, pod: Object, observed: Observed, *, terminated: bool = False) -> None:
        self._statuses.want(pod, self._status(pod, observed, terminated=terminated))

    async def _refresh(self, pod: Object, state: PodState) -> None:
        age = self._settings.timing.volume_refresh * 0.9
        if not self._has_live_volumes(pod) or time.monotonic() - state.refreshed < age:
            return
        state.refreshed = time.monotonic()
        try:
            await self._volumes.refresh(pod, await self._sources.fetch(pod, age), self._settings.allocatable)
        except (MooringsError, OSError, TimeoutError) as error:
            log.warning("volumes not refreshed", pod=pod["metadata"]["name"], error=str(error))

    def _has_live_volumes(self, pod: Object) -> bool:
        live = any(kind in volume for volume in pod["spec"].get("volumes") or () for kind in LIVE_VOLUMES)
        return live or self._volumes.is_republished(pod)

    async def _wind_down(self, pod: Object, observed: Observed) -> None:
        """Stop what still runs of a pod that has come to its end; its containers stay for their logs until it is deleted."""
        uid = pod["metadata"]["uid"]
        self._states[uid].stop_probes()
        if observed.running:
            given = float(pod["spec"].get("terminationGracePeriodSeconds", 30))
            grace = self._states[uid].grace
            await self._terminator.stop_all(pod, observed, given if grace is None else grace)
            observed = await self._observer.observe(uid)
            await self._read_last_words(pod, observed)
        self._want_status(pod, observed, terminated=True)
        await self._statuses.flush(pod)
        await self._terminator.end(uid, keep=True)
        self._retry_resizes()

    def _others(self, uid: str) -> Iterator[Object]:
        """Yield the other pods of this node that have not ended, each as it is to run."""
        for other, pod in self._by_uid.items():
            if other != uid and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
                state = self._states.get(other)
                granted = state.resizing.granted if state else None
                yield pod if granted is None else with_granted(pod, granted)

    def _retry_resizes(self) -> None:
        """There may be room now for what pods ask for."""
        for uid, state in self._states.items():
            if state.resizing.pending:
                self._work.add(uid)

    async def _terminate(self, pod: Object, observed: Observed) -> None:
        """End a deleted pod: its last status, then its clean-up, then its object."""
        uid = pod["metadata"]["uid"]
        self._states[uid].stop_probes()
        await self._terminator.stop_all(pod, observed, _grace(pod))
        observed = await self._observer.observe(uid)
        await self._read_last_words(pod, observed)
        self._want_status(pod, observed, terminated=True)
        await self._statuses.flush(pod)
        await self._terminator.end(uid, keep=False)
        self._finished.add(uid)
        await self._delete(pod)

    async def _confirm_gone(self, pod: Object) -> float | None:
        """A pod that has ended stays ended; its object goes when the API is told."""
        await self._delete(pod)
        return None

    async def _delete(self, pod: Object) -> None:
        """Take the object of an ended pod out of the API. Raises ApiError; it may stay, for its finalizers."""
        metadata = pod["metadata"]
        try:
            await self._client.delete(PODS, metadata["name"], metadata["namespace"], uid=metadata["uid"], grace=0)
        except NotFound:
            return
        except ApiError as error:
            if error.code != 409:
                raise

    def _forget(self, uid: str) -> None:
        """Drop everything that was kept of a pod that is gone everywhere."""
        if uid in self._states:
            self._states.pop(uid).stop_probes()
        self._prepared.pop(uid, None)
        self._sources.forget(uid)
        self._statuses.forget(uid)
        self._observer.forget(uid)
        self._finished.discard(uid)
        self._retry_resizes()

    async def _address(self, pod: Object) -> str:
        return self._starter.address(pod, await self._observer.observe(pod["metadata"]["uid"]))


def _grace(pod: Object) -> float:
    return float(pod["metadata"].get("deletionGracePeriodSeconds") or 0)


def _soonest(*delays: float | None) -> float | None:
    return min((d for d in delays if d is not None), default=None)


def _only_own_status(old: Object, new: Object) -> bool:
    """Whether only what the agent itself writes has changed."""
    keys = ("deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "finalizers")
    same = old["spec"] == new["spec"] and all(old["metadata"].get(k) == new["metadata"].get(k) for k in keys)
    return same and _foreign(old) == _foreign(new)


def _foreign(pod: Object) -> object:
    """Return what others write into a status: gates' conditions, and the verdict of who ends a pod from outside."""
    status = pod.get("status") or {}
    ended = status.get("phase") in ("Succeeded", "Failed")
    return ended, {c["type"]: c["status"] for c in status.get("conditions") or () if c["type"] not in OWN_CONDITIONS}
