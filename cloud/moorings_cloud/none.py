"""No cloud: Services of type LoadBalancer stay pending, nodes are what they say they are."""

from __future__ import annotations

from moorings_core.ports.client import Client
from moorings_core.ports.cloud import CloudBackend, CloudController
from moorings_core.ports.cluster import ClusterConfig
from moorings_core.ports.node import NodeComponent, NodeContext


class NoCloud:
    """A cloud that has nothing."""

    instances = None
    routes = None
    load_balancers = None
    disks = None

    def node_component(self, context: NodeContext) -> NodeComponent | None:
        """Return None: there is nothing to run on a node."""
        return None

    def controller(self, client: Client, config: ClusterConfig) -> CloudController | None:
        """Return None: there is nothing to control."""
        return None


backend: CloudBackend = NoCloud()
