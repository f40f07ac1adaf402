"""The metal backend as the cloud port sees it."""

from __future__ import annotations

from moorings_core.ports.client import Client
from moorings_core.ports.cloud import CloudBackend, CloudController
from moorings_core.ports.cluster import ClusterConfig
from moorings_core.ports.node import NodeComponent, NodeContext

from .controller import MetalController
from .pools import parse_pools
from .speaker import Speaker


class MetalCloud:
    """Machines without a cloud: there are addresses to hand out, and nothing else."""

    instances = None
    routes = None
    load_balancers = None
    disks = None

    def node_component(self, context: NodeContext) -> NodeComponent | None:
        """Return what answers ARP on this node."""
        return Speaker(context)

    def controller(self, client: Client, config: ClusterConfig) -> CloudController | None:
        """Return what gives Services their addresses. Raises PoolError."""
        return MetalController(client, parse_pools(config.cloud.parameters))


backend: CloudBackend = MetalCloud()
