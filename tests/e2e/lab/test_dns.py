"""Cluster DNS as pods see it, and as the nodes serve it."""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from moorings_labs import audit, layout
from moorings_labs.cluster import run

from . import places

pytestmark = pytest.mark.lab
DOMAIN = "cluster.local"
OBJECTS = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: named}
  ports: [{name: http, port: 80, targetPort: web}]
---
apiVersion: v1
kind: Service
metadata: {name: crew}
spec:
  clusterIP: None
  selector: {app: named}
  ports: [{name: http, port: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: elsewhere}
spec: {type: ExternalName, externalName: web.NAMESPACE.svc.cluster.local}
---
apiVersion: v1
kind: Service
metadata: {name: six}
spec: {clusterIP: None, ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: six-1, labels: {kubernetes.io/service-name: six}}
addressType: IPv6
endpoints: [{addresses: ["fd00::6"]}]
ports: [{name: http, port: 80}]
---
apiVersion: v1
kind: Pod
metadata: {name: captain, labels: {app: named}}
spec:
  nodeName: node-2
  hostname: captain
  subdomain: crew
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: "moorings.dev/busybox:1", command: [sleep, "3600"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: own}
spec:
  nodeName: node-2
  dnsPolicy: None
  dnsConfig: {nameservers: [192.0.2.53], searches: [example.org], options: [{name: ndots, value: "1"}]}
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: "moorings.dev/busybox:1", command: [sleep, "3600"]}]
---
"""


def test_pods_find_services_and_each_other_by_name(lab, namespace):
    lab.apply(OBJECTS.replace("NAMESPACE", namespace) + places.web("named", asker="node-1"), namespace)
    lab.wait_ready("asker", "captain", "own", namespace=namespace)
    root = f"{namespace}.svc.{DOMAIN}"
    address = lab.get("service", "web", "-n", namespace)["spec"]["clusterIP"]
    asker, captain = (lab.pod_ip(name, namespace) for name in ("asker", "captain"))
    resolver(lab, namespace)

    def look(name: str, kind: str = "a") -> str:
        return lab.exec("asker", "nslookup", f"-type={kind}", name, namespace=namespace, check=False).stdout

    both = lab.wait_for("both pods of the headless Service", lambda: found(look(f"crew.{root}")) == {asker, captain})
    assert both
    assert found(look(f"web.{root}")) == {address}
    assert found(look(f"kubernetes.default.svc.{DOMAIN}")) == {"10.96.0.1"}
    assert found(look(f"captain.crew.{root}")) == {captain}, "a pod with a host name and this subdomain"
    assert found(look(f"{captain.replace('.', '-')}.{namespace}.pod.{DOMAIN}")) == {captain}
    assert found(look(f"elsewhere.{root}")) == {address}, "an alias is followed"
    assert found(look(f"six.{root}", "aaaa")) == {"fd00::6"}
    assert found(look(f"web.{root}", "aaaa")) == set() and "NXDOMAIN" not in look(f"web.{root}", "aaaa"), "it is there, without IPv6"
    assert "NXDOMAIN" in look(f"nobody.{root}")
    assert re.search(rf"_http\._tcp\.web\S*\s+service = 0 100 80 web\.{re.escape(root)}", look(f"_http._tcp.web.{root}", "srv"))
    assert re.search(r"service = 0 50 8080 captain\.crew\.", look(f"_http._tcp.crew.{root}", "srv"))
    assert f"name = web.{root}" in look(reverse(address), "ptr")
    assert f"name = captain.crew.{root}" in look(reverse(captain), "ptr")
    reached = lab.exec("asker", "timeout", "5", "wget", "-qO-", "http://web/name", namespace=namespace).stdout
    assert reached == "asker\n", "the only pod that has the port of that name"


def resolver(lab, namespace: str) -> None:
    """A pod's resolv.conf, with the cluster's policy and with its own."""
    text = lab.exec("asker", "cat", "/etc/resolv.conf", namespace=namespace).stdout
    assert "nameserver 10.96.0.10\n" in text and "options ndots:5\n" in text
    assert f"search {namespace}.svc.{DOMAIN} svc.{DOMAIN} {DOMAIN}" in text
    own = lab.exec("own", "cat", "/etc/resolv.conf", namespace=namespace).stdout
    assert own.split() == ["search", "example.org", "nameserver", "192.0.2.53", "options", "ndots:1"]


def found(answer: str) -> set[str]:
    """Return the addresses in an answer, without the server's own."""
    body = answer.partition("\n\n")[2]
    return set(re.findall(r"^Address:\s+(\S+)$", body, re.MULTILINE))


def reverse(address: str) -> str:
    return ".".join(reversed(address.split("."))) + ".in-addr.arpa"


def test_every_node_answers_from_its_own_server(lab, namespace):
    lab.apply(places.web("asker", one="node-1", three="node-3"), namespace)
    lab.wait_ready("one", "three", namespace=namespace)
    for name in ("one", "three"):
        answer = lab.exec(name, "nslookup", f"kubernetes.default.svc.{DOMAIN}", namespace=namespace).stdout
        assert found(answer) == {"10.96.0.1"}
    slices = lab.get("endpointslices", "-n", "kube-system", "-l", "kubernetes.io/service-name=kube-dns")["items"]
    assert {(e["nodeName"], e["addresses"][0]) for s in slices for e in s["endpoints"]} == {
        (name, places.node(lab, name).address) for name in ("node-1", "node-2", "node-3")
    }
    assert lab.get("service", "kube-dns", "-n", "kube-system")["spec"]["internalTrafficPolicy"] == "Local"


@contextmanager
def without_server(lab) -> Iterator[None]:
    """Kill the server, and keep its node from starting it again while the block runs."""
    (server,) = audit.processes_of(layout.find(lab.name).id, "moorings_core.cli server")
    init = int(Path(f"/proc/{server}/stat").read_text().rpartition(") ")[2].split()[1])
    os.kill(init, signal.SIGSTOP)
    try:
        os.kill(server, signal.SIGKILL)
        yield
    finally:
        os.kill(init, signal.SIGCONT)
        lab.wait_for("the server answers", lambda: lab.kubectl("get", "--raw", "/readyz", check=False).stdout == "ok")


def test_dns_answers_what_it_knew_last_while_there_is_no_server_says_so_and_learns_again(lab, namespace):
    lab.apply(OBJECTS.replace("NAMESPACE", namespace) + places.web("named", asker="node-1"), namespace)
    asker, captain = places.pods(lab, namespace, "asker", "captain")
    root = f"{namespace}.svc.{DOMAIN}"
    address = lab.get("service", "web", "-n", namespace)["spec"]["clusterIP"]

    def look(name: str) -> set[str]:
        command = ["nsenter", f"--net={asker.netns}", "dig", "+short", "+tries=1", "+time=2", "@10.96.0.10", f"{name}.{root}"]
        return set(run(command, check=False).stdout.split())

    def reachable() -> str:
        page = lab.node("node-1", "busybox", "wget", "-qO-", f"http://{places.node(lab, 'node-1').address}:9153/metrics", check=False)
        return next((line.split()[1] for line in page.splitlines() if line.startswith("moorings_dns_api_reachable")), "")

    lab.wait_for("the names", lambda: look("web") == {address} and look("crew") == {asker.address, captain.address})
    assert reachable() == "1"
    with without_server(lab):
        lab.wait_for("the metric to say that the API is gone", lambda: reachable() == "0")
        assert look("web") == {address} and look("crew") == {asker.address, captain.address}
        assert look("nobody") == set()
    fresh = "apiVersion: v1\nkind: Service\nmetadata: {name: fresh}\nspec: {ports: [{port: 80}]}\n"
    lab.apply(fresh, namespace)
    address = lab.get("service", "fresh", "-n", namespace)["spec"]["clusterIP"]
    lab.wait_for("what came since", lambda: look("fresh") == {address})
    assert reachable() == "1"
