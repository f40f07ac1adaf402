"""The pods of this node: one piece of work per pod, done again whenever the API, the runtime or a probe says something new.

Looking at a pod: desired from the informer, actual from the runtime, `plan` decides, operations are applied, the status is written
when it changed. A pod that is gone from the API, or was deleted, is ended and cleaned up; its uid never runs again.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from moorings_core.client.events import EventRecorder
from moorings_core.client.informer import Informer
from moorings_core.client.keyed import KeyedWorker
from moorings_core.client.resources import PODS, SERVICES
from moorings_core.log import get_logger
from moorings_core.ports.client import Client
from moorings_core.ports.cluster import Timing
from moorings_core.ports.errors import ApiError, MooringsError, NotFound
from moorings_core.ports.objects import Object
from moorings_core.ports.runtime import ContainerState, ImageInfo, MountSpec, Runtime, RuntimeFailure, SandboxState

from .cgroups import PodCgroups
from .environment import MissingSource, environment, service_variables
from .handlers import Handlers
from .images import ImageNotReady, Images
from .observed import UID, Observed, ObservedContainer
from .plan import Backoff, CreateSandbox, KillContainer, Memory, Operation, ProbeView, StartContainer, finished_phase, plan
from .probes import ContainerProbes
from .resolv import ClusterDns, Dns, hosts_file, pod_dns
from .spec import container_spec, sandbox_spec
from .status import View, pod_status
from .volumes.manager import VolumeManager, container_mounts
from .volumes.sources import Snapshot, Sources

log = get_logger(__name__)
RELIST_SECONDS = 1.0
RETRY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class PodSettings:
    """What is the same for all pods of a node."""

    node: str
    addresses: tuple[str, ...]
    root: Path
    dns: ClusterDns
    node_dns: Dns
    timing: Timing
    allocatable: Mapping[str, str]


@dataclass(slots=True)
class PodState:
    """What the agent keeps of a pod between looks; everything that matters can be found out again."""

    memory: Memory = field(default_factory=Memory)
    waiting: dict[str, tuple[str, str]] = field(default_factory=dict)
    probes: dict[str, ContainerProbes] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    details: dict[str, ObservedContainer] = field(default_factory=dict)
    addresses: dict[str, tuple[str, ...]] = field(default_factory=dict)
    last: Object | None = None
    variables_ready: bool = False
    refreshed: float = 0


class PodManager:
    """Runs pods."""

    def __init__(self, client: Client, runtime: Runtime, volumes: VolumeManager, settings: PodSettings, events: EventRecorder) -> None:
        self._client, self._runtime, self._volumes, self._settings, self._events = client, runtime, volumes, settings, events
        self.pods = Informer(client, PODS, fields=f"spec.nodeName={settings.node}")
        self._services = Informer(client, SERVICES)
        self._sources, self._handlers, self._images = Sources(client), Handlers(runtime), Images(runtime, settings.timing)
        self._cgroups = PodCgroups()
        self._states: dict[str, PodState] = defaultdict(PodState)
        self._work: KeyedWorker[str] = KeyedWorker("pod", self._sync, at_once=64)
        self._sandboxes: dict[str, list[SandboxState]] = {}
        self._containers: dict[str, list[ContainerState]] = {}
        self._finished: set[str] = set()
        self._name = "containerd"
        self._by_uid: dict[str, Object] = {}

    async def run(self) -> None:
        """Run pods until cancelled."""
        self._name, _ = await self._runtime.version()
        self.pods.on_change(self._pod_changed)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.pods.run())
            tasks.create_task(self._services.run())
            await self.pods.synced()
            await self._services.synced()
            await self._relist()
            tasks.create_task(self._work.run())
            tasks.create_task(self._watch_runtime())

    def find(self, namespace: str, name: str) -> Object:
        """Return a pod of this node. Raises NotFound."""
        found = self.pods.get(name, namespace)
        if found is None:
            raise NotFound(f'pod "{name}" not found on this node')
        return found

    async def container_id(self, pod: Object, container: str) -> str:
        """Return the id of a container's latest run. Raises NotFound."""
        observed = await self._observe(pod["metadata"]["uid"])
        run = observed.latest(container)
        if run is None:
            raise NotFound(f'container "{container}" in pod "{pod["metadata"]["name"]}" is not available')
        return run.state.id

    async def sandbox_id(self, pod: Object) -> str:
        """Return the id of a pod's living sandbox. Raises NotFound."""
        observed = await self._observe(pod["metadata"]["uid"])
        if observed.sandbox is None:
            raise NotFound(f'pod "{pod["metadata"]["name"]}" is not running')
        return observed.sandbox.id

    async def log_file(self, pod: Object, container: str, previous: bool) -> Path:
        """Return the log of a container's latest run, or of the one before. Raises NotFound."""
        observed = await self._observe(pod["metadata"]["uid"])
        run = observed.previous(container) if previous else observed.latest(container) or observed.previous(container)
        if run is None:
            what = "previous terminated container" if previous else "container"
            raise NotFound(f'{what} "{container}" in pod "{pod["metadata"]["name"]}" not found')
        return self._log_directory(pod) / f"{container}/{run.state.attempt}.log"

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        pod = new or old
        assert pod is not None
        uid = pod["metadata"]["uid"]
        if new is not None:
            self._by_uid[uid] = new
            if old is not None and _only_status(old, new):
                return
        else:
            self._by_uid.pop(uid, None)
        self._work.add(uid)

    async def _watch_runtime(self) -> None:
        while True:
            await asyncio.sleep(RELIST_SECONDS)
            try:
                await self._relist()
            except RuntimeFailure as error:
                log.warning("runtime does not answer", error=str(error))

    async def _relist(self) -> None:
        """Look at all sandboxes and containers; whatever changed concerns its pod."""
        sandboxes, containers = await asyncio.gather(self._runtime.sandboxes(), self._runtime.containers())
        fresh_s: dict[str, list[SandboxState]] = defaultdict(list)
        fresh_c: dict[str, list[ContainerState]] = defaultdict(list)
        for sandbox in sandboxes:
            fresh_s[sandbox.uid].append(sandbox)
        for container in containers:
            fresh_c[container.labels.get(UID, "")].append(container)
        known = self._sandboxes.keys() | fresh_s.keys() | set(self._volumes.leftovers())
        changed = [
            uid
            for uid in known
            if _marks(self._sandboxes.get(uid), self._containers.get(uid)) != _marks(fresh_s.get(uid), fresh_c.get(uid))
            or (uid not in self._by_uid and uid not in self._finished)
        ]
        self._sandboxes, self._containers = dict(fresh_s), dict(fresh_c)
        for uid in changed:
            self._work.add(uid)

    async def _observe(self, uid: str) -> Observed:
        """Return what the runtime has of a pod now."""
        sandboxes, containers = await asyncio.gather(self._runtime.sandboxes(), self._runtime.containers())
        own = sorted((s for s in sandboxes if s.uid == uid), key=lambda s: -s.attempt)
        mine = [c for c in containers if c.labels.get(UID) == uid]
        self._sandboxes[uid], self._containers[uid] = list(own), mine
        state = self._states[uid]
        runs: dict[str, list[ObservedContainer]] = defaultdict(list)
        for container in sorted(mine, key=lambda c: -c.attempt):
            runs[container.name].append(await self._detail(state, container))
        living = next((s for s in own if s.ready), None)
        addresses: tuple[str, ...] = ()
        if living is not None:
            if living.id not in state.addresses:
                state.addresses[living.id] = await self._runtime.sandbox_addresses(living.id)
            addresses = state.addresses[living.id]
        return Observed(own, runs, addresses)

    async def _detail(self, state: PodState, container: ContainerState) -> ObservedContainer:
        """Return a closer look; what has ended does not change any more."""
        known = state.details.get(container.id)
        if known is not None and known.state.state == container.state == "exited":
            return known
        found = ObservedContainer(container, await self._runtime.inspect(container.id))
        state.details[container.id] = found
        return found

    async def _sync(self, uid: str) -> float | None:
        pod = self._by_uid.get(uid)
        if uid in self._finished:
            return await self._confirm_gone(uid, pod)
        if pod is None:
            await self._end(uid, None, 0)
            return None
        observed = await self._observe(uid)
        if "deletionTimestamp" in pod["metadata"]:
            await self._terminate(pod, observed)
            return None
        if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            await self._end(uid, pod, 0)
            return None
        return await self._advance(pod, observed)

    async def _confirm_gone(self, uid: str, pod: Object | None) -> float | None:
        """A pod that has ended stays ended; its object goes when the API is told."""
        if pod is not None and "deletionTimestamp" in pod["metadata"]:
            await self._delete(pod)
            return RETRY_SECONDS
        if pod is None and not self._sandboxes.get(uid):
            self._states.pop(uid, None)
            self._finished.discard(uid)
        return None

    async def _advance(self, pod: Object, observed: Observed) -> float | None:
        """Do the next steps of a pod that is to run."""
        uid, state, timing = pod["metadata"]["uid"], self._states[pod["metadata"]["uid"]], self._settings.timing
        self._watch_probes(pod, observed, state)
        if finished_phase(pod, observed) and not observed.running:
            await self._read_messages(pod, observed, state)
            await self._write_status(pod, observed)
            await self._end(uid, pod, 0)
            return None
        backoff = Backoff(timing.crash_backoff, timing.crash_backoff_max)
        views = {run_id: probes.view for run_id, probes in state.probes.items()}
        planned = plan(pod, observed, views, state.memory, backoff, time.time())
        await self._read_messages(pod, observed, state)
        if planned.operations:
            delay = await self._apply_all(pod, observed, planned.operations)
            observed = await self._observe(uid)
            self._watch_probes(pod, observed, state)
            await self._write_status(pod, observed)
            return delay if delay is not None else self._next_look(pod, planned.after)
        await self._write_status(pod, observed)
        await self._refresh(pod, state)
        return self._next_look(pod, planned.after)

    def _next_look(self, pod: Object, after: float | None) -> float | None:
        live = any(k in v for v in pod["spec"].get("volumes") or () for k in ("configMap", "secret", "downwardAPI", "projected"))
        times = [t for t in (after, self._settings.timing.volume_refresh if live else None) if t is not None]
        return min(times, default=None)

    async def _apply_all(self, pod: Object, observed: Observed, operations: Sequence[Operation]) -> float | None:
        """Apply operations; return the seconds after which to try again what failed, None when all went well."""
        state = self._states[pod["metadata"]["uid"]]
        try:
            snapshot = await self._sources.fetch(pod)
            paths = await self._volumes.setup(pod, snapshot, self._settings.allocatable)
        except (MooringsError, OSError, TimeoutError) as error:
            self._cannot_mount(pod, error)
            return RETRY_SECONDS / 4 if self._settings.timing.crash_backoff <= 1 else RETRY_SECONDS
        results = []
        for operation in operations:
            match operation:
                case CreateSandbox():
                    results.append(await self._create_sandbox(pod, operation.attempt))
                case KillContainer():
                    self._events.event(pod, "Normal", "Killing", operation.reason)
                    await self._stop_container(pod, operation.id, operation.name)
                    results.append(0.0)
        starts = [o for o in operations if isinstance(o, StartContainer)]
        results += await asyncio.gather(*(self._start(pod, observed, state, o, snapshot, paths) for o in starts))
        if any(isinstance(o, CreateSandbox) for o in operations) and not any(results):
            return 0.0
        return min((r for r in results if r is not None), default=None)

    def _cannot_mount(self, pod: Object, error: BaseException) -> None:
        text = str(error) or type(error).__name__
        reason = "CreateContainerConfigError" if isinstance(error, MissingSource) else "FailedMount"
        self._events.event(pod, "Warning", "FailedMount", f"Unable to attach or mount volumes: {text}")
        log.warning("volumes not ready", pod=pod["metadata"]["name"], reason=reason, error=text)

    async def _create_sandbox(self, pod: Object, attempt: int) -> float | None:
        settings, spec = self._settings, pod["spec"]
        if spec.get("hostUsers") is False:
            text = "this node's container runtime cannot give pods user namespaces (hostUsers: false)"
            self._events.event(pod, "Warning", "FailedCreatePodSandBox", text)
            return RETRY_SECONDS * 5
        directory = self._log_directory(pod)
        directory.mkdir(parents=True, exist_ok=True)
        parent = self._cgroups.parent(pod)
        dns = pod_dns(pod, settings.dns, settings.node_dns)
        wanted = sandbox_spec(pod, attempt, dns, str(directory), parent)
        try:
            await self._runtime.run_sandbox(wanted)
        except RuntimeFailure as error:
            text = f"Failed to create pod sandbox: {error}"
            self._events.event(pod, "Warning", "FailedCreatePodSandBox", text)
            return RETRY_SECONDS / 2
        return None

    async def _start(
        self,
        pod: Object,
        observed: Observed,
        state: PodState,
        operation: StartContainer,
        snapshot: Snapshot,
        paths: Mapping[str, str],
    ) -> float | None:
        """Make and start one run of a container; return when to try again, None when it runs."""
        name = operation.name
        container = next(c for f in ("containers", "initContainers") for c in pod["spec"].get(f, ()) if c["name"] == name)
        try:
            image = await self._images.ensure(container, lambda kind, reason, text: self._events.event(pod, kind, reason, text))
            container_id = await self._create(pod, observed, container, operation.attempt, image, snapshot, paths)
        except ImageNotReady as error:
            state.waiting[name] = (error.reason, str(error))
            return error.after
        except (MissingSource, MooringsError, OSError) as error:
            reason = "CreateContainerError" if isinstance(error, RuntimeFailure) else "CreateContainerConfigError"
            state.waiting[name] = (reason, str(error))
            self._events.event(pod, "Warning", "Failed", f"Error: {error}")
            return RETRY_SECONDS
        return await self._start_created(pod, state, container, container_id)

    async def _start_created(self, pod: Object, state: PodState, container: Object, container_id: str) -> float | None:
        name = container["name"]
        self._events.event(pod, "Normal", "Created", f"Container created: {name}")
        try:
            await self._runtime.start_container(container_id)
        except RuntimeFailure as error:
            state.waiting[name] = ("RunContainerError", str(error))
            self._events.event(pod, "Warning", "Failed", f"Error: {error}")
            return RETRY_SECONDS
        state.waiting.pop(name, None)
        self._events.event(pod, "Normal", "Started", f"Container started: {name}")
        hook = (container.get("lifecycle") or {}).get("postStart")
        if hook:
            await self._post_start(pod, container, container_id, hook)
        return None

    async def _post_start(self, pod: Object, container: Object, container_id: str, hook: Object) -> None:
        address = await self._address(pod)
        try:
            success, text = await self._handlers.run(hook, container, container_id, address)
        except (MooringsError, OSError, TimeoutError) as error:
            success, text = False, str(error)
        if not success:
            self._events.event(pod, "Warning", "FailedPostStartHook", f"PostStartHook failed: {text}")
            await self._stop_container(pod, container_id, container["name"])

    async def _create(
        self,
        pod: Object,
        observed: Observed,
        container: Object,
        attempt: int,
        image: ImageInfo,
        snapshot: Snapshot,
        paths: Mapping[str, str],
    ) -> str:
        settings, sandbox = self._settings, observed.sandbox
        assert sandbox is not None
        shown = {**pod, "status": pod_status(pod, self._view(pod, observed))}
        links = self._service_links(pod)
        variables = environment(container, shown, snapshot.text, links, settings.allocatable)
        mounts, devices = container_mounts(container, paths, variables)
        mounts += self._own_files(pod, container, attempt, observed.addresses)
        wanted = container_spec(pod, container, attempt, image, variables, mounts, devices)
        dns = pod_dns(pod, settings.dns, settings.node_dns)
        shell = sandbox_spec(pod, sandbox.attempt, dns, str(self._log_directory(pod)), self._cgroups.parent(pod))
        (self._log_directory(pod) / container["name"]).mkdir(parents=True, exist_ok=True)
        return await self._runtime.create_container(sandbox.id, wanted, shell)

    def _own_files(self, pod: Object, container: Object, attempt: int, addresses: Sequence[str]) -> list[MountSpec]:
        """Return the mounts of files that the agent itself writes: /etc/hosts and the termination message."""
        directory = self._volumes.pod_directory(pod["metadata"]["uid"])
        directory.mkdir(parents=True, exist_ok=True)
        found = []
        taken = {m["mountPath"] for m in container.get("volumeMounts") or ()}
        if not pod["spec"].get("hostNetwork") and "/etc/hosts" not in taken:
            hosts = directory / "etc-hosts"
            hosts.write_text(hosts_file(pod, addresses, self._settings.dns.domain))
            found.append(MountSpec(str(hosts), "/etc/hosts"))
        message = directory / "containers" / container["name"] / str(attempt)
        message.parent.mkdir(parents=True, exist_ok=True)
        message.touch()
        message.chmod(0o666)
        found.append(MountSpec(str(message), container.get("terminationMessagePath", "/dev/termination-log")))
        return found

    def _service_links(self, pod: Object) -> dict[str, str]:
        namespace = pod["metadata"]["namespace"]
        wanted = [s for k, s in self._services.items.items() if k.namespace == namespace]
        if not pod["spec"].get("enableServiceLinks", True):
            wanted = []
        master = self._services.get("kubernetes", "default")
        return service_variables([*([master] if master else []), *(s for s in wanted if s is not master)])

    async def _address(self, pod: Object) -> str:
        if pod["spec"].get("hostNetwork"):
            return self._settings.addresses[0]
        observed = await self._observe(pod["metadata"]["uid"])
        return observed.addresses[0] if observed.addresses else ""

    def _watch_probes(self, pod: Object, observed: Observed, state: PodState) -> None:
        """Have one prober per run that lives, none for any other."""
        uid = pod["metadata"]["uid"]
        running = {run.state.id: run for run in observed.running}
        for container_id in [i for i in state.probes if i not in running]:
            state.probes.pop(container_id).stop()
        for container_id, run in running.items():
            if container_id in state.probes:
                continue
            containers = [*pod["spec"]["containers"], *pod["spec"].get("initContainers", ())]
            container = next((c for c in containers if c["name"] == run.state.name), None)
            if container is None or not any(container.get(k) for k in ("startupProbe", "readinessProbe", "livenessProbe")):
                continue
            address = self._settings.addresses[0] if pod["spec"].get("hostNetwork") else next(iter(observed.addresses), "")
            state.probes[container_id] = self._prober(pod, container, container_id, address, uid)

    def _prober(self, pod: Object, container: Object, container_id: str, address: str, uid: str) -> ContainerProbes:
        async def check(probe: Object) -> tuple[bool, str]:
            return await self._handlers.run(probe, container, container_id, address)

        def report(kind: str, success: bool, text: str) -> None:
            word = kind.removesuffix("Probe").capitalize()
            self._events.event(pod, "Warning", "Unhealthy", f"{word} probe failed: {text}")

        return ContainerProbes(container, check, lambda: self._work.add(uid), report)

    async def _read_messages(self, pod: Object, observed: Observed, state: PodState) -> None:
        """Read what ended containers left as their last words."""
        directory = self._volumes.pod_directory(pod["metadata"]["uid"]) / "containers"
        for name, runs in observed.runs.items():
            for run in runs:
                if run.exited and run.state.id not in state.messages:
                    file = directory / name / str(run.state.attempt)
                    text = await asyncio.to_thread(_last_words, file)
                    state.messages[run.state.id] = text

    def _view(self, pod: Object, observed: Observed, *, terminated: bool = False) -> View:
        state = self._states[pod["metadata"]["uid"]]
        views: dict[str, ProbeView] = {run_id: probes.view for run_id, probes in state.probes.items()}
        return View(
            observed,
            views,
            dict(state.waiting),
            state.memory,
            self._settings.addresses,
            self._name,
            time.time(),
            terminated,
            dict(state.messages),
        )

    async def _write_status(self, pod: Object, observed: Observed, *, terminated: bool = False) -> None:
        uid, metadata = pod["metadata"]["uid"], pod["metadata"]
        state = self._states[uid]
        latest = self._by_uid.get(uid, pod)
        base = {**pod, "status": state.last or latest.get("status", {})}
        if state.last is not None:
            foreign = [c for c in latest.get("status", {}).get("conditions", ()) if c["type"] in ("PodScheduled", "DisruptionTarget")]
            own = [c for c in state.last["conditions"] if c["type"] not in ("PodScheduled", "DisruptionTarget")]
            base["status"] = {**state.last, "conditions": [*own, *foreign]}
        status = pod_status(base, self._view(pod, observed, terminated=terminated))
        if status == state.last:
            return
        patch = {"metadata": {"uid": uid}, "status": status}
        try:
            await self._client.patch(PODS, metadata["name"], metadata["namespace"], patch, type="merge", subresource="status")
            state.last = status
        except NotFound:
            return

    async def _refresh(self, pod: Object, state: PodState) -> None:
        if time.monotonic() - state.refreshed < self._settings.timing.volume_refresh * 0.9:
            return
        state.refreshed = time.monotonic()
        try:
            await self._volumes.refresh(pod, await self._sources.fetch(pod), self._settings.allocatable)
        except (MissingSource, ApiError, OSError) as error:
            log.warning("volumes not refreshed", pod=pod["metadata"]["name"], error=str(error))

    async def _terminate(self, pod: Object, observed: Observed) -> None:
        uid, grace = pod["metadata"]["uid"], float(pod["metadata"].get("deletionGracePeriodSeconds") or 0)
        state = self._states[uid]
        for probes in state.probes.values():
            probes.stop()
        if observed.running:
            self._events.event(pod, "Normal", "Killing", f"Stopping pod {pod['metadata']['name']}")
            sidecars = {c["name"] for c in pod["spec"].get("initContainers", ()) if c.get("restartPolicy") == "Always"}
            regular = [r for r in observed.running if r.state.name not in sidecars]
            deadline = time.monotonic() + grace
            await asyncio.gather(*(self._stop(pod, r, grace) for r in regular))
            for run in reversed([r for r in observed.running if r.state.name in sidecars]):
                await self._stop(pod, run, max(deadline - time.monotonic(), 0))
        observed = await self._observe(uid)
        await self._read_messages(pod, observed, state)
        await self._write_status(pod, observed, terminated=True)
        await self._end(uid, pod, 0)
        await self._delete(pod)

    async def _stop(self, pod: Object, run: ObservedContainer, grace: float) -> None:
        """Run the preStop hook, then stop a container, within the grace period."""
        started = time.monotonic()
        containers = [*pod["spec"]["containers"], *pod["spec"].get("initContainers", ())]
        container = next((c for c in containers if c["name"] == run.state.name), None)
        hook = ((container or {}).get("lifecycle") or {}).get("preStop")
        if container is not None and hook and grace > 0:
            try:
                async with asyncio.timeout(grace):
                    await self._handlers.run(hook, container, run.state.id, await self._address(pod))
            except (MooringsError, OSError, TimeoutError) as error:
                self._events.event(pod, "Warning", "FailedPreStopHook", f"PreStopHook failed: {error}")
        await self._runtime.stop_container(run.state.id, max(grace - (time.monotonic() - started), 0 if grace == 0 else 2))

    async def _stop_container(self, pod: Object, container_id: str, name: str) -> None:
        grace = float(pod["spec"].get("terminationGracePeriodSeconds", 30))
        observed = await self._observe(pod["metadata"]["uid"])
        run = next((r for r in observed.running if r.state.id == container_id), None)
        if run is not None:
            await self._stop(pod, run, grace)

    async def _end(self, uid: str, pod: Object | None, grace: float) -> None:
        """Stop and remove everything of a pod; containers of one that finished stay for their logs until it is deleted."""
        keep = pod is not None and "deletionTimestamp" not in pod["metadata"]
        for sandbox in [s for s in await self._runtime.sandboxes() if s.uid == uid]:
            if sandbox.ready or not keep:
                await self._runtime.stop_sandbox(sandbox.id)
            if not keep:
                await self._runtime.remove_sandbox(sandbox.id)
        if not keep:
            await self._volumes.teardown(uid)
            self._cgroups.remove(uid)
            self._sources.forget(uid)
            for probes in self._states[uid].probes.values():
                probes.stop()
            self._finished.add(uid)

    async def _delete(self, pod: Object) -> None:
        metadata = pod["metadata"]
        try:
            await self._client.delete(PODS, metadata["name"], metadata["namespace"], uid=metadata["uid"], grace=0)
        except NotFound:
            return
        except ApiError as error:
            if error.code != 409:
                raise

    def _log_directory(self, pod: Object) -> Path:
        metadata = pod["metadata"]
        return self._settings.root / "logs" / f"{metadata['namespace']}_{metadata['name']}_{metadata['uid']}"


def _only_status(old: Object, new: Object) -> bool:
    """Whether only what the agent itself writes has changed."""
    same = old["spec"] == new["spec"]
    keys = ("deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "finalizers")
    return same and all(old["metadata"].get(k) == new["metadata"].get(k) for k in keys)


def _marks(sandboxes: Sequence[SandboxState] | None, containers: Sequence[ContainerState] | None) -> object:
    return sorted((s.id, s.ready) for s in sandboxes or ()), sorted((c.id, c.state) for c in containers or ())


def _last_words(file: Path) -> str:
    return file.read_bytes()[-4096:].decode(errors="replace") if file.exists() else ""
