"""The signature: the transport is exchanged under traffic, and nobody notices."""

import socket
import threading
import time

import pytest
from cni_support import Pod, sh, until
from tests.traffic import Echo, ask_tcp

from moorings_core.client.resources import NODES
from moorings_core.kernel import sysctl
from moorings_core.kernel.namespaces import call_in

pytestmark = pytest.mark.netns


class Stream:
    """One TCP connection on which numbered blocks go there and back as fast as they can."""

    def __init__(self, netns: str, target: str) -> None:
        self.sock = call_in(netns, lambda: socket.create_connection((target, 7777), timeout=10))
        while self.sock.recv(1) != b"\n":
            pass
        self.rounds, self.error, self.running = 0, "", True
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            while self.running:
                block, got = b"%08d" % self.rounds * 1024, b""
                self.sock.sendall(block)
                while len(got) < len(block):
                    part = self.sock.recv(65536)
                    assert part, "closed"
                    got += part
                assert got == block
                self.rounds += 1
                time.sleep(0.002)
        except (OSError, AssertionError) as error:
            self.error = repr(error)

    def close(self) -> None:
        self.running = False
        self.thread.join(20)
        self.sock.close()


class Pinger:
    """UDP requests, 100 a second and more; every answer is waited for at the end: a lost one shows."""

    def __init__(self, netns: str, target: str) -> None:
        self.sock = call_in(netns, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.sock.settimeout(2)
        self.target, self.sent, self.got, self.running = (target, 7777), 0, set(), True
        self.threads = [threading.Thread(target=work) for work in (self._send, self._receive)]
        for thread in self.threads:
            thread.start()

    def _send(self) -> None:
        while self.running:
            self.sock.sendto(b"%d" % self.sent, self.target)
            self.sent += 1
            time.sleep(0.005)

    def _receive(self) -> None:
        while self.running or len(self.got) < self.sent:
            try:
                self.got.add(int(self.sock.recv(100).split(b" ")[1]))
            except TimeoutError:
                if not self.running:
                    return

    def close(self) -> None:
        self.running = False
        for thread in self.threads:
            thread.join(20)
        self.sock.close()


def test_swaps_under_traffic_lose_nothing(fabric):
    net = fabric(nodes=3)
    pods: list[Pod] = [node.pod().add() for node in net.nodes]
    servers = [Echo(pod.path) for pod in pods]
    streams = [Stream(pods[0].path, pods[1].ip), Stream(pods[2].path, pods[0].ip)]
    pingers = [Pinger(pods[0].path, pods[2].ip), Pinger(pods[1].path, pods[0].ip), Pinger(net.nodes[0].path, pods[1].ip)]
    moved = []
    try:
        for backend in ["routed", "vxlan"] * 4:
            before = [stream.rounds for stream in streams]
            net.swap(backend)
            net.settled(backend)
            for stream, rounds in zip(streams, before, strict=True):
                until(lambda s=stream, r=rounds: s.rounds > r + 20 or s.error, what="stream goes on")
            route = net.nodes[0].sh("ip", "route", "show", "10.64.2.0/24")
            moved.append("moorings.vx" if "moorings.vx" in route else "eth0")
            # what is not accepted any more is announced first and dropped after
            until(lambda want=backend == "vxlan": ("moorings.vx" in net.nodes[0].sh("ip", "link")) == want, what="old way gone")
    finally:
        for stream in streams:
            stream.close()
        for pinger in pingers:
            pinger.close()
        for server in servers:
            server.close()
    assert moved == ["eth0", "moorings.vx"] * 4
    assert [stream.error for stream in streams] == ["", ""]
    assert [pinger.sent - len(pinger.got) for pinger in pingers] == [0, 0, 0]
    assert all(pinger.sent > 100 for pinger in pingers)


def test_a_swap_that_cannot_be_done_says_why_and_harms_nothing(fabric):
    net = fabric(start=False)
    one, two = net.nodes
    # node2 is behind a router: 192.168.78.0/24, reached through the switch namespace
    for words in (
        ["address", "add", "192.168.77.254/24", "dev", "br0"], ["link", "set", "n2", "nomaster"],
        ["address", "add", "192.168.78.254/24", "dev", "n2"],
    ):  # fmt: skip
        sh("ip", "-n", net.switch, *words)
    call_in(f"/run/netns/{net.switch}", lambda: sysctl.ensure("net/ipv4/ip_forward", 1))
    two.sh("ip", "address", "flush", "dev", "eth0")
    two.sh("ip", "address", "add", "192.168.78.2/24", "dev", "eth0")
    two.sh("ip", "route", "add", "192.168.77.0/24", "via", "192.168.78.254")
    one.sh("ip", "route", "add", "192.168.78.0/24", "via", "192.168.77.254")
    two.address = "192.168.78.2"
    for node in net.nodes:
        node.register()
        node.start(wait=False)
    net.settled("vxlan")
    a, b = one.pod().add(), two.pod().add()
    server = Echo(b.path)
    try:
        assert ask_tcp(a.path, b.ip) == a.ip
        net.swap("routed")
        said = until(lambda: one.annotations().get("moorings.dev/network-error"), what="an error")
        assert "node2 (192.168.78.2) is not on the link of eth0 (192.168.77.0/24)" in said
        assert one.annotations()["moorings.dev/network-sends"] == "vxlan"
        assert ask_tcp(a.path, b.ip) == a.ip
        net.swap("vxlan")
        net.settled("vxlan")
        net.swap("nonsense")
        until(lambda: "no network backend 'nonsense'" in one.annotations().get("moorings.dev/network-error", ""), what="an error")
        assert ask_tcp(a.path, b.ip) == a.ip
        net.swap("vxlan")
        net.settled("vxlan")
    finally:
        server.close()


def test_a_node_joins_and_one_is_removed_in_the_middle(fabric):
    net = fabric(nodes=3, start=False)
    one, two, three = net.nodes
    net.nodes = [one, two]
    for node in net.nodes:
        node.register()
        node.start(wait=False)
    net.settled("vxlan")
    a = one.pod().add()
    net.swap("routed")
    three.register("False")
    net.nodes.append(three.start())
    net.settled("routed")
    c = three.pod().add()
    server = Echo(c.path)
    try:
        assert ask_tcp(a.path, c.ip) == a.ip
    finally:
        server.close()
    two.stop()
    net.nodes.remove(two)
    net.client.remove(NODES, "node2")
    until(lambda: "10.64.2.0" not in one.sh("ip", "route"), what="the removed node's route goes")
    net.nodes.append(two)


def test_a_dead_node_does_not_hold_up_a_swap_and_catches_up(fabric):
    net = fabric(nodes=3)
    one, _, three = net.nodes
    a, c = one.pod().add(), three.pod().add()
    three.stop()
    three.register("True")  # a new object of that name that has announced nothing: it is ready, so it is waited for
    net.swap("routed")
    until(lambda: "routed" in one.annotations()["moorings.dev/network-accepts"], what="accepted")
    assert one.annotations()["moorings.dev/network-sends"] == "vxlan"
    three.register("Unknown")
    net.nodes.remove(three)
    net.settled("routed")
    three.register("False")
    net.nodes.append(three.start())
    net.settled("routed")
    server = Echo(c.path)
    try:
        assert ask_tcp(a.path, c.ip) == a.ip
    finally:
        server.close()


def test_an_agent_that_comes_back_with_a_transport_fewer(fabric):
    net = fabric(nodes=1)
    node = net.nodes[0]
    node.stop()
    mine = net.client.read(NODES, "node1")
    told = {"moorings.dev/network-accepts": "uninstalled,vxlan", "moorings.dev/network-sends": "uninstalled"}
    net.client.put(NODES, mine | {"metadata": mine["metadata"] | {"annotations": told}})
    node.start()
    net.settled("vxlan")
