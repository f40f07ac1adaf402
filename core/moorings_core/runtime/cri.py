"""A runtime that speaks CRI v1."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from moorings_core.ports.runtime import (
    POD_UID,
    Conditions,
    ContainerDetail,
    ContainerSpec,
    ContainerState,
    ContainerUsage,
    ExecResult,
    ImageInfo,
    Resources,
    RuntimeFailure,
    SandboxSpec,
    SandboxState,
)
from moorings_core.protos import cri_pb2 as cri

from . import orphans
from .messages import container_config, container_resources, sandbox_config

RUNTIME, IMAGES = "runtime.v1.RuntimeService", "runtime.v1.ImageService"
CALL_SECONDS, SANDBOX_SECONDS, PULL_SECONDS = 30.0, 120.0, 600.0
NANOSECONDS = 1e9
STATES = {0: "created", 1: "running", 2: "exited", 3: "unknown"}
MESSAGE_MOST = 16 * 1024 * 1024


def connect(socket: Path, parameters: Mapping[str, Any]) -> CriRuntime:
    """Return the runtime at a unix socket; nothing is sent yet."""
    return CriRuntime(socket)


class CriRuntime:
    """`ports.runtime.Runtime` over CRI."""

    def __init__(self, socket: Path) -> None:
        options = [("grpc.max_receive_message_length", MESSAGE_MOST), ("grpc.enable_http_proxy", 0)]
        self._socket, self._starting, self._suspects = socket, 0, set[str]()
        self._channel = grpc.aio.insecure_channel(f"unix://{socket}", options=options)

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def version(self) -> tuple[str, str]:
        """Return (name, version)."""
        answer = await self._call("Version", cri.VersionRequest(), cri.VersionResponse)
        return answer.runtime_name, answer.runtime_version

    async def conditions(self) -> Conditions:
        """Return whether pods can run."""
        answer = await self._call("Status", cri.StatusRequest(), cri.StatusResponse)
        found = {c.type: c for c in answer.status.conditions}
        runtime, network = found.get("RuntimeReady"), found.get("NetworkReady")
        text = "; ".join(c.message for c in found.values() if not c.status and c.message)
        return Conditions(bool(runtime and runtime.status), bool(network and network.status), text)

    async def run_sandbox(self, spec: SandboxSpec) -> str:
        """Make a sandbox."""
        request = cri.RunPodSandboxRequest(config=sandbox_config(spec))
        self._starting += 1
        try:
            answer = await self._call("RunPodSandbox", request, cri.RunPodSandboxResponse, timeout=SANDBOX_SECONDS)
        finally:
            self._starting -= 1
        return str(answer.pod_sandbox_id)

    async def stop_sandbox(self, sandbox: str) -> None:
        """Stop a sandbox."""
        request = cri.StopPodSandboxRequest(pod_sandbox_id=sandbox)
        await self._call("StopPodSandbox", request, cri.StopPodSandboxResponse, gone=True, timeout=SANDBOX_SECONDS)

    async def remove_sandbox(self, sandbox: str) -> None:
        """Remove a sandbox."""
        request = cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox)
        await self._call("RemovePodSandbox", request, cri.RemovePodSandboxResponse, gone=True, timeout=SANDBOX_SECONDS)

    async def sandboxes(self, uid: str | None = None) -> Sequence[SandboxState]:
        """Return all sandboxes, or a pod's."""
        request = cri.ListPodSandboxRequest(filter=cri.PodSandboxFilter(label_selector=_of_pod(uid)))
        answer = await self._call("ListPodSandbox", request, cri.ListPodSandboxResponse)
        return [_sandbox(item) for item in answer.items]

    async def reap(self) -> Sequence[str]:
        """End sandboxes that containerd lists no more; one that is being made is not listed yet, so none may be."""
        running = await asyncio.to_thread(orphans.shims, self._socket)
        known = {sandbox.id for sandbox in await self.sandboxes()}
        found = [] if self._starting else orphans.lost(running, known, self._suspects)
        self._suspects = set() if self._starting else {shim.id for shim in running} - known
        for shim in found:
            await asyncio.to_thread(orphans.end, shim)
        return [shim.id for shim in found]

    async def sandbox_addresses(self, sandbox: str) -> tuple[str, ...]:
        """Return the sandbox's addresses."""
        request = cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox)
        network = (await self._call("PodSandboxStatus", request, cri.PodSandboxStatusResponse)).status.network
        return tuple(filter(None, (network.ip, *(a.ip for a in network.additional_ips))))

    async def create_container(self, sandbox: str, spec: ContainerSpec, sandbox_spec: SandboxSpec) -> str:
        """Make a container."""
        request = cri.CreateContainerRequest(
            pod_sandbox_id=sandbox, config=container_config(spec), sandbox_config=sandbox_config(sandbox_spec)
        )
        return str((await self._call("CreateContainer", request, cri.CreateContainerResponse)).container_id)

    async def start_container(self, container: str) -> None:
        """Start a container."""
        request = cri.StartContainerRequest(container_id=container)
        await self._call("StartContainer", request, cri.StartContainerResponse)

    async def stop_container(self, container: str, grace: float) -> None:
        """Stop a container."""
        request = cri.StopContainerRequest(container_id=container, timeout=max(int(grace), 0))
        await self._call("StopContainer", request, cri.StopContainerResponse, gone=True, timeout=grace + CALL_SECONDS)

    async def update_container(self, container: str, resources: Resources) -> None:
        """Change the limits of a container that runs."""
        request = cri.UpdateContainerResourcesRequest(container_id=container, linux=container_resources(resources))
        await self._call("UpdateContainerResources", request, cri.UpdateContainerResourcesResponse)

    async def usage(self) -> Sequence[ContainerUsage]:
        """Return what containers use."""
        answer = await self._call("ListContainerStats", cri.ListContainerStatsRequest(), cri.ListContainerStatsResponse)
        return [_usage(item) for item in answer.stats]

    async def remove_container(self, container: str) -> None:
        """Remove a container."""
        request = cri.RemoveContainerRequest(container_id=container)
        await self._call("RemoveContainer", request, cri.RemoveContainerResponse, gone=True)

    async def containers(self, uid: str | None = None) -> Sequence[ContainerState]:
        """Return all containers, or a pod's."""
        request = cri.ListContainersRequest(filter=cri.ContainerFilter(label_selector=_of_pod(uid)))
        answer = await self._call("ListContainers", request, cri.ListContainersResponse)
        return [_container(item) for item in answer.containers]

    async def inspect(self, container: str) -> ContainerDetail:
        """Look closer at a container."""
        request = cri.ContainerStatusRequest(container_id=container)
        found = (await self._call("ContainerStatus", request, cri.ContainerStatusResponse)).status
        return ContainerDetail(
            STATES[found.state],
            found.started_at / NANOSECONDS,
            found.finished_at / NANOSECONDS,
            found.exit_code,
            found.reason,
            found.message,
            found.image.image,
            found.image_ref,
            found.log_path,
            dict(found.annotations),
        )

    async def exec(self, container: str, command: Sequence[str], timeout: float) -> ExecResult:
        """Run a command. Raises TimeoutError."""
        request = cri.ExecSyncRequest(container_id=container, cmd=list(command), timeout=max(int(timeout), 1))
        try:
            answer = await self._call("ExecSync", request, cri.ExecSyncResponse, timeout=timeout + 5)
        except RuntimeFailure as error:
            if error.code == "DEADLINE_EXCEEDED":
                raise TimeoutError(f"command timed out after {timeout:g}s") from error
            raise
        return ExecResult(answer.stdout, answer.stderr, answer.exit_code)

    async def exec_url(self, container: str, command: Sequence[str], *, stdin: bool, stdout: bool, stderr: bool, tty: bool) -> str:
        """Return where to stream a command."""
        request = cri.ExecRequest(container_id=container, cmd=list(command), tty=tty, stdin=stdin, stdout=stdout, stderr=stderr and not tty)
        return str((await self._call("Exec", request, cri.ExecResponse)).url)

    async def attach_url(self, container: str, *, stdin: bool, stdout: bool, stderr: bool, tty: bool) -> str:
        """Return where to stream the main process."""
        request = cri.AttachRequest(container_id=container, stdin=stdin, tty=tty, stdout=stdout, stderr=stderr and not tty)
        return str((await self._call("Attach", request, cri.AttachResponse)).url)

    async def port_forward_url(self, sandbox: str, ports: Sequence[int]) -> str:
        """Return where to stream a port."""
        request = cri.PortForwardRequest(pod_sandbox_id=sandbox, port=list(ports))
        return str((await self._call("PortForward", request, cri.PortForwardResponse)).url)

    async def image(self, name: str) -> ImageInfo | None:
        """Return a local image, or None."""
        request = cri.ImageStatusRequest(image=cri.ImageSpec(image=name))
        found = (await self._call("ImageStatus", request, cri.ImageStatusResponse, service=IMAGES)).image
        if not found.id:
            return None
        user = found.uid.value if found.HasField("uid") else (None if found.username else 0)
        return ImageInfo(found.id, tuple(found.repo_digests), user, found.username)

    async def pull(self, name: str) -> str:
        """Fetch an image."""
        request = cri.PullImageRequest(image=cri.ImageSpec(image=name))
        answer = await self._call("PullImage", request, cri.PullImageResponse, service=IMAGES, timeout=PULL_SECONDS)
        return str(answer.image_ref)

    async def _call(
        self,
        method: str,
        request: Message,
        response: type[Message],
        *,
        service: str = RUNTIME,
        timeout: float = CALL_SECONDS,
        gone: bool = False,
    ) -> Any:
        """Call a method; with gone, NOT_FOUND is success."""
        stub = self._channel.unary_unary(f"/{service}/{method}", lambda message: message.SerializeToString(), response.FromString)
        try:
            return await stub(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            if gone and error.code() == grpc.StatusCode.NOT_FOUND:
                return response()
            raise RuntimeFailure(error.code().name, error.details() or "") from error


def _of_pod(uid: str | None) -> dict[str, str]:
    return {} if uid is None else {POD_UID: uid}


def _sandbox(item: cri.PodSandbox) -> SandboxState:
    about = item.metadata
    ready = item.state == cri.SANDBOX_READY
    created = item.created_at / NANOSECONDS
    return SandboxState(item.id, about.name, about.namespace, about.uid, about.attempt, ready, created, dict(item.labels))


def _container(item: cri.Container) -> ContainerState:
    about, created = item.metadata, item.created_at / NANOSECONDS
    return ContainerState(item.id, item.pod_sandbox_id, about.name, about.attempt, STATES[item.state], created, dict(item.labels))


def _usage(item: cri.ContainerStats) -> ContainerUsage:
    about, cpu, memory = item.attributes, item.cpu, item.memory
    return ContainerUsage(
        container=about.id,
        name=about.metadata.name,
        labels=dict(about.labels),
        at=max(cpu.timestamp, memory.timestamp) / NANOSECONDS,
        cpu=cpu.usage_core_nano_seconds.value / NANOSECONDS,
        memory=memory.working_set_bytes.value,
        disk=item.writable_layer.used_bytes.value,
    )
