"""What toy proxies fail: cases of facts that every backend must get right, with real traffic. The rest of them is in test_proxy."""

import asyncio
import dataclasses
import itertools
import socket
import struct
import threading
from collections import Counter

import pytest

from moorings_core.kernel.conntrack import Conntrack
from moorings_core.ports.objects import Key
from moorings_core.ports.proxy import Endpoint, Proxy, ServiceEntry, ServicePort

pytestmark = pytest.mark.netns
WEB, OTHER, VIP, VIP6, LB, LB6 = Key("default", "web"), Key("default", "other"), "10.96.0.20", "fd96::20", "172.30.9.9", "fd39::9"
WORLD, NODE, NODE6 = "172.30.0.1", "172.30.0.2", "fd30::2"
SCTP = 132


def port(
    *addresses: str, protocol: str = "TCP", number: int = 80, target: int = 8080, node_port: int = 0, local: bool = True
) -> ServicePort:
    endpoints = tuple(Endpoint(a, target, local) for a in addresses)
    return ServicePort(protocol, 80, node_port, endpoints, endpoints if local else ())


async def off(function, *args, **kwargs):
    return await asyncio.to_thread(function, *args, **kwargs)


async def test_one_address_and_port_lead_elsewhere_by_another_protocol(lab, pods, proxy: Proxy) -> None:
    (_, a, a6), (_, b, b6), _ = pods
    await proxy.sync({WEB: ServiceEntry((port(a, a6), port(b, b6, protocol="UDP")), (VIP, VIP6))})
    for vip in (VIP, VIP6):
        assert await off(lab.spread, lambda vip=vip: lab.tcp("p3", vip, 80), 6) == {"p1": 6}
        assert await off(lab.spread, lambda vip=vip: lab.udp("p3", vip, 80), 6) == {"p2": 6}


async def test_a_node_reaches_itself_through_a_service_of_host_network_endpoints(lab, pods, proxy: Proxy) -> None:
    lab.serve("node", 8081)
    made = ServiceEntry((port(NODE, NODE6, target=8081, node_port=30080),), (VIP, VIP6))
    await proxy.sync({WEB: made})
    for where, address, number in (
        ("node", VIP, 80),
        ("node", VIP6, 80),
        ("p3", VIP, 80),
        ("p3", VIP6, 80),
        ("node", NODE, 30080),
        ("world", NODE, 30080),
        ("p3", NODE, 30080),
    ):
        assert (await off(lab.tcp, where, address, number)).startswith("node "), (where, address)
    with pytest.raises(ConnectionRefusedError):
        await off(lab.tcp, "node", "127.0.0.1", 30080)


async def test_source_ranges_of_both_families_overlap_and_may_leave_the_node_out(lab, pods, proxy: Proxy) -> None:
    (_, a, a6), *_ = pods
    open_ = ServiceEntry((port(a, a6, node_port=30080),), (VIP, VIP6), load_balancer_ips=(LB, LB6))

    async def answered(*ranges: str) -> set[tuple[str, str]]:
        await proxy.change({WEB: dataclasses.replace(open_, source_ranges=ranges)})
        found = set()
        for where, address in itertools.product(("world", "p3", "node"), (LB, LB6)):
            try:
                await off(lab.tcp, where, address, 80, timeout=0.3)
                found.add((where, address))
            except TimeoutError:
                pass
        return found

    await proxy.sync({WEB: open_})
    everybody = set(itertools.product(("world", "p3", "node"), (LB, LB6)))
    assert await answered("172.30.0.1/32", "172.30.0.0/30", "172.30.0.0/31") == everybody - {("p3", LB)}
    assert await answered("172.30.0.1/32", "fd64::/64") == {("world", LB), ("p3", LB6)}
    assert await answered("10.64.0.0/16", "10.0.0.0/8") == everybody - {("world", LB), ("node", LB)}
    assert (await off(lab.tcp, "world", NODE, 30080)).startswith("p1 ")


async def test_a_service_gets_and_loses_its_second_family_under_traffic(lab, pods, proxy: Proxy) -> None:
    (_, a, a6), *_ = pods
    four = ServiceEntry((port(a, a6),), (VIP,))
    both = dataclasses.replace(four, cluster_ips=(VIP, VIP6))
    await proxy.sync({WEB: four})
    stream = await off(lab.connect, "p3", VIP, 80)
    stream.recv(100)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await off(lab.tcp, "p3", VIP6, 80, timeout=0.3)
        await proxy.change({WEB: both})
        assert (await off(lab.tcp, "p3", VIP6, 80)).startswith("p1 ")
        six = await off(lab.connect, "p3", VIP6, 80)
        six.recv(100)
        await proxy.change({WEB: four})
        assert (await off(lab.tcp, "p3", VIP, 80)).startswith("p1 ")
        six.sendall(b"still there")
        assert six.recv(100) == b"still there"
        six.close()
    stream.sendall(b"still there")
    assert stream.recv(100) == b"still there"
    stream.close()


def packet(source: int, destination: int, chunk: int) -> bytes:
    """Return an SCTP packet with one chunk: INIT (1) or INIT ACK (2)."""
    body = struct.pack(">BBHIIHHI", chunk, 0, 20, 1, 65535, 1, 1, 1)
    head = struct.pack(">HHI", source, destination, 0 if chunk == 1 else 1)
    checksum = 0xFFFFFFFF
    for byte in head + bytes(4) + body:
        checksum ^= byte
        for _ in range(8):
            checksum = checksum >> 1 ^ (0x82F63B78 if checksum & 1 else 0)
    return head + struct.pack("<I", checksum ^ 0xFFFFFFFF) + body


def ports_of(data: bytes) -> tuple[int, ...]:
    return struct.unpack_from(">HH", data, (data[0] & 15) * 4)


async def test_sctp_is_served_refused_and_dropped_as_other_protocols_are(lab, pods, proxy: Proxy, backend: str) -> None:
    """By packets of our own: not every kernel has the protocol, but all track it."""
    (_, a, _), (_, b, _), _ = pods
    made = ServiceEntry((port(a, protocol="SCTP"),), (VIP,))
    await proxy.sync({WEB: made})

    def begin(vip: str, number: int) -> socket.socket:
        sock = lab.socket_of("p3", socket.AF_INET, socket.SOCK_RAW, SCTP)
        sock.settimeout(2)
        sock.connect((vip, 0))
        sock.send(packet(5000, number, 1))
        return sock

    def heard(where: str, address: str) -> tuple[int, ...]:
        """Return the ports of the packet that a pod gets, and answer it."""
        with lab.socket_of(where, socket.AF_INET, socket.SOCK_RAW, SCTP) as server, begin(VIP, 80) as client:
            server.settimeout(2)
            data, peer = server.recvfrom(2048)
            there = ports_of(data)
            server.sendto(packet(there[1], there[0], 2), (peer[0], 0))
            assert ports_of(client.recv(2048)) == (80, 5000)
            return there

    assert await off(heard, "p1", a) == (5000, 8080)
    new = dataclasses.replace(made, ports=(port(b, protocol="SCTP"),))
    await proxy.change({WEB: new})
    assert await proxy.flush_conntrack({WEB: new}) == 1 or backend == "ipvs"  # where the kernel forgets flows with the server
    assert await off(heard, "p2", b) == (5000, 8080)
    with await off(begin, VIP, 81) as sock, pytest.raises(ConnectionRefusedError):
        await off(sock.recv, 100)
    with await off(begin, "10.96.0.77", 80) as sock, pytest.raises(TimeoutError):
        sock.settimeout(0.3)
        await off(sock.recv, 100)


async def test_every_endpoint_gets_its_share_also_while_they_change(lab, pods, proxy: Proxy, backend: str) -> None:
    """Chi-square: 40 + 6 standard deviations above its mean is exceeded once in about 10**9 runs for these degrees of freedom."""
    lab.ip("node", "route replace 10.65.0.0/16 via 10.64.0.2 dev p1 onlink")
    sources = itertools.count(10_000)
    await proxy.sync({})

    def send(vip: str, number: int) -> Counter[str]:
        """Send datagrams of as many flows, and return where each went."""
        first = next(sources)
        for _ in range(number):
            with lab.socket("p3", vip, socket.SOCK_DGRAM) as sock:
                sock.bind(("", next(sources)))
                sock.sendto(b"?", (vip, 80))
        conntrack = Conntrack(lab.node)
        flows = conntrack.flows(socket.AF_INET, 17)
        conntrack.close()
        return Counter(f.reply.source for f in flows if f.original.source_port > first and f.reply.source_port == 8080)

    slow = backend == "ipvs"  # it runs in a machine in software
    for count in (1, 2, 3, 7, *(() if slow else (100, 1000))):
        addresses = [f"10.65.{n >> 8}.{n & 255}" for n in range(count + 1)]
        vip, total, seen = f"10.96.1.{count % 251}", 100 if slow else max(400, 8 * count), Counter[str]()
        for step in range(4):  # one goes, another comes: the others keep their share
            chosen = addresses[:count] if step % 2 or count == 1 else addresses[1:]
            await proxy.change({WEB: ServiceEntry((port(*chosen, protocol="UDP", local=False),), (vip,))})
            seen += await off(send, vip, total // 4)
        middle = addresses[1:count] or addresses[:1]
        assert sum(seen.values()) == total
        expected = total / count
        statistic = sum((seen[a] - expected) ** 2 / expected for a in middle)
        assert statistic < len(middle) + 40 + 6 * (2 * len(middle)) ** 0.5, (count, seen)


async def test_no_connection_is_lost_while_endpoints_come_and_go(lab, pods, proxy: Proxy, backend: str) -> None:
    """Random changes as fast as they go, new connections all the time, and one old one that outlives them all."""
    (_, a, _), (_, b, _), _ = pods
    every = [Endpoint(x, 8080, True) for x in (a, b)] + [Endpoint(a, 8082, True), Endpoint(b, 8082, True)]
    for name in ("p1", "p2"):
        lab.serve(name, 8082)

    def of(mask: int) -> ServiceEntry:
        some = tuple(e for n, e in enumerate(every) if mask >> n & 1)
        return ServiceEntry((ServicePort("TCP", 80, 0, some, some),), (VIP,))

    await proxy.sync({WEB: of(15)})
    old = await off(lab.connect, "p3", VIP, 80)
    old.recv(100)
    stop, lost, done = threading.Event(), [], []

    def ask() -> None:
        while not stop.is_set():
            try:
                done.append(lab.tcp("p3", VIP, 80, timeout=5))
            except OSError as error:
                lost.append(error)

    clients = [threading.Thread(target=ask) for _ in range(2)]
    for client in clients:
        client.start()
    mask = 15
    for number in range({"ipvs": 25}.get(backend, 10_000)):
        mask = mask * 5 + number & 15 or 1 + number % 15
        await proxy.change({WEB: of(mask)})
        await asyncio.sleep(0)
    old.sendall(b"still there")
    assert await off(old.recv, 100) == b"still there"
    stop.set()
    for client in clients:
        await off(client.join, 10)
    old.close()
    assert len(done) > 20 and not lost
    assert await proxy.verify() == 0
