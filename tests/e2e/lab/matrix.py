"""Who must reach whom on any pod network: the same list whatever the transport."""

from __future__ import annotations

import errno
from dataclasses import dataclass

import pytest

from moorings_labs.cluster import Cluster
from tests.traffic import ask_tcp, ask_udp

from . import places
from .places import Place

MEGABYTE = 1 << 20
UDP_HEADERS = 28
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  selector: {app: matrix, name: two}
  ports:
  - {name: tcp, port: 80, targetPort: 7777}
  - {name: udp, port: 80, targetPort: 7777, protocol: UDP}
"""


@dataclass(frozen=True)
class World:
    """Pods one and two on node-1 and three on node-2, the nodes, a Service of pod two, somebody outside."""

    one: Place
    two: Place
    three: Place
    nodes: tuple[Place, Place]
    outside: Place
    virtual: str
    mtu: int


def build(lab: Cluster, namespace: str, outside: Place) -> World:
    """Make pods and Service."""
    lab.apply(places.web("matrix", one="node-1", two="node-1", three="node-2") + SERVICE, namespace)
    one, two, three = places.pods(lab, namespace, "one", "two", "three")
    mtu = int(lab.exec("one", "cat", "/sys/class/net/eth0/mtu", namespace=namespace).stdout)
    virtual = lab.get("service", "echo", "-n", namespace)["spec"]["clusterIP"]
    return World(one, two, three, (places.node(lab, "node-1"), places.node(lab, "node-2")), outside, virtual, mtu)


def check(world: World) -> None:
    """Ask everybody from everywhere; echo servers are up in pods, nodes and outside."""
    for source, target in ((world.one, world.two), (world.one, world.three), (world.three, world.one)):
        _pod_to_pod(source, target, world.mtu)
    _nodes(world)
    _virtual(world)
    _outside(world)


def _pod_to_pod(source: Place, target: Place, mtu: int) -> None:
    seen = f"{source.address}/{target.name}"
    assert ask_tcp(source.netns, target.address, size=MEGABYTE) == seen, "1 MB by TCP; the pod's own address is seen"
    assert ask_udp(source.netns, target.address) == seen
    assert ask_udp(source.netns, target.address, size=mtu - UDP_HEADERS, df=True) == seen, "a packet of exactly the MTU"
    with pytest.raises(OSError) as refused:
        ask_udp(source.netns, target.address, size=mtu - UDP_HEADERS + 1, df=True)
    assert refused.value.errno == errno.EMSGSIZE, "and the sender is told of one byte more"


def _nodes(world: World) -> None:
    for source in world.nodes:
        for target in (world.one, world.three):
            assert ask_tcp(source.netns, target.address, size=MEGABYTE).endswith(f"/{target.name}"), "node to pod"
            assert ask_udp(source.netns, target.address).endswith(f"/{target.name}")
    for node in world.nodes:
        assert ask_tcp(world.one.netns, node.address) == f"{world.one.address}/{node.name}", "pod to node, not masqueraded"
        assert ask_udp(world.one.netns, node.address) == f"{world.one.address}/{node.name}"


def _virtual(world: World) -> None:
    for source in (world.one, world.three):
        seen = f"{source.address}/two"
        assert ask_tcp(source.netns, world.virtual, 80, size=MEGABYTE) == seen, "pod to virtual address, source kept"
        assert ask_udp(source.netns, world.virtual, 80) == seen
    for node in world.nodes:
        assert ask_tcp(node.netns, world.virtual, 80).endswith("/two"), "node to virtual address"
    for ask in (ask_tcp, ask_udp):
        assert ask(world.two.netns, world.virtual, 80).endswith("/two"), "hairpin: the pod behind the address asks itself"


def _outside(world: World) -> None:
    for source, node in ((world.one, world.nodes[0]), (world.three, world.nodes[1])):
        seen = f"{node.address}/outside"
        assert ask_tcp(source.netns, world.outside.address, size=MEGABYTE) == seen, "pod to outside is masqueraded as its node"
        assert ask_udp(source.netns, world.outside.address) == seen
