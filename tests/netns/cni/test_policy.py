"""NetworkPolicy with real packets: truth tables, the first packet, agents that die, connections that are no longer allowed."""

import socket
import subprocess

import pytest
from cni_support import until
from policy_world import LONG, World
from tests.traffic import Echo, ask_tcp, ask_udp

from moorings_core.client.resources import NETWORK_POLICIES, PODS
from moorings_core.kernel.namespaces import call_in

pytestmark = pytest.mark.netns
EVERYONE = {"podSelector": {}}
DENY = {**EVERYONE, "policyTypes": ["Ingress"]}
DENY_ALL = {**EVERYONE, "policyTypes": ["Ingress", "Egress"]}
A, Y = {"matchLabels": {"pod": "a"}}, {"matchLabels": {"ns": "y"}}
CASES = {
    "nobody enters x": [("x", DENY)],
    "nobody enters or leaves x": [("x", DENY_ALL)],
    "from a pod, a namespace, and pods of a namespace": [
        ("x", {"podSelector": A, "ingress": [{"from": [{"podSelector": {"matchLabels": {"pod": "b"}}}, {"namespaceSelector": Y}]}]}),
        ("z", {**EVERYONE, "ingress": [{"from": [{"namespaceSelector": Y, "podSelector": A}], "ports": [{"port": 80}]}]}),
    ],
    "to a named port, a range and a protocol": [
        ("x", {**EVERYONE, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": "serve-81"}]}, {"to": [{"namespaceSelector": Y}]}]}),
        ("y", {**EVERYONE, "ingress": [{"ports": [{"port": 78, "endPort": 80}]}, {"ports": [{"protocol": "UDP"}]}]}),
    ],
    "policies add up, and everything is allowed by one of them": [
        ("x", DENY_ALL), ("x", {"podSelector": A, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}]}),
        ("y", {**EVERYONE, "ingress": [{"from": [{"podSelector": A}]}]}), ("y", {"podSelector": A, "ingress": [{"ports": [{"port": 81}]}]}),
    ],
}  # fmt: skip


@pytest.fixture
def world(fabric):
    made = World(fabric(six=True))
    yield made
    made.close()


def test_pods_reach_exactly_what_the_policies_allow_by_tcp_and_udp_over_both_families(world):
    for name, policies in CASES.items():
        world.obey(*policies)
        allowed, denied = world.check()
        assert allowed and denied, name
    blocks = [{"cidr": "10.64.0.0/16", "except": [f"{world.addresses('y/a')[0]}/32"]}, {"cidr": f"{world.addresses('y/b')[1]}/128"}]
    world.obey(("x", {**EVERYONE, "policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": block} for block in blocks]}]}))
    assert all(world.check())
    rules = [node.sh("nft", "-s", "list", "table", "inet", "moorings_policy").count("\n\t\t") for node in world.fabric.nodes]
    world.obey()
    assert world.check()[1] == 0, "and everything when there is none"
    for node, count in zip(world.fabric.nodes, rules, strict=True):
        assert "elements" not in node.sh("nft", "list", "table", "inet", "moorings_policy"), f"nothing is left of {count} lines"


def test_a_policy_that_the_node_has_not_heard_of_holds_for_the_first_packet_of_a_new_pod(world):
    world.client.stalled |= {"networkpolicies", "pods"}
    world.policies = [world.client.put(NETWORK_POLICIES, {"metadata": {"name": "deny", "namespace": "x"}, "spec": DENY_ALL})]
    late = world.add("x", "late", 0, {}, publish=False)
    with pytest.raises(TimeoutError):
        ask_udp(world.pods["y/a"].path, late.ip, 80, timeout=0.3)
    with pytest.raises(TimeoutError):
        ask_udp(late.path, world.pods["y/a"].ip, 80, timeout=0.3)
    assert ask_udp(world.pods["y/a"].path, world.pods["x/b"].ip, 80, timeout=LONG), "the other node waits for the news"
    world.client.stalled.clear()
    world.client.put(PODS, world.client.read(PODS, "late", "x"))
    world.settle()
    assert all(world.check())


def test_what_is_denied_stays_denied_while_the_agent_is_away_and_while_it_starts(world):
    world.obey(("x", DENY_ALL))
    here, there = world.pods["x/a"], world.pods["y/a"]
    node = here.node
    drops = dropped(node, here.ip)
    node.stop()
    stranger = call_in(there.path, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    stranger.setblocking(False)
    stranger.connect((here.ip, 80))
    for _ in range(20):
        stranger.send(b"hello")
    assert dropped(node, here.ip) == drops + 20
    node.start(wait=False)
    sent = 0
    while not hasattr(node.exchange, "component") or node.exchange.component is None or node.exchange.component.policies.busy:
        stranger.send(b"hello")
        sent += 1
    assert dropped(node, here.ip) == drops + 20 + sent, "every one"
    with pytest.raises(BlockingIOError):
        stranger.recv(100)
    stranger.close()
    world.obey()
    assert ask_udp(there.path, here.ip, 80, timeout=LONG)


def test_a_connection_that_is_no_longer_allowed_stops_and_goes_on_when_it_is_again(world):
    source, target = world.pods["y/a"], world.pods["x/b"]
    with call_in(source.path, lambda: socket.create_connection((target.ip, 80), timeout=LONG)) as talk:
        while not talk.recv(1).endswith(b"\n"):
            pass
        talk.sendall(b"one")
        assert talk.recv(3) == b"one"
        world.obey(("x", DENY))
        talk.sendall(b"two")
        until(lambda: dropped(target.node, target.ip), what="the second word is dropped")
        talk.settimeout(0.3)
        with pytest.raises(TimeoutError):
            talk.recv(3)
        world.obey()
        talk.settimeout(LONG)
        assert talk.recv(3) == b"two"


def test_answers_pass_whoever_may_not_ask_and_a_node_reaches_its_own_pods_and_they_it(world):
    world.obey(("x", {**DENY_ALL, "egress": [{}]}), ("y", DENY_ALL))
    assert ask_tcp(world.pods["x/a"].path, world.pods["z/b"].ip, 80, size=100_000)
    pod = world.pods["y/a"]
    assert ask_tcp(pod.node.path, pod.ip, 80), "the kubelet's probes"
    echo = Echo(pod.node.path, 7070)
    assert ask_tcp(pod.path, pod.node.address, 7070).endswith(pod.ip)
    echo.close()
    assert ask_udp(pod.path, pod.ip, 80), "and a pod itself"
    assert ask_udp(pod.path, world.addresses("y/a")[1], 81)


def test_a_table_that_somebody_deletes_or_changes_is_put_back(world):
    world.obey(("x", DENY))
    node = world.pods["x/a"].node
    before = node.sh("nft", "-s", "list", "table", "inet", "moorings_policy")
    node.sh("nft", "delete", "table", "inet", "moorings_policy")
    until(lambda: table(node) == before, what="the table is back")
    node.sh("nft", "flush", "chain", "inet", "moorings_policy", "enter4")
    node.sh("nft", "delete", "element", "inet", "moorings_policy", "in4", "{", world.pods["x/a"].ip, "}")
    until(lambda: table(node) == before, what="rule and element are back")


def test_a_pod_that_goes_takes_its_elements_with_it_and_one_that_nobody_named_has_none(world):
    world.obey(("x", DENY))
    pod = world.pods["x/a"]
    nameless = pod.node.pod().add(env={"CNI_ARGS": ""})
    assert nameless.ip not in table(pod.node)
    assert pod.ip in table(pod.node)
    assert pod.cni("DEL") == (0, {})
    until(lambda: f"{pod.ip} " not in table(pod.node).replace(",", " "), what="the elements are gone")


def dropped(node, address: str) -> int:
    """Return how many packets to an address were dropped."""
    words = node.sh("nft", "list", "set", "inet", "moorings_policy", "in_drop4").replace(",", " ").split()
    return int(words[words.index(address) + 3]) if address in words else 0


def table(node) -> str:
    """Return the table without its counters; "" when there is none."""
    command = ["nsenter", f"--net={node.path}", "nft", "-s", "list", "table", "inet", "moorings_policy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout
