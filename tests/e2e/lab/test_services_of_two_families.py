"""Services on a lab of two address families: toggled while pods use them; endpoints near by; ranges that come later."""

import json

import pytest

from moorings_labs.cluster import CommandFailed

from .echoes import PODS, SERVICE

pytestmark = pytest.mark.lab
LAB = """
network: {podCIDRs: [10.64.0.0/16, "fd64::/56"]}
services: {CIDRs: [10.96.0.0/16, "fd96::/112"]}
lab: {nodes: [{name: server, roles: [server]}, {count: 2}]}
"""
RANGE = """
apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {name: more}
spec: {cidrs: [10.97.0.0/24]}
---
apiVersion: v1
kind: Service
metadata: {name: later}
spec: {selector: {app: echo}, clusterIP: 10.97.0.9, ports: [{port: 80, targetPort: 8080}]}
"""
ASK = "printf 'GET /name HTTP/1.0\\r\\n\\r\\n' | nc -w 1 {} 80 | tail -n 1"


@pytest.fixture
def dual(make_lab):
    lab = make_lab(LAB)
    lab.apply(PODS)
    lab.wait_ready("one", "two")
    return lab


def ask(lab, pod: str, address: str) -> str:
    """Return the name of the pod that answers for an address, "" when nobody does."""
    return lab.exec(pod, "sh", "-c", ASK.format(address), check=False).stdout.strip()


def answering(lab, pod: str, *wanted: str, times: int = 8) -> set[str]:
    """Return the names of the pods that answer for addresses which are asked some times each."""
    script = "; ".join(f"for i in $(seq {times}); do {ASK.format(address)}; echo; done" for address in wanted)
    return set(lab.exec(pod, "sh", "-c", script, check=False).stdout.split())


def addresses(lab, service: str = "echo") -> list[str]:
    return lab.get("service", service)["spec"]["clusterIPs"]


def patch(lab, **spec) -> None:
    lab.kubectl("patch", "service", "echo", "--type=merge", "-p", json.dumps({"spec": spec}))


@pytest.mark.timeout(240)
def test_a_service_gets_its_second_family_and_gives_it_back_near_endpoints_are_preferred_and_ranges_may_come_later(dual) -> None:
    dual.apply(SERVICE)
    (four,) = addresses(dual)
    dual.wait_for("an answer by IPv4", lambda: ask(dual, "one", four) in ("one", "two"))
    patch(dual, ipFamilyPolicy="PreferDualStack")
    first, six = addresses(dual)
    assert first == four and ":" in six
    dual.wait_for("an answer by IPv6", lambda: ask(dual, "one", six) in ("one", "two"))
    dual.wait_for("both pods by IPv6", lambda: answering(dual, "one", six) == {"one", "two"})
    found = dual.exec("one", "nslookup", "-type=AAAA", "echo.default.svc.cluster.local").stdout
    assert six in found
    patch(dual, trafficDistribution="PreferSameNode")
    for pod in ("one", "two"):
        dual.wait_for("answers of the node alone", lambda pod=pod: answering(dual, pod, four, six) == {pod})
    _zones(dual, four, six)
    patch(dual, trafficDistribution="PreferSameNode", ipFamilyPolicy="SingleStack")
    dual.wait_for("answers of the node alone", lambda: answering(dual, "one", four) == {"one"})
    assert addresses(dual) == [four]
    dual.wait_for("silence by IPv6", lambda: ask(dual, "one", six) == "")
    assert ask(dual, "one", four) == "one"
    dual.apply(RANGE)
    dual.wait_for("an answer in the new range", lambda: ask(dual, "one", "10.97.0.9") in ("one", "two"))
    kinds = dual.kubectl("get", "ipaddresses,servicecidrs").stdout
    assert "services/default/later" in kinds and "10.96.0.0/16,fd96::/112" in kinds
    dual.wait_for("drops in the new range", lambda: all("10.97.0.0/24" in _ranges(dual, node) for node in ("node-1", "node-2")))


def _zones(dual, four: str, six: str) -> None:
    """Hints by zones' CPUs: each zone has half of them, and one of the two pods; a zone that is gone ends them."""
    patch(dual, trafficDistribution=None)
    dual.wait_for("both pods", lambda: answering(dual, "one", four) == {"one", "two"})
    dual.kubectl("annotate", "service", "echo", "service.kubernetes.io/topology-mode=Auto")
    for node, zone in (("node-1", "a"), ("node-2", "b")):
        dual.kubectl("label", "node", node, f"topology.kubernetes.io/zone={zone}")
    for pod in ("one", "two"):
        dual.wait_for("answers of the zone alone", lambda pod=pod: answering(dual, pod, four, six) == {pod})
    dual.kubectl("label", "node", "node-2", "topology.kubernetes.io/zone-")
    dual.wait_for("both pods again", lambda: answering(dual, "one", four) == {"one", "two"})
    told = {event["reason"] for event in dual.get("events", "--field-selector", "involvedObject.name=echo")["items"]}
    assert {"TopologyAwareHintsEnabled", "TopologyAwareHintsDisabled"} <= told
    dual.kubectl("annotate", "service", "echo", "service.kubernetes.io/topology-mode-")


def _ranges(lab, node: str) -> str:
    return lab.node(node, "nft", "list", "set", "ip", "moorings_proxy", "service_cidrs")


def test_a_proxy_that_this_kernel_is_not_made_for_is_refused_with_the_reason_and_nothing_changes(lab) -> None:
    if not _lacks_ipvs(lab):
        pytest.skip("this kernel has IP virtual servers: nothing is refused")
    for backend, word in (("ipvs", "node-1: ipvs: "), ("carrier-pigeon", "nftables")):
        with pytest.raises(CommandFailed) as refused:
            lab.moorings("swap", "proxy", backend)
        assert word in refused.value.done.stderr
        marks = {n["metadata"]["annotations"].get("moorings.dev/proxy") for n in lab.get("nodes")["items"]}
        assert marks == {"nftables"}


def _lacks_ipvs(lab) -> bool:
    return lab.node("node-1", "cat", "/proc/net/ip_vs", check=False) == ""
