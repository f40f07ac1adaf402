"""Nodes without ranges claim blocks of the pod CIDRs: pods reach each other whatever block they are in, and blocks change hands."""

import pytest
from cni_support import until
from tests.traffic import Echo, ask_tcp

from moorings_core.client.resources import CONFIG_MAPS, NODES
from moorings_core.ports.network import CLAIMS, RANGES

pytestmark = pytest.mark.netns


def ranges(node):
    return node.annotations().get(RANGES, "").split()


def claims(net):
    return {name: text.split() for name, text in net.client.read(CONFIG_MAPS, CLAIMS, "kube-system")["data"].items()}


def detach(pods):
    for pod in pods:
        assert pod.cni("DEL")[0] == 0


@pytest.mark.parametrize("backend", ["vxlan", "routed", "underlay"])
def test_blocks_grow_carry_traffic_survive_the_agent_and_change_hands(fabric, backend):
    net = fabric(backend=backend, nodes=3, block_size=28)
    one, two, three = net.nodes
    assert sorted(cidr for node in net.nodes for cidr in ranges(node)) == ["10.64.0.0/28", "10.64.0.16/28", "10.64.0.32/28"]
    first = ranges(one)[0]
    far = two.pod().add()
    pods = [one.pod().add() for _ in range(13)]
    until(lambda: len(ranges(one)) == 2, what="a second block before the first is full")
    pods += [one.pod().add() for _ in range(4)]
    second = ranges(one)[1]
    last = pods[-1]
    assert last.ip.startswith("10.64.0.") and int(last.ip.rsplit(".", 1)[1]) > int(second.split("/")[0].rsplit(".", 1)[1])
    server = Echo(last.path)
    try:
        until(lambda: second in two.sh("ip", "route"), what="the peer knows the new block")
        assert ask_tcp(far.path, last.ip) == far.ip and ask_tcp(pods[0].path, last.ip) == pods[0].ip
        one.stop()
        assert ask_tcp(far.path, last.ip) == far.ip
        one.start()
        assert ranges(one) == [first, second]
        assert ask_tcp(far.path, last.ip) == far.ip
    finally:
        server.close()
    detach(pods)
    until(lambda: claims(net)["node1"] == ranges(one) and len(ranges(one)) == 1, what="what nobody uses is given back")
    given = ({first, second} - set(ranges(one))).pop()
    until(lambda: given not in one.sh("ip", "route") + two.sh("ip", "route"), what="nobody sends there any more")
    mine = [three.pod().add() for _ in range(13)]
    until(lambda: given in ranges(three), what="another node has it")
    mine += [three.pod().add() for _ in range(4)]
    server = Echo(mine[-1].path)
    try:
        until(lambda: all(given in node.sh("ip", "route") for node in (one, two)), what="both send to its new node")
        assert ask_tcp(far.path, mine[-1].ip) == far.ip
        near = one.pod().add()
        assert ask_tcp(near.path, mine[-1].ip) == near.ip
    finally:
        server.close()


def test_a_full_pool_is_a_status_error_until_a_node_goes(fabric):
    net = fabric(nodes=2, block_size=28, start=False)
    one, two = net.nodes
    net.with_config(pod_cidrs=("10.64.0.0/27",))
    for node in net.nodes:
        node.register()
        node.start()
    pods = [one.pod().add() for _ in range(14)]
    code, error = one.pod().cni("ADD")
    assert (code, error["code"]) == (1, 11), "try again: a block may come back"
    assert one.cni("STATUS", version="1.1.0")[1]["code"] == 50
    two.stop()
    net.client.remove(NODES, "node2")
    until(lambda: one.cni("STATUS", version="1.1.0")[0] == 0, what="the block of the node that is gone")
    assert one.pod().add().ip not in {pod.ip for pod in pods}
    net.nodes.remove(two)
