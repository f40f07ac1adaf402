"""The agent as a process: connects, reads the cluster's configuration, starts its parts and keeps them running."""

from __future__ import annotations

import asyncio
import ssl
from asyncio import sslproto
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from moorings_core.client.events import EventRecorder
from moorings_core.client.http import HttpClient
from moorings_core.client.resources import CONFIG_MAPS
from moorings_core.config import load_text
from moorings_core.config.backends import load
from moorings_core.kernel import memory
from moorings_core.log import get_logger
from moorings_core.pki.credentials import NodeCredentials
from moorings_core.ports.client import Client
from moorings_core.ports.cluster import ClusterConfig
from moorings_core.ports.errors import ApiError
from moorings_core.ports.node import NodeContext
from moorings_core.ports.runtime import Runtime, RuntimeFailure
from moorings_core.supervise import Run, run_all, supervise

from .callers import Callers
from .cgroups import NodeCgroup
from .csi.plugins import PluginWatcher
from .csi.reach import Reach
from .csi.sidecars import Sidecars
from .csi.volumes import CsiVolumes
from .network import NetworkExchange
from .node import NodeFacts, NodeStatus
from .pod_state import PodSettings
from .pods import PodManager
from .proxy import ProxyExchange
from .resolv import ClusterDns, read_resolv_conf
from .server import AgentServer
from .usage import Usage
from .volumes.manager import VolumeManager

log = get_logger(__name__)
TLS_BUFFER = 32 * 1024
"""Bytes of a TLS connection's read buffer: asyncio's own is 256 KiB, and an agent has some twenty connections."""
RELEASE_SECONDS = 10.0
WAIT_SECONDS = 0.1
USER_AGENT = "kubelet/moorings"
"""What stands before the slash manages what agents write (managedFields): tools know the node's part by this name"""
PORT = 10250


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """What an agent is told at its start; everything else it reads from the cluster."""

    node_name: str
    credentials: NodeCredentials
    root: Path
    run: Path
    runtime_socket: Path
    addresses: tuple[str, ...]
    cpu: float = 0
    memory: int = 0
    cgroup: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    resolv_conf: Path = Path("/etc/resolv.conf")


async def run_agent(options: AgentOptions) -> None:
    """Run the agent until cancelled."""
    sslproto.SSLProtocol.max_size = TLS_BUFFER
    for directory in (options.root, options.run):
        directory.mkdir(parents=True, exist_ok=True)
    client = HttpClient.from_kubeconfig(options.credentials.kubeconfig, user_agent=USER_AGENT)
    config = await read_config(client)
    runtime: Runtime = load("runtime", config.runtime.backend)(options.runtime_socket, config.runtime.parameters)
    await _wait_for_runtime(runtime)
    context = NodeContext(options.node_name, options.addresses, client, config, options.root, options.run, options.cgroup)
    agent = Agent(options, config, client, runtime, context)
    await agent.run()


async def read_config(client: Client) -> ClusterConfig:
    """Return the cluster's configuration, as soon as the API gives it."""
    while True:
        try:
            found = await client.get(CONFIG_MAPS, "moorings", "kube-system")
            return load_text(found["data"]["cluster.yaml"], "configmap kube-system/moorings")
        except (ApiError, OSError, TimeoutError) as error:
            log.info("waiting for the API", error=str(error))
            await asyncio.sleep(WAIT_SECONDS)


class Agent:
    """The parts of one agent."""

    def __init__(self, options: AgentOptions, config: ClusterConfig, client: Client, runtime: Runtime, context: NodeContext) -> None:
        self._options, self._config, self._client, self._runtime, self._context = options, config, client, runtime, context
        self._network_problem = "the pod network has not started"
        self._events = EventRecorder(client, "kubelet", options.node_name)
        self._plugins = PluginWatcher(client, options.node_name, options.root / "plugins_registry")
        self._reach = Reach(client, self._plugins, options.node_name)
        self._csi = CsiVolumes(client, self._plugins, self._reach, options.root, options.node_name)
        self._facts = NodeFacts(options.node_name, options.addresses, options.labels, options.root, options.cpu, options.memory, PORT)
        settings = PodSettings(
            options.node_name,
            options.addresses,
            options.root,
            ClusterDns.of(config.services),
            read_resolv_conf(options.resolv_conf),
            config.timing,
            self._facts.capacity(),
            options.cgroup,
        )
        self._pods = PodManager(client, runtime, VolumeManager(options.root, self._csi), settings, self._events)
        self._status = NodeStatus(client, self._facts, runtime, config.timing, lambda: self._network_problem)

    async def run(self) -> None:
        """Register the node and run everything until cancelled."""
        await self._register()
        name, cgroup = self._options.node_name, NodeCgroup(self._options.cgroup)
        usage = Usage(self._runtime, cgroup, lambda: self._pods.pods.items.values(), name)
        server = AgentServer(self._pods, self._runtime, Callers(self._client, name), usage)
        await server.http.start(None, PORT, self._tls())
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(supervise("network", NetworkExchange(self._context).run, self._network_state))
            tasks.create_task(run_all(self._components()))

    def _components(self) -> dict[str, Run]:
        sidecars = Sidecars(self._client, self._plugins, self._reach, self._csi, self._options.node_name, self._events)
        found: dict[str, Run] = {
            "events": self._events.run,
            "node status": self._status.run,
            "memory": _release_memory,
            "pods": self._pods.run,
            "plugins": self._plugins.run,
            "volumes": sidecars.run,
        }
        services, context = self._config.services, self._context
        found["proxy"] = ProxyExchange(context).run
        found["dns"] = load("dns", services.dns.backend)(context, {}).run
        for storage in {s.backend: s for s in reversed(self._config.storage)}.values():
            found[f"storage {storage.backend}"] = load("storage", storage.backend)(context, storage.parameters).run
        speaker = load("cloud", self._config.cloud.backend).node_component(context)
        if speaker is not None:
            found["cloud"] = speaker.run
        return found

    async def _register(self) -> None:
        while True:
            try:
                await self._status.register()
                return
            except (ApiError, OSError, TimeoutError) as error:
                log.warning("node not registered yet", error=str(error))
                await asyncio.sleep(WAIT_SECONDS)

    def _network_state(self, problem: str) -> None:
        self._network_problem = f"the pod network failed: {problem}" if problem else ""

    def _tls(self) -> ssl.SSLContext:
        credentials = self._options.credentials
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(credentials.certificate, credentials.key)
        context.load_verify_locations(credentials.authority)
        context.verify_mode = ssl.CERT_OPTIONAL
        return context


async def _release_memory() -> None:
    """Give back what a busy moment, the start above all, has left behind: many nodes share a machine."""
    while True:
        await asyncio.sleep(RELEASE_SECONDS)
        await asyncio.to_thread(memory.release)


async def _wait_for_runtime(runtime: Runtime) -> None:
    while True:
        try:
            await runtime.version()
            return
        except RuntimeFailure as error:
            log.info("waiting for the container runtime", error=str(error))
            await asyncio.sleep(WAIT_SECONDS)
