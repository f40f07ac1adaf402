"""A node's network in a process of its own, to be killed: node_process.py NETNS-PATH ROOT RUN NAME ADDRESS CIDR."""

import asyncio
import sys
from pathlib import Path

from cni_support import MemoryClient

from moorings_core.agent.network import NetworkExchange
from moorings_core.client.resources import NODES
from moorings_core.kernel.namespaces import enter
from moorings_core.ports.cluster import ClusterConfig
from moorings_core.ports.node import NodeContext


def main(netns: str, root: str, run: str, name: str, address: str, cidr: str) -> None:
    enter(netns)
    client = MemoryClient()
    status = {"addresses": [{"type": "InternalIP", "address": address}], "conditions": [{"type": "Ready", "status": "True"}]}
    client.put(NODES, {"metadata": {"name": name}, "spec": {"podCIDRs": [cidr]}, "status": status})
    context = NodeContext(name, (address,), client, ClusterConfig(), Path(root), Path(run))  # type: ignore[arg-type]
    asyncio.run(NetworkExchange(context).run())


if __name__ == "__main__":
    main(*sys.argv[1:])
