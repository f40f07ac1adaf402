"""The node's network against the real API: the annotations, the selectors and the versions that the exchange relies on."""

import asyncio

import pytest
from cni_support import Fabric

from moorings_core.agent.network import NetworkExchange
from moorings_core.api.server import ApiServer, ServerOptions
from moorings_core.client.resources import CONFIG_MAPS, NODES
from moorings_core.kernel.namespaces import call_in
from moorings_core.pki.tokens import TokenSigner
from moorings_core.ports.cluster import ClusterConfig
from moorings_core.ports.node import NodeContext
from moorings_core.store.memory import MemoryStore

pytestmark = pytest.mark.netns


async def told(client, **wanted):
    async with asyncio.timeout(20):
        while True:
            annotations = (await client.get(NODES, "node1"))["metadata"].get("annotations") or {}
            if {k.removeprefix("moorings.dev/network-"): v for k, v in annotations.items() if "network" in k} == wanted:
                return
            await asyncio.sleep(0.02)


async def swap_there_and_back(node):
    signer = TokenSigner.load_or_create(node.root.parent / "sa.key", "https://issuer")
    options = ServerOptions(ClusterConfig(), "network: {backend: vxlan}\n", signer, "127.0.0.1")
    server = ApiServer(options, MemoryStore())
    await server.start("127.0.0.1", 0)
    client = server.client("admin")
    await client.create(NODES, {"metadata": {"name": "node1"}, "spec": {"podCIDR": "10.64.1.0/24", "podCIDRs": ["10.64.1.0/24"]}})
    status = {"addresses": [{"type": "InternalIP", "address": node.address}], "conditions": [{"type": "Ready", "status": "True"}]}
    await client.patch(NODES, "node1", "", {"status": status}, subresource="status")
    exchange = NetworkExchange(NodeContext("node1", (node.address,), client, ClusterConfig(), node.root, node.run_dir))
    running = asyncio.create_task(exchange.run())
    try:
        await told(client, accepts="vxlan", sends="vxlan")
        for backend in ("routed", "vxlan"):
            text = f"network: {{backend: {backend}}}\n"
            await client.patch(CONFIG_MAPS, "moorings", "kube-system", {"data": {"cluster.yaml": text}})
            await told(client, accepts=backend, sends=backend)
        await client.patch(CONFIG_MAPS, "moorings", "kube-system", {"data": {"cluster.yaml": "network: {backend: none-such}"}})
        async with asyncio.timeout(20):
            while "moorings.dev/network-error" not in (await client.get(NODES, "node1"))["metadata"]["annotations"]:
                await asyncio.sleep(0.02)
        await client.patch(CONFIG_MAPS, "moorings", "kube-system", {"data": {"cluster.yaml": text}})
        await told(client, accepts="vxlan", sends="vxlan")
        async with asyncio.timeout(20):
            while not node.conflist.exists():
                await asyncio.sleep(0.02)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await server.close()


def test_a_swap_by_the_clusters_own_config_map(fabric):
    net: Fabric = fabric(nodes=1, start=False)
    node = net.nodes[0]
    call_in(node.path, lambda: asyncio.run(swap_there_and_back(node)))
    assert "moorings.vx" in node.sh("ip", "link")
