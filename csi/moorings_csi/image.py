"""The backend `image`: a driver over one ImagePool, as a component of the agent or alone (`moorings csi`).

Parameters of the cluster file: fsType (ext4, xfs, btrfs), thin (true or false), capacity (bytes that all volumes may take),
root (directory of the pool; default: below the node's own root).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from moorings_core.ports.node import NodeContext
from moorings_core.protos import csi_pb2 as csi
from moorings_core.protos.services import CONTROLLER, IDENTITY, NODE, REGISTRATION

from .controller import Controller
from .identity import Identity
from .image_pool import ImagePool
from .locks import Locks
from .node import Node
from .registration import Registration
from .server import STOP_GRACE, serve

DRIVER = "image.csi.moorings.dev"
TOPOLOGY_KEY = "topology.image.csi.moorings.dev/node"


@dataclass(frozen=True, slots=True)
class DriverOptions:
    """Where a driver keeps its pool and its sockets; registry None: nobody is told of it."""

    node: str
    root: Path
    socket: Path
    registry: Path | None
    parameters: Mapping[str, Any]


class ImageDriver:
    """The driver as a NodeComponent."""

    def __init__(self, options: DriverOptions) -> None:
        self._options = options

    async def run(self) -> None:
        """Open the pool, recover, serve until cancelled. Raises StorageError where the pool cannot work on this machine."""
        options = self._options
        pool = await asyncio.to_thread(_open_pool, options)
        try:
            features = await asyncio.to_thread(pool.probe)
            await asyncio.to_thread(pool.recover)
            topology, locks = csi.Topology(segments={TOPOLOGY_KEY: options.node}), Locks()
            identity = (IDENTITY, Identity(DRIVER, version("moorings")))
            controller = (CONTROLLER, Controller(pool, features, locks, topology))
            node = (NODE, Node(pool, features, locks, options.node, topology))
            servers = [await serve(options.socket, [identity, controller, node])]
            if options.registry is not None:
                registration = (REGISTRATION, Registration(DRIVER, options.socket))
                servers.append(await serve(options.registry / f"{DRIVER}-reg.sock", [registration]))
            try:
                await asyncio.Event().wait()
            finally:
                for server in reversed(servers):
                    await server.stop(STOP_GRACE)
        finally:
            pool.close()


def component(context: NodeContext, parameters: Mapping[str, Any]) -> ImageDriver:
    """Return the driver of a node."""
    root = Path(parameters.get("root") or context.root / "volumes" / "image")
    socket = context.root / "plugins" / DRIVER / "csi.sock"
    return ImageDriver(DriverOptions(context.name, root, socket, context.root / "plugins_registry", parameters))


def _open_pool(options: DriverOptions) -> ImagePool:
    given = options.parameters
    return ImagePool(
        options.root,
        fs_type=str(given.get("fsType", "")),
        thin=bool(given.get("thin", False)),
        capacity=int(given.get("capacity", 0)),
    )
