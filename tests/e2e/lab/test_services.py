"""Services on a real lab: virtual addresses, node ports, policies, affinity, and updates under load."""

import contextlib
import json
import os

import pytest

from tests.traffic import ask_tcp, ask_udp

from . import places
from .loads import load

pytestmark = pytest.mark.lab
RATE = 100
SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: plain}
spec:
  selector: {app: echo}
  ports:
  - {name: web, port: 80, targetPort: web}
  - {name: tcp, port: 7, targetPort: 7777}
  - {name: udp, port: 7, targetPort: 7777, protocol: UDP}
---
apiVersion: v1
kind: Service
metadata: {name: sticky}
spec:
  selector: {app: echo}
  sessionAffinity: ClientIP
  ports: [{port: 7, targetPort: 7777}]
---
apiVersion: v1
kind: Service
metadata: {name: opened}
spec:
  type: NodePort
  selector: {app: echo}
  ports:
  - {name: tcp, port: 7, targetPort: 7777}
  - {name: udp, port: 7, targetPort: 7777, protocol: UDP}
---
apiVersion: v1
kind: Service
metadata: {name: local}
spec:
  type: NodePort
  externalTrafficPolicy: Local
  selector: {name: one}
  ports: [{port: 7, targetPort: 7777}]
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec:
  selector: {app: nobody}
  ports:
  - {name: tcp, port: 7, targetPort: 7777}
  - {name: udp, port: 7, targetPort: 7777, protocol: UDP}
"""
ALIKE = """
apiVersion: v1
kind: Service
metadata: {{name: alike-{number}}}
spec:
  selector: {{app: echo}}
  ports: [{{port: 7, targetPort: 7777}}]
"""
MOVING = """
apiVersion: v1
kind: Service
metadata: {name: moving}
spec:
  selector: {app: nobody}
  ports: [{port: 7, targetPort: 7777, protocol: UDP}]
---
"""
ROLLING = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: rolling}
spec:
  replicas: 3
  selector: {matchLabels: {app: rolling}}
  template:
    metadata: {labels: {app: rolling}}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
      - name: main
        image: moorings.dev/busybox:1
        command: [sh, -c, "mkdir /www && hostname > /www/name && exec httpd -f -p 8080 -h /www"]
        ports: [{containerPort: 8080, name: web}]
        readinessProbe: {httpGet: {path: /name, port: web}, periodSeconds: 1}
        lifecycle: {preStop: {sleep: {seconds: 1}}}
---
apiVersion: v1
kind: Service
metadata: {name: rolling}
spec:
  type: NodePort
  selector: {app: rolling}
  ports: [{port: 80, targetPort: web}]
"""


@contextlib.contextmanager
def made(lab, namespace: str):
    """Pods one, two, three, each on its own node, all Services of them, somebody outside."""
    lab.apply(SERVICES + "---" + MOVING + places.web("echo", one="node-1", two="node-2", three="node-3"), namespace)
    found = places.pods(lab, namespace, "one", "two", "three")
    with places.outside(lab) as outside, places.echoing(found):
        yield lab, namespace, found, outside


@pytest.fixture
def world(lab, namespace):
    """A world of the test's own, whose pods it may take away."""
    with made(lab, namespace) as found:
        yield found


@pytest.fixture(scope="module")
def shared(lab):
    """A world for tests that leave its pods as they are."""
    namespace = f"services-{os.getpid()}"
    lab.kubectl("create", "namespace", namespace)
    lab.wait_for("default service account", lambda: lab.get("serviceaccount", "default", "-n", namespace))
    with made(lab, namespace) as found:
        yield found
    lab.kubectl("delete", "namespace", namespace, "--wait=true", "--timeout=60s")


def spec(lab, namespace: str, name: str) -> dict:
    return lab.get("service", name, "-n", namespace)["spec"]


def node_port(lab, namespace: str, name: str) -> int:
    return spec(lab, namespace, name)["ports"][0]["nodePort"]


def names(ask, netns: str, address: str, port: int, count: int = 40) -> set[str]:
    """Ask often and return who answered; nobody is somebody, too."""
    found = set()
    for _ in range(count):
        try:
            found.add(ask(netns, address, port, timeout=1).partition("/")[2])
        except OSError as error:
            found.add(type(error).__name__)
    return found


def wait_for_names(lab, wanted: set[str], ask, netns: str, address: str, port: int) -> None:
    lab.wait_for(f"{wanted} to answer at {address}:{port}", lambda: names(ask, netns, address, port) == wanted)


REFUSALS = {"ConnectionRefusedError", "PermissionError"}
"""The kernel's word to a UDP sender on the node itself is EPERM."""


def wait_until_refused(lab, ask, netns: str, address: str, port: int) -> None:
    """Ask once at a time: kernels limit how many ICMP errors they send to one host."""
    lab.wait_for(f"{address}:{port} to be refused", lambda: names(ask, netns, address, port, 1) <= REFUSALS)


def test_a_virtual_address_leads_to_every_endpoint_and_to_no_other(world):
    lab, namespace, (one, *_), _ = world
    address = spec(lab, namespace, "plain")["clusterIP"]
    for ask in (ask_tcp, ask_udp):
        wait_for_names(lab, {"one", "two", "three"}, ask, one.netns, address, 7)
    seen = lab.exec("one", "timeout", "5", "wget", "-qO-", "http://plain/name", namespace=namespace).stdout.strip()
    assert seen in ("one", "two", "three"), "by name, to the named port of the pod"
    lab.kubectl("delete", "pod", "two", "-n", namespace)
    for ask in (ask_tcp, ask_udp):
        wait_for_names(lab, {"one", "three"}, ask, one.netns, address, 7)
        assert names(ask, places.node(lab, "node-2").netns, address, 7) == {"one", "three"}
    lab.kubectl("label", "pod", "one", "three", "-n", namespace, "app=other", "--overwrite")
    wait_until_refused(lab, ask_tcp, one.netns, address, 7)


def test_an_address_without_endpoints_and_a_port_that_no_service_has_are_refused_at_once(shared):
    lab, namespace, (one, *_), outside = shared
    for name, port in (("nobody", 7), ("plain", 9)):
        address = spec(lab, namespace, name)["clusterIP"]
        for netns in (one.netns, places.node(lab, "node-1").netns):
            for ask in (ask_tcp, ask_udp):
                wait_until_refused(lab, ask, netns, address, port)
    lab.kubectl("patch", "service", "nobody", "-n", namespace, "-p", '{"spec": {"type": "NodePort"}}')
    opened = node_port(lab, namespace, "nobody")
    wait_until_refused(lab, ask_tcp, outside.netns, places.node(lab, "node-2").address, opened)


def test_a_node_port_serves_from_outside_on_every_node(shared):
    lab, namespace, (one, *_), outside = shared
    port = node_port(lab, namespace, "opened")
    for name in ("node-1", "node-2", "node-3"):
        node = places.node(lab, name)
        for ask in (ask_tcp, ask_udp):
            opened = port if ask is ask_tcp else spec(lab, namespace, "opened")["ports"][1]["nodePort"]
            wait_for_names(lab, {"one", "two", "three"}, ask, outside.netns, node.address, opened)
        assert names(ask_tcp, one.netns, node.address, port) == {"one", "two", "three"}, "and from a pod"
        assert names(ask_tcp, node.netns, node.address, port) == {"one", "two", "three"}, "and from the node itself"


def test_policy_local_keeps_the_clients_address_and_answers_only_where_an_endpoint_is(shared):
    lab, namespace, (_, two, _), outside = shared
    port, near, far = node_port(lab, namespace, "local"), places.node(lab, "node-1"), places.node(lab, "node-2")
    wait_for_names(lab, {"one"}, ask_tcp, outside.netns, near.address, port)
    assert ask_tcp(outside.netns, near.address, port) == f"{outside.address}/one", "the client's own address is seen"
    with pytest.raises(TimeoutError):
        ask_tcp(outside.netns, far.address, port, timeout=1)
    assert ask_tcp(two.netns, far.address, port).endswith("/one"), "a pod on that node is not bound to it"


def test_affinity_keeps_a_client_at_one_endpoint_until_that_is_gone(world):
    lab, namespace, (one, *_), _ = world
    address = spec(lab, namespace, "sticky")["clusterIP"]
    clients = {place.name: place.netns for place in (one, places.node(lab, "node-2"), places.node(lab, "node-3"))}
    chosen = {}
    for client, netns in clients.items():
        lab.wait_for("an answer", lambda netns=netns: not REFUSALS & names(ask_tcp, netns, address, 7, 1))
        found = names(ask_tcp, netns, address, 7)
        assert len(found) == 1, f"{client} went to {found}"
        (chosen[client],) = found
    client, gone = next(iter(chosen.items()))
    lab.kubectl("label", "pod", gone, "-n", namespace, "app=other", "--overwrite")
    (other,) = lab.wait_for("another endpoint", lambda: names(ask_tcp, clients[client], address, 7) - {gone})
    assert names(ask_tcp, clients[client], address, 7) == {other}


def test_a_udp_client_that_keeps_its_port_follows_the_service_to_the_next_pod(shared):
    lab, namespace, (one, *_), _ = shared
    address = spec(lab, namespace, "moving")["clusterIP"]
    wait_until_refused(lab, ask_udp, one.netns, address, 7)
    with contextlib.closing(places.UdpClient(one, (address, 7))) as client:
        for name in ("two", "three", "two"):
            selector = json.dumps({"spec": {"selector": {"app": "echo", "name": name}}})
            lab.kubectl("patch", "service", "moving", "-n", namespace, "-p", selector)
            lab.wait_for(f"{name} to answer", lambda name=name: client.ask() == name)


def test_services_are_elements_of_maps_and_no_rules(shared):
    lab, namespace, *_ = shared
    many = 20
    before = rules(lab, "node-1")
    lab.apply("---".join(ALIKE.format(number=number) for number in range(many)), namespace)
    items = lab.get("services", "-n", namespace)["items"]
    added = {s["spec"]["clusterIP"] for s in items if s["metadata"]["name"].startswith("alike-")}
    assert len(added) == many
    lab.wait_for("all to be served", lambda: added <= served(lab, "node-1"))
    assert rules(lab, "node-1") == before, "the same rules, whatever the number of Services"
    lab.kubectl("delete", "services", "-n", namespace, *(f"alike-{number}" for number in range(many)))
    lab.wait_for("all to be gone", lambda: not added & served(lab, "node-1"))


def table(lab, node: str) -> list[dict]:
    return json.loads(lab.node(node, "nft", "-j", "list", "table", "ip", "moorings_proxy"))["nftables"]


def rules(lab, node: str) -> list[str]:
    return [json.dumps(part["rule"]["expr"]) for part in table(lab, node) if "rule" in part]


def served(lab, node: str) -> set[str]:
    """Return the addresses that lead to endpoints."""
    (verdicts,) = (part["map"] for part in table(lab, node) if part.get("map", {}).get("name") == "svc")
    return {key["concat"][0] for key, _ in verdicts.get("elem", [])}


def test_rules_that_somebody_flushes_are_put_back(shared):
    lab, namespace, (one, *_), outside = shared
    address, node = spec(lab, namespace, "plain")["clusterIP"], places.node(lab, "node-1")
    wait_for_names(lab, {"one", "two", "three"}, ask_tcp, one.netns, address, 7)
    lab.node("node-1", "nft", "flush", "ruleset")
    wait_for_names(lab, {"one", "two", "three"}, ask_tcp, one.netns, address, 7)
    with places.echoing([outside]):
        lab.wait_for("masquerade", lambda: names(ask_tcp, one.netns, outside.address, 7777, 1) == {"outside"})
        assert ask_tcp(one.netns, outside.address) == f"{node.address}/outside"


def test_services_and_pods_are_served_without_a_gap_while_agents_are_killed_and_start_again(shared):
    lab, namespace, (one, *_), _ = shared
    address = spec(lab, namespace, "plain")["clusterIP"]
    wait_for_names(lab, {"one", "two", "three"}, ask_tcp, one.netns, address, 7)
    with load(one, RATE, f"http://{address}/name", f"echo://{address}:7") as report:
        for number, node in enumerate(("node-1", "node-2"), 100):
            places.kill_agent(lab, node)
            lab.apply(ALIKE.format(number=number), namespace)
            fresh = spec(lab, namespace, f"alike-{number}")["clusterIP"]
            lab.wait_for("the new agent to serve what is new", lambda node=node, fresh=fresh: fresh in served(lab, node))
    assert report["failures"] == [], f"of {report['requests']} requests"
    (stream,) = report["streams"].values()
    assert stream["error"] == "" and stream["echoed"] > 0


def test_a_rolling_update_under_load_fails_no_request(lab, namespace):
    lab.apply(ROLLING + "---" + places.web("client", client="node-1"), namespace)
    (client,) = places.pods(lab, namespace, "client")
    lab.kubectl("rollout", "status", "deployment/rolling", "-n", namespace, "--timeout=60s")
    before = {p["metadata"]["name"] for p in lab.get("pods", "-n", namespace, "-l", "app=rolling")["items"]}
    service = spec(lab, namespace, "rolling")
    node, port = places.node(lab, "node-2"), service["ports"][0]["nodePort"]
    with places.outside(lab) as outside:
        inner = load(client, RATE, f"http://{service['clusterIP']}/name")
        outer = load(outside, RATE, f"http://{node.address}:{port}/name")
        with inner as first, outer as second:
            lab.kubectl("set", "env", "deployment/rolling", "-n", namespace, "ROUND=2")
            lab.kubectl("rollout", "status", "deployment/rolling", "-n", namespace, "--timeout=60s")
    ready = lab.get("pods", "-n", namespace, "-l", "app=rolling")["items"]
    assert before.isdisjoint(p["metadata"]["name"] for p in ready if "deletionTimestamp" not in p["metadata"])
    for report in (first, second):
        assert report["failures"] == [], f"of {report['requests']} requests"
        assert report["requests"] == report["answered"] > RATE / 4, "the load went on during the update"
