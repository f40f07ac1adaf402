"""Under which address pods are seen outside of the cluster."""

import socket

import pytest
from cni_support import until
from tests.traffic import Echo, ask_tcp, ask_udp

from moorings_core.client.resources import NAMESPACES, NODES

pytestmark = pytest.mark.netns
OUTSIDE, OUTSIDE6 = "192.168.77.200", "fd77::200"
SIX = 7778


def annotate(net, value):
    annotations = {"moorings.dev/egress-addresses": value} if value else {}
    net.client.put(NAMESPACES, {"metadata": {"name": "ns", "annotations": annotations}})


def seen(pod):
    """Return what the outside sees; "" while it cannot answer, to an address that nobody has."""
    try:
        return ask_tcp(pod.path, OUTSIDE)
    except OSError:
        return ""


def test_pods_of_a_namespace_are_seen_under_its_address_where_a_node_has_it(fabric):
    net = fabric(six=True)
    one, two = net.nodes
    a, b = one.pod().add(), two.pod().add()
    other = one.pod()
    servers = [Echo(net.outside), Echo(net.outside, SIX, socket.AF_INET6), Echo(b.path)]
    try:
        assert ask_tcp(a.path, OUTSIDE) == one.address
        one.sh("ip", "address", "add", "192.168.77.101/32", "dev", "eth0")
        one.sh("ip", "address", "add", "fd77::101/128", "dev", "eth0", "nodad", "preferred_lft", "0")
        annotate(net, "192.168.77.100, nonsense, 192.168.77.101, fd77::101")
        until(lambda: ask_tcp(a.path, OUTSIDE) == "192.168.77.101", what="the namespace's address is used")
        assert ask_tcp(a.path, OUTSIDE6, SIX) == "fd77::101" and ask_udp(a.path, OUTSIDE) == "192.168.77.101"
        assert ask_tcp(a.path, b.ip) == a.ip, "not inside of the cluster"
        assert ask_tcp(b.path, OUTSIDE) == two.address, "not on a node without the address"
        new = one.pod().add()
        assert ask_tcp(new.path, OUTSIDE) == "192.168.77.101", "from the first packet of a new pod"
        environment = {"CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=elsewhere;K8S_POD_NAME={other.name}"}
        assert one.cni("ADD", other.id, other.path, env=environment)[0] == 0
        assert ask_tcp(other.path, OUTSIDE) == one.address, "not in another namespace"
        assert ask_tcp(other.path, OUTSIDE6, SIX) == "fd77::1"
        assert new.cni("DEL")[0] == 0 and f"{new.ip} :" not in one.sh("nft", "list", "map", "inet", "moorings_net", "source4")
        one.sh("ip", "address", "del", "192.168.77.101/32", "dev", "eth0")
        until(lambda: seen(a) == one.address, what="an address that the node lost is not used")
        assert ask_tcp(a.path, OUTSIDE6, SIX) == "fd77::101"
        annotate(net, "")
        until(lambda: ask_tcp(a.path, OUTSIDE6, SIX) == "fd77::1", what="the annotation is gone")
    finally:
        for server in servers:
            server.close()


def test_rules_that_are_written_anew_are_never_without_what_they_hold(fabric):
    net = fabric(nodes=1)
    node = net.nodes[0]
    ports = {"portMappings": [{"hostPort": 8080, "containerPort": 7777, "protocol": "tcp"}]}
    pod = node.pod().add(runtimeConfig=ports)
    server = Echo(pod.path)

    def written(address):
        assert ask_tcp(net.outside, node.address, 8080) == "192.168.77.200", "the host port leads to the pod"
        return address in node.sh("nft", "list", "set", "inet", "moorings_net", "inside4")

    try:
        for number in range(11, 17):
            address = f"192.168.77.{number}"
            metadata, status = {"name": "passing"}, {"addresses": [{"type": "InternalIP", "address": address}]}
            net.client.put(NODES, {"metadata": metadata, "spec": {}, "status": status})
            until(lambda address=address: written(address), what="the rules know the new node")
    finally:
        server.close()
