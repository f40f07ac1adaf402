"""The node component: from API objects to traffic."""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from moorings_core.client.resources import ENDPOINT_SLICES, NODES, SERVICES
from moorings_core.ports.cluster import ClusterConfig, NetworkConfig, ServicesConfig
from moorings_core.ports.node import NodeContext
from moorings_proxy.follow import Follower
from moorings_proxy.nftables import NftablesProxy

pytestmark = pytest.mark.netns
CONFIG = ClusterConfig(network=NetworkConfig(pod_cidrs=("10.64.0.0/16",)), services=ServicesConfig(cidrs=("10.96.0.0/16",)))
VIP = "10.96.0.20"


def service(**spec) -> dict:
    ports = [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}]
    return {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"clusterIPs": [VIP], "clusterIP": VIP, "ports": ports, **spec},
    }


def piece(*addresses: str, node: str = "n1", **conditions) -> dict:
    endpoints = [{"addresses": [a], "conditions": conditions or {"ready": True}, "nodeName": node} for a in addresses]
    labels = {"kubernetes.io/service-name": "web"}
    ports = [{"name": "http", "port": 8080, "protocol": "TCP"}]
    metadata = {"name": "web-1", "namespace": "default", "labels": labels}
    return {"metadata": metadata, "addressType": "IPv4", "ports": ports, "endpoints": endpoints}


@contextlib.asynccontextmanager
async def following(client, lab) -> AsyncIterator[None]:
    context = NodeContext("n1", (), client, CONFIG, Path("/nowhere"), Path("/nowhere"))
    follower = Follower(context, lambda settings: NftablesProxy(replace(settings, netns=lab.node)))
    task = asyncio.create_task(follower.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def eventually(lab, wanted: str | type[OSError], where: str = "p2") -> None:
    """Connect until the answer is what is wanted; the test's own timeout bounds it."""
    while True:
        try:
            got: object = (await asyncio.to_thread(lab.tcp, where, VIP, 80, 0.5)).split()[0]
        except OSError as error:
            got = type(error)
        if got == wanted or (isinstance(wanted, type) and isinstance(got, type) and issubclass(got, wanted)):
            return
        await asyncio.sleep(0.02)


async def test_objects_become_traffic(lab, client) -> None:
    _, address, _ = lab.pod()
    lab.pod()
    lab.serve("p1")
    await client.create(SERVICES, service())
    async with following(client, lab):
        await eventually(lab, ConnectionRefusedError)
        await client.create(ENDPOINT_SLICES, piece(address))
        await eventually(lab, "p1")
        await client.update(ENDPOINT_SLICES, piece(address, ready=False, serving=False, terminating=True))
        await eventually(lab, ConnectionRefusedError)
        await client.update(ENDPOINT_SLICES, piece(address, ready=False, serving=True, terminating=True))
        await eventually(lab, "p1")
        await client.delete(SERVICES, "web", "default")
        await eventually(lab, TimeoutError)
        await client.create(SERVICES, service())
        await eventually(lab, "p1")


async def serve_one(lab, client) -> None:
    """Make a pod that serves, one that asks, and a Service with the first behind it."""
    _, address, _ = lab.pod()
    lab.pod()
    lab.serve("p1")
    await client.create(SERVICES, service())
    await client.create(ENDPOINT_SLICES, piece(address))


async def test_what_changed_while_it_was_away_is_taken_in(lab, client) -> None:
    await serve_one(lab, client)
    async with following(client, lab):
        await eventually(lab, "p1")
    await eventually(lab, "p1")  # nobody follows, the kernel serves
    await client.update(ENDPOINT_SLICES, piece())
    async with following(client, lab):
        await eventually(lab, ConnectionRefusedError)


async def test_a_foreign_flush_is_healed(lab, client) -> None:
    await serve_one(lab, client)
    async with following(client, lab):
        await eventually(lab, "p1")
        for _ in range(3):
            lab.run("node", "nft", "flush", "ruleset")
            async with asyncio.timeout(10):
                await eventually(lab, "p1")


async def test_changes_of_which_the_notices_were_lost_are_healed(lab, client) -> None:
    await serve_one(lab, client)
    async with following(client, lab):
        await eventually(lab, "p1")
        lines = ["add table ip noise", "add set ip noise s { type ipv4_addr; }"]
        lines += [f"add element ip noise s {{ {', '.join(f'10.{n}.{m}.{k}' for m in range(40) for k in range(250))} }}" for n in range(20)]
        lines += ["flush map ip moorings_proxy svc", "flush map ip moorings_proxy ep", "flush set ip moorings_proxy cluster_ips"]
        command = ["ip", "netns", "exec", f"{lab.prefix}-node", "nft", "-f", "-"]
        # In the way of the loop on purpose: nobody reads the notices, and the kernel drops those that do not fit.
        subprocess.run(command, input="\n".join(lines), text=True, check=True)
        await eventually(lab, "p1")


async def test_the_health_port_counts_local_ready_endpoints(lab, client) -> None:
    """The server is in the test's own namespace, on loopback."""
    context = NodeContext("n1", ("127.0.0.1",), client, CONFIG, Path("/nowhere"), Path("/nowhere"))
    probe = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port = probe.sockets[0].getsockname()[1]
    probe.close()
    await probe.wait_closed()
    await client.create(NODES, {"metadata": {"name": "n1"}})
    await client.create(SERVICES, service(type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=port))
    await client.create(ENDPOINT_SLICES, piece("10.64.0.9", node="n1"))
    follower = Follower(context, lambda settings: NftablesProxy(replace(settings, netns=lab.node)))
    task = asyncio.create_task(follower.run())

    async def status() -> str:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = (await reader.read()).decode()
            writer.close()
            await writer.wait_closed()
        except OSError:
            return ""
        return answer.split("\r\n")[0] + " " + answer.rsplit("\r\n", 1)[1]

    async def becomes(part: str, count: int) -> None:
        while not ((answer := await status()).startswith(f"HTTP/1.1 {part}") and f'"localEndpoints": {count}' in answer):
            await asyncio.sleep(0.02)

    try:
        await becomes("200", 1)
        await client.update(ENDPOINT_SLICES, piece("10.64.0.9", node="n1", ready=False, serving=True, terminating=True))
        await becomes("503", 0)
        await client.update(ENDPOINT_SLICES, piece("10.64.0.8", "10.64.0.9", node="n1"))
        await becomes("200", 2)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
