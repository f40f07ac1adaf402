"""Makes sandboxes and starts containers. Each step returns when to try again (seconds), or None when it went well."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from moorings_core.client.events import EventRecorder
from moorings_core.client.informer import Informer
from moorings_core.ports.errors import MooringsError
from moorings_core.ports.objects import Object
from moorings_core.ports.runtime import ImageInfo, MountSpec, Runtime, RuntimeFailure, SandboxSpec
from moorings_core.registry.quantity import to_int

from .cgroups import PodCgroups
from .containers import container_named
from .environment import environment, service_variables
from .handlers import Handlers
from .images import ImageNotReady, Images
from .observed import Observed
from .plan import StartContainer
from .pod_state import PodSettings, PodState
from .resolv import hosts_file, pod_dns
from .spec import Place, container_spec, sandbox_spec
from .volumes.manager import VolumeManager, container_mounts
from .volumes.sources import Snapshot

RETRY_SECONDS, SANDBOX_RETRY_SECONDS, HOPELESS_SECONDS = 2.0, 1.0, 10.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a pod's containers are made from: what it refers to, and where its volumes are."""

    snapshot: Snapshot
    paths: Mapping[str, str]
    at: float


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a pod: its object with the status of now, what the runtime has, what is kept of it."""

    pod: Object
    observed: Observed
    state: PodState


class Starter:
    """Starts pods of one node."""

    def __init__(
        self,
        runtime: Runtime,
        handlers: Handlers,
        images: Images,
        volumes: VolumeManager,
        cgroups: PodCgroups,
        services: Informer,
        settings: PodSettings,
        events: EventRecorder,
    ) -> None:
        self._runtime, self._handlers, self._images = runtime, handlers, images
        self._volumes, self._cgroups, self._services = volumes, cgroups, services
        self._settings, self._events = settings, events
        self._place = Place(str(settings.root / "seccomp"), to_int(settings.allocatable.get("memory", "0")))

    async def sandbox(self, pod: Object, observed: Observed, attempt: int) -> float | None:
        """Make the pod's sandbox. What an earlier one still holds, its address above all, is given back first."""
        if pod["spec"].get("hostUsers") is False:
            self._cannot(pod, "this node's container runtime cannot give pods user namespaces (hostUsers: false)")
            return HOPELESS_SECONDS
        await asyncio.to_thread(self._settings.log_directory(pod).mkdir, parents=True, exist_ok=True)
        try:
            for old in observed.sandboxes:
                await self._runtime.stop_sandbox(old.id)
            await self._runtime.run_sandbox(self._sandbox_spec(pod, attempt))
        except RuntimeFailure as error:
            self._cannot(pod, f"Failed to create pod sandbox: {error}")
            return SANDBOX_RETRY_SECONDS
        return None

    async def container(self, look: Look, operation: StartContainer, prepared: Prepared) -> float | None:
        """Make and start one run of a container."""
        pod, waiting, name = look.pod, look.state.waiting, operation.name
        container = container_named(pod, name)
        assert container is not None
        try:
            image = await self._images.ensure(container, lambda kind, reason, text: self._events.event(pod, kind, reason, text))
            container_id = await self._create(look, container, operation.attempt, image, prepared)
        except ImageNotReady as error:
            waiting[name] = (error.reason, str(error))
            return error.after
        except (MooringsError, OSError) as error:
            reason = "CreateContainerError" if isinstance(error, RuntimeFailure) else "CreateContainerConfigError"
            return self._failed(pod, waiting, name, reason, error)
        self._tell(pod, "Normal", "Created", f"Container created: {name}")
        try:
            await self._runtime.start_container(container_id)
        except RuntimeFailure as error:
            return self._failed(pod, waiting, name, "RunContainerError", error)
        waiting.pop(name, None)
        self._tell(pod, "Normal", "Started", f"Container started: {name}")
        return await self._post_start(look, container, container_id)

    async def tidy(self, observed: Observed) -> None:
        """Remove runs that nobody asks about any more: all but the newest and the one before; and sandboxes without any."""
        used = {observed.sandbox.id} if observed.sandbox else set()
        for name, runs in observed.runs.items():
            kept = [run for run in (observed.latest(name), observed.previous(name)) if run is not None]
            used |= {run.state.sandbox for run in kept} | {run.state.sandbox for run in runs if not run.exited}
            for run in runs:
                if run.exited and run not in kept:
                    await self._runtime.remove_container(run.state.id)
        if observed.sandbox is not None:
            for sandbox in observed.sandboxes:
                if sandbox.id not in used:
                    await self._runtime.remove_sandbox(sandbox.id)

    def address(self, pod: Object, observed: Observed) -> str:
        """Return where a pod's probes and hooks are sent to."""
        found = self._settings.addresses if pod["spec"].get("hostNetwork") else observed.addresses
        return next(iter(found), "")

    async def _create(self, look: Look, container: Object, attempt: int, image: ImageInfo, prepared: Prepared) -> str:
        pod, observed, sandbox = look.pod, look.observed, look.observed.sandbox
        assert sandbox is not None
        links = self._service_links(pod)
        variables = environment(container, pod, prepared.snapshot.text, links, self._settings.allocatable)
        directory = self._volumes.pod_directory(pod["metadata"]["uid"])
        mounts, devices = await asyncio.to_thread(container_mounts, container, prepared.paths, variables, directory)
        mounts += await asyncio.to_thread(self._own_files, pod, container, attempt, observed.addresses)
        target = observed.latest(container.get("targetContainerName", ""))
        known = target.state.id if target else ""
        wanted = container_spec(pod, container, attempt, image, variables, mounts, devices, known, self._place)
        logs = self._settings.log_directory(pod) / container["name"]
        await asyncio.to_thread(logs.mkdir, parents=True, exist_ok=True)
        return await self._runtime.create_container(sandbox.id, wanted, self._sandbox_spec(pod, sandbox.attempt))

    async def _post_start(self, look: Look, container: Object, container_id: str) -> float | None:
        hook = (container.get("lifecycle") or {}).get("postStart")
        if not hook:
            return None
        try:
            success, text = await self._handlers.run(hook, container, container_id, self.address(look.pod, look.observed))
        except (MooringsError, OSError, TimeoutError) as error:
            success, text = False, str(error)
        if not success:
            self._tell(look.pod, "Warning", "FailedPostStartHook", f"PostStartHook failed: {text}")
            await self._runtime.stop_container(container_id, float(look.pod["spec"].get("terminationGracePeriodSeconds", 30)))
        return None

    def _sandbox_spec(self, pod: Object, attempt: int) -> SandboxSpec:
        settings = self._settings
        dns = pod_dns(pod, settings.dns, settings.node_dns)
        return sandbox_spec(pod, attempt, dns, str(settings.log_directory(pod)), self._cgroups.parent(pod))

    def _own_files(self, pod: Object, container: Object, attempt: int, addresses: Sequence[str]) -> list[MountSpec]:
        """Return the mounts of files that the agent itself writes: /etc/hosts and the termination message."""
        directory = self._volumes.pod_directory(pod["metadata"]["uid"])
        directory.mkdir(parents=True, exist_ok=True)
        message = directory / "containers" / container["name"] / str(attempt)
        message.parent.mkdir(parents=True, exist_ok=True)
        message.touch()
        message.chmod(0o666)
        found = [MountSpec(str(message), container.get("terminationMessagePath") or "/dev/termination-log")]
        if "/etc/hosts" not in {m["mountPath"] for m in container.get("volumeMounts") or ()}:
            found.append(MountSpec(str(self._hosts(pod, directory, addresses)), "/etc/hosts"))
        return found

    def _hosts(self, pod: Object, directory: Path, addresses: Sequence[str]) -> Path:
        """Write /etc/hosts of a pod; on the node's network it begins as the node's own."""
        hosts = directory / "etc-hosts"
        node = Path("/etc/hosts") if pod["spec"].get("hostNetwork") else None
        hosts.write_text(hosts_file(pod, addresses, self._settings.dns.domain, node.read_text() if node and node.exists() else None))
        return hosts

    def _service_links(self, pod: Object) -> dict[str, str]:
        namespace = pod["metadata"]["namespace"]
        wanted = [s for k, s in self._services.items.items() if k.namespace == namespace]
        if pod["spec"].get("enableServiceLinks") is False:
            wanted = []
        master = self._services.get("kubernetes", "default")
        return service_variables([*([master] if master else []), *(s for s in wanted if s is not master)])

    def _failed(self, pod: Object, waiting: dict[str, tuple[str, str]], name: str, reason: str, error: Exception) -> float:
        waiting[name] = (reason, str(error))
        self._tell(pod, "Warning", "Failed", f"Error: {error}")
        return RETRY_SECONDS

    def _cannot(self, pod: Object, text: str) -> None:
        self._tell(pod, "Warning", "FailedCreatePodSandBox", text)

    def _tell(self, pod: Object, kind: Literal["Normal", "Warning"], reason: str, text: str) -> None:
        self._events.event(pod, kind, reason, text)
