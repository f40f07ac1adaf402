"""Whatever somebody does to the kernel's or the API's state between nodes is put right: the wait for it is bounded by two seconds."""

import subprocess
from contextlib import closing

import pytest
from cni_support import sh, until
from tests.traffic import Echo, ask_tcp, ask_udp

from moorings_core.client.resources import NODES
from moorings_core.kernel import sysctl
from moorings_core.kernel.ethtool import transmit_checksum
from moorings_core.kernel.namespaces import call_in

pytestmark = pytest.mark.netns


HEALED = 2.0
"""Seconds that pods may be without each other, or rules missing, after damage."""
MASQUERADE = ("nft", "-s", "list", "chain", "inet", "moorings_net", "postrouting")


def reaches(pod, target):
    def works() -> bool:
        try:
            return ask_udp(pod.path, target.ip, timeout=0.2) == pod.ip
        except (OSError, AssertionError):
            return False

    return works


def lists(node, *words):
    """What a command says in a node; "" when it fails, as it does while what it is about is missing."""
    return subprocess.run(["nsenter", f"--net={node.path}", *words], capture_output=True, text=True, check=False).stdout


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
    good, rules = sorted(one.sh("ip", "route").splitlines()), one.sh(*MASQUERADE)

    def whole():
        return sorted(one.sh("ip", "route").splitlines()) == good and lists(one, *MASQUERADE) == rules and reaches(a, b)()

    try:
        for damage in DAMAGE[backend]:
            for command in damage.split("; "):
                one.sh(*command.split())
            until(whole, HEALED, f"same routes, same rules, and traffic after {damage}")
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
        until(reaches(a, b), HEALED, "reaches in spite of the other program's chain")
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
        until(reaches(a, b), HEALED, "reaches the node's new address")
        if backend == "routed":
            assert "via 192.168.77.22" in one.sh("ip", "route", "show", "10.64.2.0/24")
    finally:
        server.close()


def test_peers_that_changed_while_the_agent_was_down(fabric):
    """One is removed, one has another address, one is new: nothing of the old state stays, and the new one is reached."""
    net = fabric(nodes=4)
    one, two, three, four = net.nodes
    b = two.pod().add()
    a = one.pod().add()
    server = Echo(b.path)
    four.stop()
    net.client.remove(NODES, "node4")
    until(lambda: "10.64.4.0/24" not in one.sh("ip", "route"), HEALED, "the peer that is going to be new is unknown")
    one.stop()
    three.stop()
    net.client.remove(NODES, "node3")
    two.sh("ip", "address", "add", "192.168.77.22/24", "dev", "eth0")
    two.sh("ip", "address", "del", "192.168.77.2/24", "dev", "eth0")
    two.sh("ip", "address", "replace", "192.168.77.22/24", "dev", "eth0")
    node = net.client.read(NODES, "node2")
    addresses = [{"type": "InternalIP", "address": "192.168.77.22"}]
    net.client.put(NODES, node | {"status": node["status"] | {"addresses": addresses}})
    four.register()
    four.start()
    assert "10.64.3.0/24" in one.sh("ip", "route"), "nobody looks"
    try:
        one.start()
        until(lambda: "10.64.3.0" not in one.sh("ip", "route") + one.sh("ip", "neighbour"), HEALED, "what led to the removed peer goes")
        until(lambda: one.sh("bridge", "fdb", "show", "dev", "moorings.vx").count("dst") == 2, HEALED, "with its forwarding entry")
        until(reaches(a, b), HEALED, "the peer with another address")
        c = four.pod().add()
        with closing(Echo(c.path)):
            until(reaches(a, c), HEALED, "the new peer")
    finally:
        server.close()
        net.nodes.remove(three)


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
