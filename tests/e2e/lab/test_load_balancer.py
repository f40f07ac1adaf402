"""Services of type LoadBalancer on bare metal: an address from the pool, one node that answers ARP for it, and failover."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator

import pytest

from moorings_core.kernel.namespaces import call_in
from tests.traffic import ask_tcp

from . import places

pytestmark = pytest.mark.lab
FAILOVER_SECONDS, LISTEN_SECONDS = 5, 0.5
ETH_P_ARP = 0x0806
SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  type: LoadBalancer
  {more}
  selector: {{app: echo}}
  ports: [{{port: 7, targetPort: 7777}}]
---
"""


def addresses(lab, namespace: str, service: str) -> list[str]:
    status = lab.get("service", service, "-n", namespace)["status"]
    return [i["ip"] for i in status.get("loadBalancer", {}).get("ingress", [])]


def given(lab, namespace: str, service: str) -> str:
    (address,) = lab.wait_for("an address", lambda: addresses(lab, namespace, service))
    return address


def who_has(place: places.Place, address: str) -> set[str]:
    """Ask by ARP, as any neighbour does, and return every MAC that answers within half a second."""
    from scapy.layers.l2 import ARP, Ether

    found: set[str] = set()
    with call_in(place.netns, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ARP))) as link:
        link.bind(("eth0", ETH_P_ARP))
        own = link.getsockname()[4]
        link.send(bytes(Ether(src=own, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=own, psrc=place.address, pdst=address)))
        end = time.monotonic() + LISTEN_SECONDS
        while (left := end - time.monotonic()) > 0:
            link.settimeout(left)
            with contextlib.suppress(TimeoutError):
                frame = Ether(link.recv(2048))
                if frame[ARP].op == 2 and frame[ARP].psrc == address and frame[ARP].pdst == place.address:
                    found.add(frame[ARP].hwsrc)
    return found


def mac(lab, node: str) -> str:
    (link,) = json.loads(lab.node(node, "ip", "-json", "link", "show", "eth0"))
    return link["address"]


def holder(lab, namespace: str, service: str) -> str:
    """Return the node that the Lease of a Service's address names."""
    uid = lab.get("service", service, "-n", namespace)["metadata"]["uid"]
    return lab.get("lease", f"metal-{uid}", "-n", "kube-system")["spec"]["holderIdentity"]


def answers(place: places.Place, address: str) -> str:
    with contextlib.suppress(OSError):
        return ask_tcp(place.netns, address, 7, timeout=0.3)
    return ""


@contextlib.contextmanager
def powered_off(lab, node: str) -> Iterator[None]:
    """A node without power while the block runs; afterwards it is Ready again."""
    lab.moorings("node", "poweroff", node)
    try:
        yield
    finally:
        lab.moorings("node", "start", node)
        lab.kubectl("wait", "--for=condition=Ready", f"node/{node}", "--timeout=60s")


def test_a_service_gets_an_address_that_one_node_answers_for_and_that_moves_when_the_node_loses_power(lab, namespace):
    lab.apply(SERVICE.format(name="web", more="") + places.web("echo", one="node-1", two="node-2", three="node-3"), namespace)
    with places.outside(lab) as outside, places.echoing(places.pods(lab, namespace, "one", "two", "three")):
        address = given(lab, namespace, "web")
        config = lab.get("configmap", "moorings", "-n", "kube-system")["data"]["cluster.yaml"]
        assert f"{places.layout(lab).address(200)}-" in config, "the pool is in the cluster file"
        assert address in lab.kubectl("get", "service", "web", "-n", namespace).stdout, "kubectl shows it as EXTERNAL-IP"
        lab.wait_for("an answer from outside", lambda: answers(outside, address))
        first = holder(lab, namespace, "web")
        assert who_has(outside, address) == {mac(lab, first)}, "exactly one node answers"
        assert {answers(outside, address).partition("/")[2] for _ in range(30)} == {"one", "two", "three"}
        with powered_off(lab, first):
            off = time.monotonic()
            lab.wait_for("the address to move", lambda: answers(outside, address), timeout=FAILOVER_SECONDS)
            print(f"moved within {time.monotonic() - off:.1f} s")
            second = holder(lab, namespace, "web")
            assert second != first
            assert who_has(outside, address) == {mac(lab, second)}


def test_policy_local_is_answered_for_by_a_node_with_an_endpoint_and_keeps_the_clients_address(lab, namespace):
    lab.apply(SERVICE.format(name="web", more="externalTrafficPolicy: Local") + places.web("echo", two="node-2"), namespace)
    with places.outside(lab) as outside, places.echoing(places.pods(lab, namespace, "two")):
        address = given(lab, namespace, "web")
        lab.wait_for("an answer", lambda: answers(outside, address) == f"{outside.address}/two")
        assert holder(lab, namespace, "web") == "node-2"
        lab.apply(places.web("echo", three="node-3"), namespace)
        with places.echoing(places.pods(lab, namespace, "three")):
            lab.kubectl("delete", "pod", "two", "-n", namespace)
            lab.wait_for("the other node to answer", lambda: answers(outside, address) == f"{outside.address}/three")


def test_a_wanted_address_is_given_once_and_is_free_again_when_its_service_is_gone(lab, namespace):
    wanted = places.layout(lab).address(239)
    annotation = {"metadata": {"annotations": {"moorings.dev/load-balancer-ips": wanted}}}
    lab.apply(SERVICE.format(name="first", more=f"loadBalancerIP: {wanted}"), namespace)
    assert given(lab, namespace, "first") == wanted
    lab.apply(SERVICE.format(name="second", more=f"loadBalancerIP: {wanted}"), namespace)
    lab.wait_for("the reason", lambda: f"{wanted} is in use" in lab.kubectl("get", "events", "-n", namespace).stdout)
    assert addresses(lab, namespace, "second") == []
    lab.kubectl("patch", "service", "first", "-n", namespace, "-p", json.dumps({"spec": {"type": "ClusterIP"}}))
    assert given(lab, namespace, "second") == wanted
    assert addresses(lab, namespace, "first") == []
    lab.kubectl("delete", "service", "second", "-n", namespace)
    lab.apply(SERVICE.format(name="third", more=""), namespace)
    lab.kubectl("patch", "service", "third", "-n", namespace, "-p", json.dumps(annotation))
    lab.wait_for("the wanted address", lambda: addresses(lab, namespace, "third") == [wanted])
