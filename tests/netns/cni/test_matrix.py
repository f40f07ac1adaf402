"""Who reaches whom, by both transports: the same matrix, with real packets."""

import errno
import socket

import pytest
from cni_support import until
from tests.traffic import Echo, ask_tcp, ask_udp

from moorings_core.client.resources import NODES
from moorings_core.kernel.namespaces import call_in
from moorings_core.ports.network import VTEP_MAC

pytestmark = pytest.mark.netns


@pytest.mark.parametrize("backend", ["vxlan", "routed"])
def test_everybody_reaches_everybody(fabric, backend):
    net = fabric(backend=backend)
    one, two = net.nodes
    a, b, c = one.pod().add(), one.pod().add(), two.pod().add()
    mtu = 1450  # the smallest of the transports that the cluster may swap to
    servers = [Echo(b.path), Echo(c.path), Echo(net.outside), Echo(one.path), Echo(two.path)]
    try:
        for target in (b, c):
            assert ask_tcp(a.path, target.ip, size=1 << 20) == a.ip, "pod to pod, 1 MB, not masqueraded"
            assert ask_udp(a.path, target.ip) == a.ip
            assert ask_udp(a.path, target.ip, size=mtu - 28, df=True) == a.ip, "a packet of exactly the MTU"
            with pytest.raises(OSError) as raised:
                ask_udp(a.path, target.ip, size=mtu - 27, df=True)
            assert raised.value.errno == errno.EMSGSIZE
        for address in (one.address, two.address):
            assert ask_tcp(a.path, address) == a.ip, "pod to node, own and other, not masqueraded"
            assert ask_udp(a.path, address) == a.ip
        assert ask_tcp(one.path, c.ip) == one.address, "node to a pod of another node"
        assert ask_udp(two.path, c.ip, size=1400), "node to own pod"
        assert ask_tcp(a.path, "192.168.77.200", size=1 << 20) == one.address, "pod to outside is masqueraded"
        assert ask_udp(c.path, "192.168.77.200") == two.address
    finally:
        for server in servers:
            server.close()


def test_dual_stack(fabric):
    net = fabric(six=True)
    one, two = net.nodes
    a, b = one.pod().add(), two.pod().add()
    six = [ip["address"].split("/")[0] for ip in b.result["ips"]][1]
    mine = [ip["address"].split("/")[0] for ip in a.result["ips"]][1]
    server = Echo(b.path, family=socket.AF_INET6)
    try:
        assert ask_tcp(a.path, six, size=1 << 20) == mine
        assert ask_udp(a.path, six) == mine
    finally:
        server.close()


def test_the_checksums_inside_the_tunnel_are_valid_on_the_wire(fabric):
    """What a driver is left to fill in is wrong on the wire with many of them: pings pass, TCP does not."""
    from scapy.layers.inet import IP, TCP, UDP
    from scapy.layers.l2 import Ether
    from scapy.layers.vxlan import VXLAN

    net = fabric()
    one, two = net.nodes
    a, b = one.pod().add(), two.pod().add()
    wire = call_in(two.path, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)))
    wire.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)
    wire.bind(("eth0", 0))
    wire.setblocking(False)
    server = Echo(b.path)
    try:
        assert ask_tcp(a.path, b.ip, size=100_000) == a.ip and ask_udp(a.path, b.ip) == a.ip
    finally:
        server.close()
    frames = []
    while True:
        try:
            frames.append(Ether(wire.recv(1 << 17)))
        except BlockingIOError:
            break
    wire.close()
    inner = [VXLAN(bytes(f[UDP].payload))[IP] for f in frames if UDP in f and f[UDP].dport == 8472]
    kinds = {kind: [packet for packet in inner if kind in packet] for kind in (TCP, UDP)}
    assert len(kinds[TCP]) > 100 and kinds[UDP], "in packets that fit the wire"
    for kind, packets in kinds.items():
        for packet in packets:
            said = (packet.chksum, packet[kind].chksum)
            del packet.chksum, packet[kind].chksum
            fresh = IP(bytes(packet))
            assert said == (fresh.chksum, fresh[kind].chksum)


def test_a_tunnel_end_that_gets_another_mac_is_reached_again(fabric):
    net = fabric()
    one, two = net.nodes
    a, b = one.pod().add(), two.pod().add()
    server = Echo(b.path)

    def reached() -> bool:
        try:
            return ask_udp(a.path, b.ip, timeout=0.2) == a.ip
        except (OSError, AssertionError):
            return False

    try:
        node = net.client.read(NODES, "node2")
        metadata = node["metadata"] | {"annotations": node["metadata"]["annotations"] | {VTEP_MAC: "02:00:00:00:77:02"}}
        net.client.put(NODES, node | {"metadata": metadata})
        until(lambda: "02:00:00:00:77:02" in two.sh("ip", "link"), what="the node takes it")
        until(lambda: "02:00:00:00:77:02" in one.sh("bridge", "fdb", "show", "dev", "moorings.vx"), what="the peer learns it")
        until(reached, what="traffic")
        assert one.sh("bridge", "fdb", "show", "dev", "moorings.vx").count("dst") == 1, "the old entry is gone"
    finally:
        server.close()


def test_an_address_that_no_pod_has_is_refused_at_once(fabric):
    net = fabric()
    pod = net.nodes[0].pod().add()
    with pytest.raises(OSError) as raised:
        ask_tcp(pod.path, "10.64.1.77")
    assert raised.value.errno == errno.EHOSTUNREACH


def test_host_ports_lead_to_the_pod_and_back_to_itself(fabric):
    net = fabric()
    one, two = net.nodes
    ports = {"portMappings": [{"hostPort": 8080, "containerPort": 7777, "protocol": p} for p in ("tcp", "udp")]}
    pod = one.pod().add(runtimeConfig=ports)
    server = Echo(pod.path)
    try:
        assert ask_tcp(net.outside, one.address, 8080) == "192.168.77.200"
        assert ask_udp(two.path, one.address, 8080) == two.address
        assert ask_tcp(one.path, one.address, 8080)
        assert ask_tcp(pod.path, one.address, 8080) == one.address, "hairpin"
        other = one.pod()
        code, answer = other.cni("ADD", runtimeConfig=ports)
        assert code == 1 and "taken" in answer["msg"]
        assert ask_tcp(net.outside, one.address, 8080), "the failed one has taken nothing away"
        assert pod.cni("DEL", runtimeConfig=ports)[0] == 0
        with pytest.raises(OSError):
            ask_tcp(net.outside, one.address, 8080)
    finally:
        server.close()


def test_one_host_port_of_two_host_addresses_leads_to_two_pods_that_of_loopback_on_the_node_alone(fabric):
    net = fabric(nodes=1)
    node = net.nodes[0]
    pods = {}
    for address in ("127.0.0.1", node.address):
        ports = [{"HostPort": 8080, "ContainerPort": 7777, "Protocol": "tcp", "HostIP": address}]  # as containerd spells it
        pods[address] = node.pod().add(runtimeConfig={"portMappings": ports})
    servers = [Echo(pod.path, name=address) for address, pod in pods.items()]

    def ask(where: str, target: str) -> str:
        def work() -> str:
            source = None if where == net.outside else (node.address, 0)
            with socket.create_connection((target, 8080), timeout=3, source_address=source) as sock:
                return sock.recv(100).decode().strip().partition("/")[2]

        return call_in(where, work)

    try:
        assert ask(node.path, "127.0.0.1") == "127.0.0.1" and ask(node.path, node.address) == node.address
        assert ask(net.outside, node.address) == node.address
    finally:
        for server in servers:
            server.close()


def test_a_udp_client_that_keeps_its_port_follows_the_host_port_to_the_next_pod(fabric):
    net = fabric(nodes=1)
    node = net.nodes[0]
    ports = {"portMappings": [{"hostPort": 5353, "containerPort": 7777, "protocol": "udp"}]}
    sock = call_in(net.outside, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.settimeout(0.2)

    def answered() -> bool:
        sock.sendto(b"hello", (node.address, 5353))
        try:
            return sock.recv(100) == b"192.168.77.200 hello"
        except (TimeoutError, ConnectionRefusedError):
            return False

    assert not answered(), "nobody is there yet, and the kernel remembers the flow"
    for _ in range(3):
        pod = node.pod().add(runtimeConfig=ports)
        server = Echo(pod.path)
        try:
            assert answered()
        finally:
            server.close()
        assert pod.cni("DEL")[0] == 0
        assert not answered()
    sock.close()
