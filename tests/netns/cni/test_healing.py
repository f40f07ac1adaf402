"""Whatever somebody does to the kernel's or the API's state between nodes is put right within seconds."""

import pytest
from cni_support import sh, until
from tests.traffic import Echo, ask_tcp, ask_udp

from moorings_core.client.resources import NODES
from moorings_core.kernel import sysctl
from moorings_core.kernel.ethtool import transmit_checksum
from moorings_core.kernel.namespaces import call_in

pytestmark = pytest.mark.netns


def reaches(pod, target):
    def works() -> bool:
        try:
            return ask_udp(pod.path, target.ip) == pod.ip
        except (OSError, AssertionError):
            return False

    return works


COMMON = [
    "ip route flush proto 77",
    "ip route replace 10.64.2.0/24 dev lo",
    "ip address del 192.168.77.1/24 dev eth0; ip address add 192.168.77.1/24 dev eth0",
    "ip link set eth0 down; ip link set eth0 up",
    "ip route add 10.64.9.0/24 dev lo proto 77",
    "nft flush ruleset",
]
DAMAGE = {
    "routed": COMMON,
    "vxlan": [
        *COMMON,
        "ip link del moorings.vx",
        "ip link set moorings.vx down",
        "ip link set moorings.vx address 02:02:02:02:02:02",
        "ip address flush dev moorings.vx",
        "ip neighbour flush dev moorings.vx nud permanent",
        "bridge fdb flush dev moorings.vx",
    ],
    "underlay": ["ip route flush proto 77", "ip neighbour flush proxy", "ip link set eth0 down; ip link set eth0 up"],
}


@pytest.mark.parametrize("backend", ["vxlan", "routed", "underlay"])
def test_damage_is_repaired(fabric, backend):
    net = fabric(backend=backend)
    one, two = net.nodes
    a, b = one.pod().add(), two.pod().add()
    server = Echo(b.path)
    good = one.sh("ip", "route")
    try:
        for damage in DAMAGE[backend]:
            for command in damage.split("; "):
                one.sh(*command.split())
            until(lambda: one.sh("ip", "route") == good or "moorings.vx" in good, 10, f"same routes after {damage}")
            until(reaches(a, b), 15, f"reaches after {damage}")
        until(lambda: "10.64.9.0" not in one.sh("ip", "route"), what="a route to no node is removed")
        assert ask_tcp(a.path, b.ip, size=1 << 20) == a.ip
    finally:
        server.close()


def test_the_device_is_as_it_has_to_be(fabric):
    node = fabric(nodes=1).nodes[0]
    link = node.sh("ip", "-d", "link", "show", "moorings.vx")
    assert "nolearning" in link and "dstport 8472" in link and "id 1 " in link and "mtu 1450" in link
    assert call_in(node.path, lambda: transmit_checksum("moorings.vx")) is False


def test_a_forward_chain_that_drops_is_opened_for_pods(fabric):
    net = fabric()
    one, two = net.nodes
    a, b = one.pod().add(), two.pod().add()
    server = Echo(b.path)
    try:
        one.sh("nft", "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }")
        until(reaches(a, b), 10, "reaches in spite of the other program's chain")
        assert one.sh("nft", "list chain ip filter FORWARD").count("accept") == 2, "once for each direction"
    finally:
        server.close()


@pytest.mark.parametrize("backend", ["vxlan", "routed"])
def test_a_nodes_address_changes(fabric, backend):
    net = fabric(backend=backend)
    one, two = net.nodes
    a, b = one.pod().add(), two.pod().add()
    server = Echo(b.path)
    try:
        two.sh("ip", "address", "add", "192.168.77.22/24", "dev", "eth0")
        two.sh("ip", "address", "del", "192.168.77.2/24", "dev", "eth0")
        two.sh("ip", "address", "replace", "192.168.77.22/24", "dev", "eth0")
        node = net.client.read(NODES, "node2")
        addresses = [{"type": "InternalIP", "address": "192.168.77.22"}]
        net.client.put(NODES, node | {"status": node["status"] | {"addresses": addresses}})
        until(reaches(a, b), 15, "reaches the node's new address")
        if backend == "routed":
            assert "via 192.168.77.22" in one.sh("ip", "route", "show", "10.64.2.0/24")
    finally:
        server.close()


def test_a_peer_removed_while_the_agent_was_down(fabric):
    net = fabric(nodes=3)
    one, _, three = net.nodes
    one.stop()
    three.stop()
    net.client.remove(NODES, "node3")
    net.nodes.remove(three)
    assert "10.64.3.0/24" in one.sh("ip", "route")
    one.start()
    until(lambda: "10.64.3.0/24" not in one.sh("ip", "route"), what="its route goes")
    until(lambda: "10.64.3.0" not in one.sh("ip", "neighbour"), what="its neighbour entry goes")
    until(lambda: one.sh("bridge", "fdb", "show", "dev", "moorings.vx").count("dst") == 1, what="its forwarding entry goes")
    net.nodes.append(three)


def test_the_route_back_may_differ_while_transports_are_exchanged(fabric):
    net = fabric()
    one, two = net.nodes
    assert call_in(two.path, lambda: sysctl.read("net/ipv4/conf/all/rp_filter")) == "1"
    a, b = one.pod().add(), two.pod().add()
    # node2 answers directly while node1 sends through the tunnel
    sh("ip", "-n", two.netns, "route", "add", "10.64.1.0/25", "via", "192.168.77.1")
    server = Echo(b.path)
    try:
        assert ask_tcp(a.path, b.ip) == a.ip
    finally:
        server.close()
