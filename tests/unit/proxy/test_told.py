"""What the follower tells others by changes alone: kube-proxy's metrics, and the health of load balanced Services."""

import asyncio
import dataclasses
import socket

import pytest

from moorings_core.ports.objects import Key
from moorings_core.ports.proxy import Endpoint, ServiceEntry, ServicePort
from moorings_proxy.alone.metrics import Metrics
from moorings_proxy.health import HealthServers

WEB, OTHER = Key("d", "web"), Key("d", "other")
AWAY = (Endpoint("10.64.1.1", 80), Endpoint("fd64::1", 80))
HERE = (Endpoint("10.64.0.1", 80, True),)
LONELY = ServiceEntry((ServicePort("TCP", 80, 30080, AWAY),), ("10.96.0.1", "fd96::1"), internal_local=True, external_local=True)


def lonely(metrics: Metrics) -> dict[tuple[str, str], float]:
    name = "kubeproxy_sync_proxy_rules_no_local_endpoints_total"
    every = [(policy, family) for policy in ("internal", "external") for family in ("IPv4", "IPv6")]
    return {(p, f): metrics.registry.get_sample_value(name, {"traffic_policy": p, "ip_family": f}) for p, f in every}


def test_ports_without_an_endpoint_here_are_counted_by_changes_as_by_the_whole() -> None:
    metrics = Metrics()

    def synced(delta, *, full: bool = False) -> dict[tuple[str, str], float]:
        metrics.synced(0.1, full=full, delta=delta, changes=())
        return lonely(metrics)

    nothing = dict.fromkeys(lonely(metrics), 0)
    assert synced({WEB: LONELY}, full=True) == dict.fromkeys(nothing, 1)
    inside = dataclasses.replace(LONELY, external_local=False, cluster_ips=("10.96.0.2",))
    assert synced({OTHER: inside}) == dict.fromkeys(nothing, 1) | {("internal", "IPv4"): 2}
    served = dataclasses.replace(LONELY, ports=(ServicePort("TCP", 80, 30080, AWAY, HERE),))
    assert synced({WEB: served, OTHER: None}) == nothing | {("internal", "IPv6"): 1, ("external", "IPv6"): 1}
    assert synced({}) == nothing | {("internal", "IPv6"): 1, ("external", "IPv6"): 1}
    assert synced({OTHER: inside}, full=True) == nothing | {("internal", "IPv4"): 1}


async def test_health_ports_come_change_and_go_with_changes() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    servers = HealthServers(["127.0.0.1"])

    async def ask() -> tuple[str, str]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        writer.close()
        return head.split(" ", 2)[1], body

    entry = dataclasses.replace(LONELY, health_port=port, local_ready=2)
    try:
        await servers.serve({WEB: entry, OTHER: LONELY})
        assert await ask() == ("200", '{"service": {"namespace": "d", "name": "web"}, "localEndpoints": 2}')
        await servers.serve({OTHER: None})
        await servers.serve({WEB: dataclasses.replace(entry, local_ready=0)})
        assert (await ask())[0] == "503"
        await servers.serve({WEB: None})
        with pytest.raises(ConnectionRefusedError):
            await ask()
    finally:
        await servers.close()
