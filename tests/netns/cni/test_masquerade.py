"""What leaves the node under whose address, also when there are as many flows as a node has ports."""

import os
import socket
import struct
import threading
from collections.abc import Iterable
from contextlib import suppress

import pytest
from cni_support import sh
from tests.traffic import Echo, ask_udp

from moorings_core.kernel import sysctl
from moorings_core.kernel.namespaces import call_in

pytestmark = pytest.mark.netns
FLOWS, PODS, FIRST_PORT, AGAIN = 60_000, 3, 10_000, 20
EACH = FLOWS // PODS
GROUP = "239.1.1.1"


class Sink:
    """Takes datagrams in as fast as they come: number -> who sent it first."""

    def __init__(self, netns: str, wanted: int, group: str = "") -> None:
        def bind() -> socket.socket:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setsockopt(socket.SOL_SOCKET, 33, 1 << 26)  # SO_RCVBUFFORCE: what is lost here proves nothing
            sock.bind(("", 9999))
            if group:
                member = struct.pack("4s4s4s", socket.inet_aton(group), socket.inet_aton("192.168.77.200"), bytes(4))
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member[:8])
            return sock

        self.sock, self.wanted = call_in(netns, bind), wanted
        self.seen: dict[int, tuple[str, int]] = {}
        self.sock.settimeout(5)
        self.thread = threading.Thread(target=self._take)
        self.thread.start()

    def _take(self) -> None:
        try:
            while len(self.seen) < self.wanted:
                data, who = self.sock.recvfrom(16)
                self.seen.setdefault(int.from_bytes(data, "big"), who)
        except TimeoutError:
            pass
        finally:
            self.sock.close()

    def result(self) -> dict[int, tuple[str, int]]:
        """Return what has come: all that is wanted, or all when nothing came for some seconds."""
        self.thread.join(120)
        return self.seen


def send(netns: str, numbers: Iterable[int], target: str) -> None:
    """Send numbered datagrams, each from a port of its own: each is a flow."""

    def work() -> None:
        for number in numbers:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind(("", FIRST_PORT + number % EACH))
                with suppress(PermissionError):  # how a sender is told that its packet was dropped
                    sock.sendto(number.to_bytes(4, "big"), (target, 9999))

    call_in(netns, work)


@pytest.mark.timeout(180)
def test_sixty_thousand_flows_to_one_place_all_get_a_port_of_their_own(fabric):
    net = fabric(nodes=1)
    node = net.nodes[0]
    limit = int(call_in(node.path, lambda: sysctl.read("net/netfilter/nf_conntrack_max")))
    if limit < 2 * FLOWS:
        pytest.skip(f"this machine tracks {limit} flows at most")
    pods = [node.pod().add() for _ in range(PODS)]
    sink = Sink(net.outside, FLOWS)
    mine = [range(number * EACH, (number + 1) * EACH) for number in range(PODS)]
    senders = [threading.Thread(target=send, args=(pod.path, mine[i], "192.168.77.200")) for i, pod in enumerate(pods)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    first = len(sink.seen)
    for _ in range(AGAIN):  # the kernel looks at some ports only, drawn by lot; a client that asks again has others looked at
        for pod, numbers in zip(pods, mine, strict=True):
            send(pod.path, [number for number in numbers if number not in sink.seen], "192.168.77.200")
    seen = sink.result()
    assert len(seen) == FLOWS and first > 0.99 * FLOWS, "with 93 of 100 ports in use, nearly none has to ask again, and none for ever"
    assert {address for address, _ in seen.values()} == {node.address}
    ports = [port for _, port in seen.values()]
    assert len(set(ports)) == FLOWS, "of a port that two flows share one could not be answered"
    kept = sum(port == FIRST_PORT + number % EACH for number, (_, port) in seen.items())
    assert kept < FLOWS // 10, "ports are drawn by lot, so that two processors that choose at once do not choose the same"


def test_what_stays_inside_and_multicast_keep_the_pods_addresses(fabric):
    net = fabric()
    one, two = net.nodes
    a, b = one.pod().add(), two.pod().add()
    servers = [Echo(path) for path in (b.path, two.path, net.outside)]
    try:
        assert ask_udp(a.path, b.ip) == a.ip and ask_udp(a.path, two.address) == a.ip
        assert ask_udp(one.path, b.ip) == one.address
        assert ask_udp(a.path, "192.168.77.200") == one.address
    finally:
        for server in servers:
            server.close()
    sh("ip", "-n", net.outside.rpartition("/")[2], "route", "add", one.cidrs[0], "via", one.address)  # or the outside takes it for forged
    own = one.cidrs[0].partition("/")[0]  # an address of the range that the node itself has
    for target, source in ((GROUP, own), ("192.168.77.200", one.address)):
        sink = Sink(net.outside, 1, GROUP)

        def multicast(target: str = target) -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind((own, 0))
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(one.address))
                sock.sendto(os.urandom(4), (target, 9999))

        call_in(one.path, multicast)
        assert [address for address, _ in sink.result().values()] == [source]
