"""The Node object: made at start, kept true, and the lease that says that the agent lives.

The node is Ready when its runtime and its pod network are. Source: upstream's node status and KEP-589 (node leases).
"""

from __future__ import annotations

import asyncio
import datetime
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from moorings_core.client.resources import LEASES, NODES
from moorings_core.log import get_logger
from moorings_core.ports.client import Client
from moorings_core.ports.cluster import Timing
from moorings_core.ports.errors import AlreadyExists, ApiError, NotFound
from moorings_core.ports.objects import Object
from moorings_core.ports.runtime import Runtime, RuntimeFailure

log = get_logger(__name__)
LEASE_NAMESPACE = "kube-node-lease"
PODS_MOST = 110
DISK_LEAST = 0.05
"""DiskPressure when less than this share of the root's file system is free."""
CHECK_SECONDS, CALM_SECONDS = 0.25, 1.0
"""How often the node's conditions are looked at: often until it is Ready."""
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a node is; cpu in cores and memory in bytes are its own limits, 0: the machine's."""

    name: str
    addresses: tuple[str, ...]
    labels: Mapping[str, str]
    root: Path
    cpu: float = 0
    memory: int = 0
    port: int = 10250

    def capacity(self) -> dict[str, str]:
        """Return what pods can have in all."""
        disk = os.statvfs(self.root)
        memory = self.memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        milli = int((self.cpu or os.cpu_count() or 1) * 1000)
        return {
            "cpu": str(milli // 1000) if milli % 1000 == 0 else f"{milli}m",
            "memory": f"{memory // 1024}Ki",
            "ephemeral-storage": f"{disk.f_blocks * disk.f_frsize // 1024}Ki",
            "pods": str(PODS_MOST),
        }


class NodeStatus:
    """Registers the node and keeps status and lease fresh."""

    def __init__(self, client: Client, facts: NodeFacts, runtime: Runtime, timing: Timing, network_problem: Callable[[], str]) -> None:
        self._client, self._facts, self._runtime, self._timing = client, facts, runtime, timing
        self._network_problem = network_problem
        self._version = ("", "")
        self._written: Object | None = None

    async def run(self) -> None:
        """Keep the node's status and lease until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._renew())
            tasks.create_task(self._report())

    async def register(self) -> Object:
        """Make the Node object, or take over the one that is there; return it."""
        self._version = await self._runtime.version()
        labels = {
            "kubernetes.io/hostname": self._facts.name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": ARCHITECTURES.get(platform.machine(), platform.machine()),
            **self._facts.labels,
        }
        status = await self._status({})
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self._facts.name, "labels": labels}, "spec": {}, "status": status}
        taint = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
        node["spec"] = {"taints": [taint]}
        try:
            return await self._client.create(NODES, node)
        except AlreadyExists:
            patch = {"metadata": {"labels": labels}}
            return await self._client.patch(NODES, self._facts.name, "", patch)

    async def _renew(self) -> None:
        while True:
            try:
                await self._renew_once()
            except (ApiError, OSError, TimeoutError) as error:
                log.warning("lease not renewed", error=str(error))
            await asyncio.sleep(self._timing.lease_renew)

    async def _renew_once(self) -> None:
        name = self._facts.name
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": name, "leaseDurationSeconds": int(self._timing.lease_duration), "renewTime": now}
        try:
            await self._client.patch(LEASES, name, LEASE_NAMESPACE, {"spec": spec})
        except NotFound:
            metadata = {"name": name, "namespace": LEASE_NAMESPACE}
            lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
            await self._client.create(LEASES, lease)

    async def _report(self) -> None:
        """Write the status when it changes, looking often; and at the latest every node_status seconds."""
        last = 0.0
        loop = asyncio.get_running_loop()
        while True:
            try:
                if await self._report_once(force=loop.time() - last > self._timing.node_status):
                    last = loop.time()
            except (ApiError, OSError, TimeoutError, RuntimeFailure) as error:
                log.warning("status not written", error=str(error))
            await asyncio.sleep(CALM_SECONDS if _ready(self._written) else CHECK_SECONDS)

    async def _report_once(self, *, force: bool) -> bool:
        status = await self._status(self._written or {})
        if not force and self._written is not None and _same(status, self._written):
            return False
        patch = {"status": status}
        try:
            await self._client.patch(NODES, self._facts.name, "", patch, type="strategic", subresource="status")
        except NotFound:
            await self.register()
        self._written = status
        return True

    async def _status(self, before: Object) -> Object:
        facts, capacity = self._facts, self._facts.capacity()
        addresses = [{"type": "InternalIP", "address": a} for a in facts.addresses]
        release = platform.uname().release
        return {
            "addresses": [*addresses, {"type": "Hostname", "address": facts.name}],
            "capacity": capacity,
            "allocatable": dict(capacity),
            "conditions": await self._conditions(before),
            "daemonEndpoints": {"kubeletEndpoint": {"Port": facts.port}},
            "nodeInfo": {
                "machineID": _read("/etc/machine-id"),
                "systemUUID": _read("/etc/machine-id"),
                "bootID": _read("/proc/sys/kernel/random/boot_id"),
                "kernelVersion": release,
                "osImage": _os_name(),
                "containerRuntimeVersion": f"{self._version[0]}://{self._version[1]}",
                "kubeletVersion": "v1.37.2+moorings",
                "kubeProxyVersion": "",
                "operatingSystem": "linux",
                "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
            },
        }

    async def _conditions(self, before: Object) -> list[Object]:
        try:
            runtime = await self._runtime.conditions()
            problem = "" if runtime.ready and runtime.network_ready else runtime.message or "the container runtime is not ready"
        except RuntimeFailure as error:
            problem = f"the container runtime does not answer: {error}"
        problem = "; ".join(filter(None, (problem, self._network_problem())))
        disk = os.statvfs(self._facts.root)
        full = disk.f_bavail < disk.f_blocks * DISK_LEAST
        reason, text = ("KubeletNotReady", problem) if problem else ("KubeletReady", "the node agent is posting ready status")
        wanted = [
            ("MemoryPressure", False, "KubeletHasSufficientMemory", "the node has sufficient memory available"),
            (
                "DiskPressure",
                full,
                *(
                    ("KubeletHasDiskPressure", "the node's root is almost full")
                    if full
                    else ("KubeletHasNoDiskPressure", "the node has no disk pressure")
                ),
            ),
            ("PIDPressure", False, "KubeletHasSufficientPID", "the node has sufficient PID available"),
            ("Ready", not problem, reason, text),
        ]
        known = {c["type"]: c for c in before.get("conditions", ())}
        return [_condition(*one, known.get(one[0])) for one in wanted]


def _condition(kind: str, value: bool, reason: str, text: str, known: Object | None) -> Object:
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    status = "True" if value else "False"
    changed = known["lastTransitionTime"] if known is not None and known["status"] == status else now
    return {"type": kind, "status": status, "reason": reason, "message": text, "lastHeartbeatTime": now, "lastTransitionTime": changed}


def _ready(status: Object | None) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in (status or {}).get("conditions", ()))


def _same(a: Object, b: Object) -> bool:
    def without_times(status: Object) -> list[Object]:
        return [{k: v for k, v in c.items() if k != "lastHeartbeatTime"} for c in status["conditions"]]

    return a["addresses"] == b["addresses"] and without_times(a) == without_times(b)


def _read(path: str) -> str:
    file = Path(path)
    return file.read_text().strip() if file.exists() else ""


def _os_name() -> str:
    for line in _read("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return platform.system()
