"""What every proxy backend does with real traffic. See ports/proxy.py."""

import asyncio
import dataclasses
import errno

import pytest

from moorings_core.ports.objects import Key
from moorings_core.ports.proxy import Endpoint, Proxy, ServiceEntry, ServicePort

pytestmark = pytest.mark.netns
WEB, VIP, VIP6, LB = Key("default", "web"), "10.96.0.20", "fd96::20", "172.30.9.9"
WORLD, NODE = "172.30.0.1", "172.30.0.2"


def entry(*addresses: str, protocols: tuple[str, ...] = ("TCP", "UDP"), local: bool = True, **more) -> ServiceEntry:
    endpoints = tuple(Endpoint(a, 8080, local) for a in addresses)
    ports = tuple(ServicePort(p, 80, 30080, endpoints, endpoints if local else ()) for p in protocols)
    return ServiceEntry(ports, cluster_ips=(VIP, VIP6), **more)


async def off(function, *args, **kwargs):
    return await asyncio.to_thread(function, *args, **kwargs)


async def test_cluster_ip_leads_to_every_endpoint_by_tcp_and_udp_and_keeps_a_pods_address(lab, pods, proxy: Proxy) -> None:
    (_, a, a6), (_, b, b6), (_, c, c6) = pods
    await proxy.sync({WEB: entry(a, b, a6, b6)})
    for vip, source in ((VIP, c), (VIP6, c6)):
        for ask in (lab.tcp, lab.udp):
            seen = {await off(ask, "p3", vip, 80) for _ in range(30)}
            assert seen == {f"p1 {source}", f"p2 {source}"}
    assert (await off(lab.tcp, "node", VIP, 80)).split()[0] in ("p1", "p2")
    assert (await off(lab.udp, "node", VIP6, 80)).split()[0] in ("p1", "p2")


async def test_a_pod_reaches_itself_through_its_service(lab, pods, proxy: Proxy) -> None:
    (_, a, a6), *_ = pods
    await proxy.sync({WEB: entry(a, a6)})
    for vip in (VIP, VIP6):
        for ask in (lab.tcp, lab.udp):
            for _ in range(5):
                assert (await off(ask, "p1", vip, 80)).startswith("p1 ")


async def test_choice_is_even(lab, pods, proxy: Proxy) -> None:
    (_, a, _), (_, b, _), _ = pods
    await proxy.sync({WEB: entry(a, b)})
    seen = await off(lab.spread, lambda: lab.udp("p3", VIP, 80), 400)
    # Two-sided binomial bound: with p = 1/2 and 400 draws a share outside 140..260 has a probability below 1e-8.
    assert seen["p1"] + seen["p2"] == 400 and 140 < seen["p1"] < 260


async def test_node_port_external_ip_and_load_balancer_ip(lab, pods, proxy: Proxy) -> None:
    (_, a, a6), *_ = pods
    await proxy.sync({WEB: entry(a, a6, external_ips=("172.30.8.8",), load_balancer_ips=(LB,))})
    for address, port in ((NODE, 30080), ("fd30::2", 30080), ("172.30.8.8", 80), (LB, 80)):
        for ask in (lab.tcp, lab.udp):
            name, source = (await off(ask, "world", address, port)).split()
            assert name == "p1"
            assert source not in (WORLD, "fd30::1")  # policy Cluster: masqueraded
    assert (await off(lab.tcp, "p3", NODE, 30080)).startswith("p1 ")
    assert (await off(lab.tcp, "node", NODE, 30080)).startswith("p1 ")
    with pytest.raises(ConnectionRefusedError):
        await off(lab.tcp, "node", "127.0.0.1", 30080)


async def test_external_policy_local_keeps_the_source_and_drops_without_local_endpoint(lab, pods, proxy: Proxy) -> None:
    (_, a, _), *_ = pods
    await proxy.sync({WEB: entry(a, load_balancer_ips=(LB,), external_local=True)})
    assert await off(lab.tcp, "world", NODE, 30080) == f"p1 {WORLD}"
    assert await off(lab.udp, "world", LB, 80) == f"p1 {WORLD}"
    await proxy.change({WEB: entry(a, local=False, load_balancer_ips=(LB,), external_local=True)})
    for address, port in ((NODE, 30080), (LB, 80)):
        with pytest.raises(TimeoutError):
            await off(lab.tcp, "world", address, port, timeout=0.4)
        assert (await off(lab.tcp, "p3", address, port)).startswith("p1 ")  # the inside sees all endpoints
        assert (await off(lab.tcp, "node", address, port)).startswith("p1 ")


async def test_internal_policy_local(lab, pods, proxy: Proxy) -> None:
    (_, a, _), (_, b, _), _ = pods
    both = (Endpoint(a, 8080), Endpoint(b, 8080, True))
    local = ServiceEntry((ServicePort("TCP", 80, 0, both, both[1:]),), (VIP,), internal_local=True)
    await proxy.sync({WEB: local})
    assert await off(lab.spread, lambda: lab.tcp("p3", VIP, 80), 12) == {"p2": 12}
    await proxy.change({WEB: ServiceEntry((ServicePort("TCP", 80, 0, both, ()),), (VIP,), internal_local=True)})
    with pytest.raises(TimeoutError):
        await off(lab.tcp, "p3", VIP, 80, timeout=0.4)


@pytest.mark.parametrize("where", ["p3", "world", "node"])
async def test_no_endpoint_and_unknown_port_are_refused_at_once(lab, pods, proxy: Proxy, where: str) -> None:
    await proxy.sync({WEB: entry()})
    for vip in (VIP, VIP6):
        for port in (80, 81):
            with pytest.raises(ConnectionRefusedError):
                await off(lab.tcp, where, vip, port)
            # A datagram of the node itself fails in the send: the kernel reports a packet refused in the output hook as EPERM.
            with pytest.raises(PermissionError if where == "node" else ConnectionRefusedError):
                await off(lab.udp, where, vip, port)
    with pytest.raises(ConnectionRefusedError):
        await off(lab.tcp, where, NODE, 30080)


async def test_an_address_that_no_service_has_is_silent(lab, pods, proxy: Proxy) -> None:
    await proxy.sync({WEB: entry()})
    with pytest.raises(TimeoutError):
        await off(lab.tcp, "p3", "10.96.0.77", 80, timeout=0.4)


async def test_a_removed_endpoint_gets_no_new_connection_and_keeps_its_old_ones(lab, pods, proxy: Proxy) -> None:
    (_, a, _), (_, b, _), _ = pods
    await proxy.sync({WEB: entry(a, b)})
    streams = [await off(lab.connect, "p3", VIP, 80) for _ in range(12)]
    assert {s.recv(100).decode().split()[0] for s in streams} == {"p1", "p2"}
    await proxy.change({WEB: entry(b)})
    assert await off(lab.spread, lambda: lab.tcp("p3", VIP, 80), 12) == {"p2": 12}
    for stream in streams:
        stream.sendall(b"still there")
        assert stream.recv(100) == b"still there"
        stream.close()


async def test_a_udp_client_with_a_fixed_port_follows_its_service(lab, pods, proxy: Proxy, backend: str) -> None:
    (_, a, _), (_, b, _), _ = pods
    await proxy.sync({WEB: entry(a)})

    async def becomes(new: ServiceEntry | None) -> int:
        await proxy.change({WEB: new})
        return await proxy.flush_conntrack({WEB: new})

    for where, address, port in (("p3", VIP, 80), ("world", NODE, 30080)):
        # ipvs: the kernel forgets flows with the server; ebpf: a pod's flow is its socket, which is closed by then.
        fewest = 0 if backend == "ipvs" or (backend, where) == ("ebpf", "p3") else 1
        await becomes(entry(a))
        assert (await off(lab.udp, where, address, port, source=5555)).startswith("p1 ")
        assert await becomes(entry(b)) >= fewest
        assert (await off(lab.udp, where, address, port, source=5555)).startswith("p2 ")
        assert await becomes(entry()) >= fewest
        with pytest.raises(ConnectionRefusedError):
            await off(lab.udp, where, address, port, source=5555)
        assert await becomes(entry(a)) <= 1
        assert (await off(lab.udp, where, address, port, source=5555)).startswith("p1 ")
    assert await becomes(entry(a, b)) == 0  # nobody lost anything


async def test_a_flow_older_than_its_service(lab, pods, proxy: Proxy) -> None:
    (_, a, _), *_ = pods
    await proxy.sync({})
    with pytest.raises(OSError):
        await off(lab.udp, "p3", "172.30.8.8", 80, timeout=0.3, source=6666)
    new = entry(a, external_ips=("172.30.8.8",))
    await proxy.change({WEB: new})
    assert await proxy.flush_conntrack({WEB: new}) == 1
    assert (await off(lab.udp, "p3", "172.30.8.8", 80, source=6666)).startswith("p1 ")


async def test_a_client_sticks_to_its_endpoint_on_every_way_in_until_that_endpoint_goes(lab, pods, proxy: Proxy) -> None:
    (_, a, a6), (_, b, b6), _ = pods
    sticky = entry(a, b, a6, b6, affinity=60, load_balancer_ips=(LB,))
    await proxy.sync({WEB: sticky})
    for where, ways in (("p3", ((VIP, 80), (LB, 80), (NODE, 30080))), ("world", ((NODE, 30080), (LB, 80)))):
        seen = {(await off(lab.tcp, where, *way)).split()[0] for way in ways for _ in range(8)}
        assert len(seen) == 1
    (first,) = await off(lab.spread, lambda: lab.udp("p3", VIP6, 80), 12)
    mine = (await off(lab.tcp, "p3", VIP, 80)).split()[0]
    left = b if mine == "p1" else a
    left6 = b6 if first == "p1" else a6
    await proxy.change({WEB: dataclasses.replace(entry(left, left6), affinity=60)})
    other = {"p1": "p2", "p2": "p1"}
    assert await off(lab.spread, lambda: lab.tcp("p3", VIP, 80), 8) == {other[mine]: 8}
    assert await off(lab.spread, lambda: lab.udp("p3", VIP6, 80), 8) == {other[first]: 8}
    await proxy.change({WEB: entry(a, b)})
    assert len(await off(lab.spread, lambda: lab.tcp("p3", VIP, 80), 40)) == 2


async def test_a_client_is_freed_by_the_retry_when_the_look_for_it_failed(lab, pods, proxy: Proxy, monkeypatch) -> None:
    (_, a, _), (_, b, _), _ = pods
    await proxy.sync({WEB: entry(a, b, affinity=60)})
    mine = (await off(lab.tcp, "p3", VIP, 80)).split()[0]
    left = {WEB: dataclasses.replace(entry(b if mine == "p1" else a), affinity=60)}

    def torn(spec):
        raise OSError(errno.EINTR, "torn")

    with monkeypatch.context() as patched, pytest.raises(OSError):
        patched.setattr(proxy._connection, "dump", torn)
        await proxy.change(left)
    await proxy.change(left)
    assert (await off(lab.tcp, "p3", VIP, 80)).split()[0] != mine


async def test_affinity_expires(lab, pods, proxy: Proxy) -> None:
    (_, a, _), (_, b, _), _ = pods
    await proxy.sync({WEB: entry(a, b, affinity=1)})
    seen = set()
    async with asyncio.timeout(60):
        while len(seen) < 2:
            seen.add((await off(lab.tcp, "p3", VIP, 80)).split()[0])
            await asyncio.sleep(1.1)  # longer than the affinity: nothing else marks its end
    assert seen == {"p1", "p2"}


async def test_source_ranges_bind_the_load_balancer_address_only(lab, pods, proxy: Proxy) -> None:
    (_, a, _), *_ = pods
    await proxy.sync({WEB: entry(a, load_balancer_ips=(LB,), source_ranges=("10.0.0.0/8", "10.64.0.0/16"))})
    with pytest.raises(TimeoutError):
        await off(lab.tcp, "world", LB, 80, timeout=0.4)
    assert (await off(lab.tcp, "world", NODE, 30080)).startswith("p1 ")
    assert (await off(lab.tcp, "p3", LB, 80)).startswith("p1 ")
    await proxy.change({WEB: entry(a, load_balancer_ips=(LB,), source_ranges=("172.30.0.0/30",))})
    assert (await off(lab.tcp, "world", LB, 80)).startswith("p1 ")


async def test_services_share_an_external_address(lab, pods, proxy: Proxy) -> None:
    (_, a, _), (_, b, _), _ = pods
    shared = "172.30.8.8"

    def on(vip: str, port: int, pod: str) -> ServiceEntry:
        return ServiceEntry((ServicePort("TCP", port, 0, (Endpoint(pod, 8080),)),), (vip,), external_ips=(shared,))

    one, two, three = Key("a", "one"), Key("b", "two"), Key("c", "three")
    await proxy.sync({one: on("10.96.0.1", 80, a), two: on("10.96.0.2", 81, b), three: on("10.96.0.3", 80, b)})
    assert (await off(lab.tcp, "world", shared, 80)).startswith("p1 ")
    assert (await off(lab.tcp, "world", shared, 81)).startswith("p2 ")
    await proxy.change({one: None})
    assert (await off(lab.tcp, "world", shared, 80)).startswith("p2 ")


async def test_a_restart_loses_nothing(lab, pods, make) -> None:
    (_, a, _), (_, b, _), _ = pods
    first = make()
    await first.sync({WEB: entry(a, b), Key("x", "gone"): ServiceEntry((ServicePort("TCP", 9, 0, (Endpoint(a, 8080),)),), ("10.96.0.99",))})
    stream = await off(lab.connect, "p3", VIP, 80)
    stream.recv(100)
    await first.close()
    stop, lost, done = asyncio.Event(), [], []

    async def load() -> None:
        while not stop.is_set():
            try:
                done.append(await off(lab.tcp, "p3", VIP, 80))
            except OSError as error:
                lost.append(error)

    task = asyncio.create_task(load())
    second = make()
    await second.sync({WEB: entry(a, b)})
    await second.sync({WEB: entry(a, b)})
    stop.set()
    await task
    stream.sendall(b"still there")
    assert stream.recv(100) == b"still there"
    stream.close()
    assert done and not lost
    with pytest.raises(OSError):
        await off(lab.tcp, "p3", "10.96.0.99", 9, timeout=0.4)
    assert await second.verify() == 0
    await second.close()


@pytest.mark.parametrize("vandal", ["flush ruleset", "delete", "flush map", "rule", "element"])
async def test_a_foreign_change_is_noticed_and_repaired(lab, pods, proxy: Proxy, vandal: str) -> None:
    (_, a, a6), (_, b, b6), _ = pods
    await proxy.sync({WEB: entry(a, b, a6, b6, affinity=60)})
    assert await proxy.verify() == 0
    name = proxy.table
    texts = {
        "flush ruleset": "flush ruleset",
        "delete": f"delete table ip {name}",
        "flush map": f"flush map ip {name} svc; flush map ip {name} ep",
        "rule": f"flush chain ip {name} services; flush chain ip {name} lb-2",
        "element": f"delete element ip {name} svc {{ {VIP} . tcp . 80 }}; add element ip {name} vips {{ 1.2.3.4 }}",
    }
    noticed = asyncio.create_task(proxy.watch())
    while not noticed.done():  # our own first rules may have been noticed too
        await off(lab.run, "node", "nft", texts[vandal], check=False)
        await asyncio.wait([noticed], timeout=0.5)
    with pytest.raises(OSError):
        await off(lab.tcp, "p3", VIP, 80, timeout=0.4)
    assert await proxy.verify() > 0
    assert (await off(lab.tcp, "p3", VIP, 80)).split()[0] in ("p1", "p2")
    assert await proxy.verify() == 0


async def test_handover_leaves_nothing_behind_and_established_flows_going(lab, pods, proxy: Proxy) -> None:
    (_, a, _), *_ = pods
    await proxy.sync({WEB: entry(a)})
    stream = await off(lab.connect, "p3", VIP, 80)
    stream.recv(100)
    # The kernel tracks and translates only while somebody has nat chains and rules: here the new backend.
    hooks = ("prerouting", "output", "postrouting")
    chains = "; ".join(f"add chain ip new {h} {{ type nat hook {h} priority 0; }}" for h in hooks)
    await off(lab.run, "node", "nft", f"add table ip new; {chains}; add rule ip new prerouting ip daddr 192.0.2.1 dnat to 192.0.2.2")
    await proxy.handover()
    assert "moorings" not in await off(lab.run, "node", "nft", "list ruleset")
    stream.sendall(b"still there")
    assert stream.recv(100) == b"still there"
    stream.close()


async def test_it_gets_on_with_the_networks_own_masquerade(lab, pods, proxy: Proxy) -> None:
    """Pods leave the cluster under the node's address, and nothing of that touches what goes through a service."""
    (_, a, _), *_, (_, c, _) = pods
    rule = "ip saddr 10.64.0.0/16 ip daddr != 10.64.0.0/16 masquerade fully-random"
    chain = "add chain ip net postrouting { type nat hook postrouting priority srcnat; }"
    await off(lab.run, "node", "nft", f"add table ip net; {chain}; add rule ip net postrouting {rule}")
    lab.serve("world")
    await proxy.sync({WEB: entry(a, load_balancer_ips=(LB,), external_local=True)})
    assert await off(lab.tcp, "p3", VIP, 80) == f"p1 {c}"
    assert await off(lab.udp, "p3", VIP, 80) == f"p1 {c}"
    assert await off(lab.tcp, "world", LB, 80) == f"p1 {WORLD}"
    assert await off(lab.tcp, "p3", WORLD, 8080) == f"world {NODE}"
    assert (await off(lab.tcp, "p1", VIP, 80)).startswith("p1 ")
