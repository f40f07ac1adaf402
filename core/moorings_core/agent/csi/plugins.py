"""Drivers come and go by sockets in plugins_registry/: each is asked who it is, checked, entered in CSINode, and told so.

Source: kubelet plugin registration v1; CSI NodeGetInfo.
"""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moorings_core.client.resources import CSI_NODES, NODES
from moorings_core.log import get_logger
from moorings_core.ports.client import Client
from moorings_core.ports.errors import AlreadyExists, ApiError, NotFound
from moorings_core.ports.objects import Object
from moorings_core.protos import csi_pb2 as csi

from .client import CsiClient, CsiError

log = get_logger(__name__)
SCAN_SECONDS = 0.25
CSI_PLUGIN = "CSIPlugin"
NODE_TYPES = csi.NodeServiceCapability.RPC.Type.values()


@dataclass(frozen=True, slots=True)
class Driver:
    """A registered driver and what it told of itself."""

    name: str
    client: CsiClient
    node_id: str
    topology: Mapping[str, str]
    volume_limit: int
    controller: frozenset[str] = frozenset()
    on_node: frozenset[str] = frozenset()
    in_groups: frozenset[str] = frozenset()

    @property
    def stages(self) -> bool:
        """Whether volumes are mounted once for the node before they are given to pods."""
        return "STAGE_UNSTAGE_VOLUME" in self.on_node

    @property
    def provisions(self) -> bool:
        """Whether the socket makes volumes, too."""
        return "CREATE_DELETE_VOLUME" in self.controller

    @property
    def many_writers(self) -> bool:
        """Whether the driver tells one writing pod from several on one node."""
        return "SINGLE_NODE_MULTI_WRITER" in self.on_node


class PluginWatcher:
    """Keeps `drivers` equal to the sockets in the registration directory."""

    def __init__(self, client: Client, node: str, directory: Path) -> None:
        self._client, self._node, self._directory = client, node, directory
        self._by_socket: dict[Path, tuple[int, Driver]] = {}
        self._changed = asyncio.Condition()
        self.on_registered: list[Callable[[], None]] = []
        """Called whenever a driver has come: what was passed over for want of it is looked at again."""

    @property
    def drivers(self) -> dict[str, Driver]:
        """The registered drivers by name."""
        return {driver.name: driver for _, driver in self._by_socket.values()}

    async def run(self) -> None:
        """Follow the directory until cancelled."""
        self._directory.mkdir(parents=True, exist_ok=True)
        while True:
            await self._scan()
            await asyncio.sleep(SCAN_SECONDS)

    async def wait_for(self, name: str, timeout: float) -> Driver:
        """Return a driver as soon as it is registered. Raises TimeoutError."""
        async with asyncio.timeout(timeout), self._changed:
            await self._changed.wait_for(lambda: name in self.drivers)
        return self.drivers[name]

    async def _scan(self) -> None:
        present = {path: path.stat().st_ino for path in self._directory.glob("*.sock") if stat.S_ISSOCK(path.stat().st_mode)}
        for path, (inode, driver) in list(self._by_socket.items()):
            if present.get(path) != inode:
                log.info("driver gone", driver=driver.name)
                del self._by_socket[path]
                await driver.client.close()
        for path, inode in present.items():
            if path not in self._by_socket:
                await self._register(path, inode)

    async def _register(self, path: Path, inode: int) -> None:
        registration = CsiClient(path)
        try:
            info = await registration.call("GetInfo", timeout=5)
            if info.type != CSI_PLUGIN:
                return
            driver = await _ask(info.name, CsiClient(Path(info.endpoint)))
            await self._publish(driver)
            self._by_socket[path] = (inode, driver)
            await registration.call("NotifyRegistrationStatus", timeout=5, plugin_registered=True)
            log.info("driver registered", driver=driver.name, topology=dict(driver.topology))
            async with self._changed:
                self._changed.notify_all()
            for call in self.on_registered:
                call()
        except (CsiError, ApiError, OSError) as error:
            log.warning("registration failed", socket=path.name, error=str(error))
        finally:
            await registration.close()

    async def _publish(self, driver: Driver) -> None:
        if driver.topology:
            await self._client.patch(NODES, self._node, "", {"metadata": {"labels": dict(driver.topology)}})
        entry: Object = {"name": driver.name, "nodeID": driver.node_id, "topologyKeys": sorted(driver.topology)}
        if driver.volume_limit:
            entry["allocatable"] = {"count": driver.volume_limit}
        try:
            known = await self._client.get(CSI_NODES, self._node)
        except NotFound:
            known = await self._create_csi_node()
        others = [d for d in (known["spec"].get("drivers") or ()) if d["name"] != driver.name]
        await self._client.update(CSI_NODES, {**known, "spec": {"drivers": [*others, entry]}})

    async def _create_csi_node(self) -> Object:
        node = await self._client.get(NODES, self._node)
        owner = {"apiVersion": "v1", "kind": "Node", "name": self._node, "uid": node["metadata"]["uid"]}
        metadata = {"name": self._node, "ownerReferences": [owner]}
        fresh = {"apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": metadata, "spec": {"drivers": []}}
        try:
            return await self._client.create(CSI_NODES, fresh)
        except AlreadyExists:
            return await self._client.get(CSI_NODES, self._node)


async def _ask(name: str, client: CsiClient) -> Driver:
    info = await client.call("NodeGetInfo", timeout=10)
    node = await client.call("NodeGetCapabilities", timeout=10)
    plugin = await client.call("GetPluginCapabilities", timeout=10)
    controller: frozenset[str] = frozenset()
    services = {c.service.type for c in plugin.capabilities}
    if csi.PluginCapability.Service.CONTROLLER_SERVICE in services:
        controller = await _offered(client)
    groups: frozenset[str] = frozenset()
    if csi.PluginCapability.Service.GROUP_CONTROLLER_SERVICE in services:
        groups = await _offered_of_groups(client)
    return Driver(
        name,
        client,
        info.node_id,
        dict(info.accessible_topology.segments),
        info.max_volumes_per_node,
        controller,
        frozenset(csi.NodeServiceCapability.RPC.Type.Name(c.rpc.type) for c in node.capabilities if c.rpc.type in NODE_TYPES),
        groups,
    )


async def _offered(client: CsiClient) -> frozenset[str]:
    return await _told(client, "ControllerGetCapabilities", csi.ControllerServiceCapability.RPC.Type)


async def _offered_of_groups(client: CsiClient) -> frozenset[str]:
    return await _told(client, "GroupControllerGetCapabilities", csi.GroupControllerServiceCapability.RPC.Type)


async def _told(client: CsiClient, rpc: str, types: Any) -> frozenset[str]:
    """Return what a service offers; a driver's node part may tell of one that is elsewhere."""
    try:
        answer = await client.call(rpc, timeout=10)
    except CsiError as error:
        if error.code == "UNIMPLEMENTED":
            return frozenset()
        raise
    return frozenset(types.Name(c.rpc.type) for c in answer.capabilities if c.rpc.type in types.values())
