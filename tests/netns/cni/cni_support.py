"""A network of nodes made of namespaces: a switch, nodes that run the real network component in a thread, pods, an outside host.

The API is a dict of objects with list, watch and merge patch: all that the network component uses of it.
"""

import asyncio
import itertools
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

from moorings_core.agent.network import NetworkExchange
from moorings_core.client.resources import CONFIG_MAPS, NODES
from moorings_core.kernel import sysctl
from moorings_core.kernel.namespaces import call_in, enter
from moorings_core.ports.client import ObjectList, WatchEvent
from moorings_core.ports.cluster import ClusterConfig, NetworkConfig
from moorings_core.ports.errors import AlreadyExists, Conflict, NotFound
from moorings_core.ports.network import RANGES
from moorings_core.ports.node import NodeContext
from moorings_core.ports.objects import Key, Object, Resource, key_of

counter = itertools.count()


class MemoryClient:
    """Objects in a dict, shared by all nodes' threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._objects: dict[tuple[str, Key], Object] = {}
        self._history: list[tuple[int, str, WatchEvent]] = []
        self._version = 0
        self._watchers: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self.stalled: set[str] = set()
        """Plural names of what watches do not tell of for the time being."""

    def versions(self, resource: Resource) -> dict[Key, str]:
        with self._lock:
            return {key: o["metadata"]["resourceVersion"] for (p, key), o in self._objects.items() if p == resource.plural}

    def put(self, resource: Resource, obj: Object) -> Object:
        with self._lock:
            self._version += 1
            obj = json.loads(json.dumps(obj))
            obj["metadata"]["resourceVersion"] = str(self._version)
            key = (resource.plural, key_of(obj))
            self._record(resource, "MODIFIED" if key in self._objects else "ADDED", obj)
            self._objects[key] = obj
            return obj

    def remove(self, resource: Resource, name: str, namespace: str = "") -> None:
        with self._lock:
            self._version += 1
            obj = self._objects.pop((resource.plural, Key(namespace, name)))
            obj = json.loads(json.dumps(obj))
            obj["metadata"]["resourceVersion"] = str(self._version)
            self._record(resource, "DELETED", obj)

    def read(self, resource: Resource, name: str, namespace: str = "") -> Object:
        with self._lock:
            return self._objects[resource.plural, Key(namespace, name)]

    def _record(self, resource: Resource, kind: str, obj: Object) -> None:
        self._history.append((self._version, resource.plural, WatchEvent(kind, obj)))
        for loop, event in self._watchers:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    async def list(self, resource: Resource, namespace: str = "", **_: Any) -> ObjectList:
        with self._lock:
            mine = [o for (p, key), o in self._objects.items() if p == resource.plural and namespace in ("", key.namespace)]
            return ObjectList(mine, str(self._version))

    async def get(self, resource: Resource, name: str, namespace: str = "", **_: Any) -> Object:
        try:
            return self.read(resource, name, namespace)
        except KeyError:
            raise NotFound(name) from None

    async def create(self, resource: Resource, obj: Object, **_: Any) -> Object:
        with self._lock:
            if (resource.plural, key_of(obj)) in self._objects:
                raise AlreadyExists(obj["metadata"]["name"])
            return self.put(resource, obj)

    async def update(self, resource: Resource, obj: Object, **_: Any) -> Object:
        with self._lock:
            key = key_of(obj)
            if self.read(resource, key.name, key.namespace)["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]:
                raise Conflict(key.name)
            return self.put(resource, obj)

    async def watch(self, resource: Resource, namespace: str = "", *, since: str, **_: Any) -> Any:
        me = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._watchers.add(me)
        seen = int(since)
        try:
            while True:
                me[1].clear()
                with self._lock:
                    quiet = resource.plural in self.stalled
                    news = [(v, e) for v, plural, e in self._history if v > seen and plural == resource.plural and not quiet]
                for version, event in news:
                    seen = version
                    yield event
                await me[1].wait()
        finally:
            with self._lock:
                self._watchers.discard(me)

    async def patch(self, resource: Resource, name: str, namespace: str, patch: Object, **_: Any) -> Object:
        with self._lock:
            try:
                obj = json.loads(json.dumps(self.read(resource, name, namespace)))
            except KeyError:
                raise NotFound(name) from None
            merge(obj, patch)
            return self.put(resource, obj)


def merge(target: Object, patch: Object) -> None:
    for key, value in patch.items():
        if isinstance(value, dict):
            merge(target.setdefault(key, {}), value)
        elif value is None:
            target.pop(key, None)
        else:
            target[key] = value


def sh(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    return done.stdout


def until(condition: Callable[[], Any], seconds: float = 20, what: str = "") -> Any:
    """Wait for another thread or the kernel to reach a state."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.01)
    return found


class Pod:
    """A network namespace that stands for a sandbox, wired by executing the installed plugin."""

    def __init__(self, node: "Node", name: str) -> None:
        self.node, self.name = node, name
        self.id = f"c{name}"
        self.path = f"/run/netns/{name}"
        sh("ip", "netns", "add", name)
        node.fabric.names.append(name)
        self.result: Object = {}
        self.ip = ""

    def cni(self, verb: str, **config: Any) -> tuple[int, Object]:
        return self.node.cni(verb, self.id, self.path, **config)

    def add(self, **config: Any) -> "Pod":
        code, self.result = self.cni("ADD", **config)
        assert code == 0, self.result
        self.ip = self.result["ips"][0]["address"].split("/")[0]
        return self

    def run(self, function: Callable[[], Any]) -> Any:
        return call_in(self.path, function)


class Node:
    """A node: its namespace, its directories, and the thread in which its network runs."""

    def __init__(self, fabric: "Fabric", index: int, name: str, address: str, cidrs: list[str]) -> None:
        self.fabric, self.index, self.name, self.address, self.cidrs = fabric, index, name, address, cidrs
        self.netns = f"{fabric.prefix}n{index}"
        self.path = f"/run/netns/{self.netns}"
        self.root, self.run_dir = fabric.directory / f"root{index}", fabric.directory / f"r{index}"
        self.loop: asyncio.AbstractEventLoop | None = None
        self.pods = itertools.count()

    def context(self) -> NodeContext:
        return NodeContext(
            self.name, (self.address,), self.fabric.client, self.fabric.config, self.root, self.run_dir  # type: ignore[arg-type]
        )  # fmt: skip

    def register(self, ready: str = "True") -> None:
        spec = {"podCIDR": self.cidrs[0], "podCIDRs": self.cidrs} if self.cidrs else {}
        self.fabric.client.put(NODES, {
            "metadata": {"name": self.name}, "spec": spec,
            "status": {"addresses": [{"type": "InternalIP", "address": self.address}],
                       "conditions": [{"type": "Ready", "status": ready}]},
        })  # fmt: skip

    def start(self, wait: bool = True) -> "Node":
        started = threading.Event()
        self.failure: BaseException | None = None

        def body() -> None:
            enter(self.path)
            with asyncio.Runner() as runner:
                self.loop = runner.get_loop()
                try:
                    runner.run(self._main(started))
                except asyncio.CancelledError:
                    pass
                except BaseException as error:
                    self.failure = error

        self.thread = threading.Thread(target=body, name=self.name)
        self.thread.start()
        started.wait(10)
        if wait:
            until(lambda: self.serves() or self.failure, what=f"{self.name} serves")
        return self

    def serves(self) -> bool:
        """Whether it answers: the configuration of a node that was here before is there all the time."""
        with socket.socket(socket.AF_UNIX) as client:
            return self.conflist.exists() and client.connect_ex(str(self.run_dir / "cni.sock")) == 0

    @property
    def conflist(self) -> Path:
        return self.root / "cni/conf.d/10-moorings.conflist"

    async def _main(self, started: threading.Event) -> None:
        self.exchange = NetworkExchange(self.context())
        self.task = asyncio.current_task()
        started.set()
        await self.exchange.run()

    def stop(self) -> None:
        if self.loop is not None and self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.task.cancel)
            self.thread.join(20)
            assert not self.thread.is_alive(), "component did not stop"
        self.loop = None

    def submit(self, coroutine: Any) -> Any:
        future: Future[Any] = asyncio.run_coroutine_threadsafe(coroutine, self.loop)  # type: ignore[arg-type]
        return future.result(20)

    def annotations(self) -> dict[str, str]:
        return self.fabric.client.read(NODES, self.name)["metadata"].get("annotations") or {}

    def exchanged(self) -> dict[str, str]:
        """What the Node says about transports."""
        return {name: value for name, value in self.annotations().items() if name != RANGES}

    def pod(self) -> Pod:
        return Pod(self, f"{self.netns}p{next(self.pods)}")

    def cni(
        self, verb: str, container: str = "", netns: str = "", ifname: str = "eth0", env: dict[str, str] | None = None,
        plugin: str = "moorings-cni", version: str = "1.0.0", **config: Any,
    ) -> tuple[int, Object]:  # fmt: skip
        environment = {"CNI_COMMAND": verb, "CNI_PATH": "/x", "CNI_CONTAINERID": container, "CNI_NETNS": netns}
        environment |= {"CNI_IFNAME": ifname}
        environment |= {"CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=" + container} | (env or {})
        stdin = json.dumps({"cniVersion": version, "name": "moorings", "type": plugin} | config)
        program = str(self.root / "cni/bin" / plugin)
        done = subprocess.run(
            [program], input=stdin, env={k: v for k, v in environment.items() if v}, capture_output=True, text=True, check=False
        )
        assert not done.stderr, done.stderr
        return done.returncode, json.loads(done.stdout) if done.stdout.strip() else {}

    def sh(self, *words: str) -> str:
        return sh("nsenter", f"--net={self.path}", *words)


class Fabric:
    """Nodes on one switch. 192.168.77.0/24 is the underlay; .200 is a host outside of the cluster; no default routes."""

    def __init__(
        self, directory: Path, nodes: int = 2, backend: str = "vxlan", six: bool = False, start: bool = True, block_size: int = 0
    ) -> None:
        """block_size: nodes have no ranges by their spec and claim blocks of this prefix length."""
        self.directory, self.prefix = directory, f"mc{os.getpid()}x{next(counter)}"
        self.names: list[str] = []
        self.client = MemoryClient()
        parameters = {"blockSize": block_size} if block_size else {}
        cidrs = ("10.64.0.0/16", "fd00:64::/48")[: 1 + six]
        self.config = ClusterConfig(network=NetworkConfig(backend=backend, pod_cidrs=cidrs, parameters=parameters))
        self.switch = self._netns("sw")
        self.nodes = [
            Node(self, i, f"node{i}", f"192.168.77.{i}", [] if block_size else [f"10.64.{i}.0/24"] + [f"fd00:64:0:{i}::/64"] * six)
            for i in range(1, nodes + 1)
        ]
        sh("ip", "-n", self.switch, "link", "add", "br0", "type", "bridge")
        sh("ip", "-n", self.switch, "link", "set", "br0", "up")
        for node in self.nodes:
            self._plug(f"n{node.index}", node.address + "/24", f"fd77::{node.index}/64" if six else "")
        self.outside = self._plug("out", "192.168.77.200/24", "fd77::200/64" if six else "")
        self.swap(backend)
        for node in self.nodes if start else []:
            node.register()
            node.start(wait=False)
        if start:
            self.settled(backend)

    def _netns(self, suffix: str) -> str:
        name = self.prefix + suffix
        sh("ip", "netns", "add", name)
        self.names.append(name)
        for which in ("all", "default"):  # as most distributions have it; a namespace starts with 0
            call_in(f"/run/netns/{name}", lambda which=which: sysctl.ensure(f"net/ipv4/conf/{which}/rp_filter", 1))
        sh("ip", "-n", name, "link", "set", "lo", "up")
        return name

    def _plug(self, suffix: str, address: str, address6: str) -> str:
        name = self._netns(suffix)
        sh("ip", "-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", suffix, "netns", self.switch)
        sh("ip", "-n", self.switch, "link", "set", suffix, "master", "br0", "up")
        for each in filter(None, (address, address6)):
            sh("ip", "-n", name, "address", "add", each, "dev", "eth0", *(["nodad"] if ":" in each else []))
        sh("ip", "-n", name, "link", "set", "eth0", "up")
        return f"/run/netns/{name}"

    def swap(self, backend: str) -> None:
        text = f"network: {{backend: {backend}}}\n"
        metadata = {"name": "moorings", "namespace": "kube-system"}
        self.client.put(CONFIG_MAPS, {"metadata": metadata, "data": {"cluster.yaml": text}})

    def settled(self, backend: str, seconds: float = 20) -> None:
        """Wait until every node sends by backend and takes in nothing else."""
        state = {"moorings.dev/network-accepts": backend, "moorings.dev/network-sends": backend}
        until(lambda: all(node.exchanged() == state and node.conflist.exists() for node in self.nodes), seconds,
              f"swap to {backend}: {[n.annotations() for n in self.nodes]}")  # fmt: skip

    def with_config(self, **network: Any) -> None:
        self.config = replace(self.config, network=replace(self.config.network, **network))

    def close(self) -> None:
        for node in self.nodes:
            node.stop()
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False)
