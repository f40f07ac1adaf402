"""The driver over one pool, as a component of the agent or alone (`moorings csi`).

Parameters, of the cluster file or of the command: fsType (ext4, xfs, btrfs), thin (true or false), capacity (bytes that all
volumes may take), root (directory of the pool; default: below the node's own root), poolSize (bytes: the pool's own file
system is made in a file), poolFsType (its type: xfs or btrfs), attachLimit (volumes a node takes),
ioCgroup (image only: the cgroup of the node's pods, below /sys/fs/cgroup, in which volumes' I/O is limited),
shared (hostpath only: root is a directory that all nodes mount, so that volumes are everywhere).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from moorings_core.kernel import io_limits
from moorings_core.log import get_logger
from moorings_core.ports.node import NodeContext
from moorings_core.protos import csi_pb2 as csi
from moorings_core.protos.services import CONTROLLER, GROUP_CONTROLLER, IDENTITY, NODE, REGISTRATION
from moorings_core.registry.quantity import to_int

from . import ground
from .btrfs_pool import BtrfsPool
from .controller import Place
from .errors import StorageError
from .hostpath_pool import HostPathPool
from .identity import Identity
from .image_pool import ImagePool
from .ledger import Ledger, Role
from .locks import Locks
from .node import Node
from .pool import Pool
from .registration import Registration
from .server import STOP_GRACE, Service, serve
from .snapshot_service import GroupController, SnapshottingController
from .snapshots import Snapshots
from .volumes import Volumes

log = get_logger(__name__)
POOLS = ("image", "btrfs", "hostpath")


@dataclass(frozen=True, slots=True)
class DriverOptions:
    """Where a driver keeps its pool and its sockets; registry None: nobody is told of it."""

    pool: str
    node: str
    root: Path
    socket: Path
    registry: Path | None = None
    role: Role = "both"
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The driver's name, as claims' classes and CSINode have it."""
        return f"{self.pool}.csi.moorings.dev"


class Driver:
    """The driver as a NodeComponent."""

    def __init__(self, options: DriverOptions) -> None:
        self._options = options

    async def run(self) -> None:
        """Open the pool, recover, serve until cancelled. Raises StorageError where the pool cannot work on this machine."""
        options = self._options
        ledger = await asyncio.to_thread(open_ledger, options)
        try:
            services = await asyncio.to_thread(_services, options, ledger)
            servers = [await serve(options.socket, services)]
            if options.registry is not None:
                registration = (REGISTRATION, Registration(options.name, options.socket))
                servers.append(await serve(options.registry / f"{options.name}-reg.sock", [registration]))
            log.info("driver serves", driver=options.name, role=options.role, socket=str(options.socket))
            try:
                await asyncio.Event().wait()
            finally:
                for server in reversed(servers):
                    await server.stop(STOP_GRACE)
        finally:
            ledger.close()


def component(pool: str, context: NodeContext, parameters: Mapping[str, Any]) -> Driver:
    """Return the driver of a node; a relative root is below the node's own."""
    root = context.root / str(parameters.get("root") or f"volumes/{pool}")
    socket = context.root / "plugins" / f"{pool}.csi.moorings.dev" / "csi.sock"
    registry = context.root / "plugins_registry"
    return Driver(DriverOptions(pool, context.name, root, socket, registry, parameters=parameters))


def open_ledger(options: DriverOptions) -> Ledger:
    """Open the pool and its journals. Raises StorageError where another driver has them, or the machine lacks what the pool needs."""
    given, root = options.parameters, options.root
    size = to_int(str(given.get("poolSize", 0)))
    if options.pool == "btrfs":
        ground.prepare(root, "btrfs", size)
    elif options.pool == "image" and given.get("poolFsType"):
        ground.prepare(root, str(given["poolFsType"]), size)
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    shared = is_shared(given)
    if shared and options.pool != "hostpath":
        raise StorageError(f"shared is for the pool hostpath: a {options.pool} volume has one kernel's file system on it")
    return Ledger(root, _pool(options), capacity=to_int(str(given.get("capacity", 0))), role=options.role, shared=shared)


def is_shared(parameters: Mapping[str, Any]) -> bool:
    """Whether every node sees the same directory."""
    return str(parameters.get("shared", False)).lower() == "true"


def _pool(options: DriverOptions) -> Pool:
    match options.pool:
        case "image":
            given = str(options.parameters.get("ioCgroup") or "").strip("/")
            return ImagePool(options.root, str(options.parameters.get("fsType", "")), io_limits.ROOT / given if given else None)
        case "btrfs":
            return BtrfsPool(options.root)
        case "hostpath":
            return HostPathPool(options.root)
    raise StorageError(f"no pool {options.pool!r}; known: {', '.join(POOLS)}")


def _services(options: DriverOptions, ledger: Ledger) -> list[Service]:
    """Probe, recover what the role owns, and return what the role serves."""
    given, role = options.parameters, options.role
    features = ledger.pool.probe()
    limit = int(given.get("attachLimit", 0))
    volumes = Volumes(ledger, features, thin=str(given.get("thin", False)).lower() == "true", attach_limit=limit)
    snapshots, locks = Snapshots(ledger), Locks()
    if role != "node":
        volumes.recover()
        snapshots.recover()
        volumes.put_strays_aside()
    segments = {} if is_shared(given) else {f"topology.{options.name}/node": options.node}
    topology = csi.Topology(segments=segments)
    place = Place(options.node, topology, features)
    identity = Identity(options.name, version("moorings"), role, features, ledger.pool.default_fs_type(), constrained=bool(segments))
    services: list[Service] = [(IDENTITY, identity)]
    if role != "node":
        services.append((CONTROLLER, SnapshottingController(volumes, snapshots, locks, place)))
        services += [(GROUP_CONTROLLER, GroupController(snapshots, locks))] if features.groups else []
    if role != "controller":
        services.append((NODE, Node(ledger, volumes, locks, place, limit)))
    return services
