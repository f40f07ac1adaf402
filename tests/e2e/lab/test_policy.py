"""NetworkPolicy on a real lab: probes, Services and their pods, and the words of `moorings policy trace`."""

import sys
from http.client import HTTPConnection

import pytest

from moorings_core.kernel.namespaces import call_in
from moorings_labs.cluster import run

from . import places

pytestmark = pytest.mark.lab

DENY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
"""
ALLOW = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: clients-reach-servers}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
  ingress: [{from: [{podSelector: {matchLabels: {name: client}}}], ports: [{port: web}]}]
  egress: [{to: [{podSelector: {matchLabels: {app: served}}}], ports: [{port: web}]}]
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: served}
spec: {selector: {app: served}, ports: [{port: 80, targetPort: web}]}
"""


def fetches(source: places.Place, address: str, port: int = 80) -> bool:
    """Whether a web server answers somebody; what is denied is silent."""

    def ask() -> bool:
        connection = HTTPConnection(address, port, timeout=1)
        try:
            connection.request("GET", "/name")
            return connection.getresponse().status == 200
        except TimeoutError:
            return False
        finally:
            connection.close()

    return bool(call_in(source.netns, ask))


def trace(lab, namespace: str, *words: str):
    """Run `moorings policy trace`."""
    command = [sys.executable, "-m", "moorings_core.cli", "policy", "trace", "-n", namespace, *words]
    return run(command, check=False, env={"KUBECONFIG": str(lab.kubeconfig)})


def test_policies_hold_for_pods_behind_services_from_their_first_packet_and_probes_and_dns_pass(lab, namespace):
    lab.apply(DENY, namespace)
    lab.apply(
        places.web("served", near="node-1", far="node-2") + places.web("asks", client="node-1", stranger="node-2") + SERVICE, namespace
    )
    near, far, client, stranger = places.pods(lab, namespace, "near", "far", "client", "stranger")  # ready: the kubelet's probes passed
    virtual = lab.get("service", "served", "-n", namespace)["spec"]["clusterIP"]
    assert not fetches(client, virtual)
    assert not fetches(client, far.address, 8080)
    asked = lab.exec("client", "nslookup", "served." + namespace + ".svc.cluster.local", namespace=namespace, check=False)
    assert virtual in asked.stdout, "cluster DNS is a part of the pod's own node, which it always reaches"
    lab.apply(ALLOW, namespace)
    lab.wait_for("what is allowed", lambda: fetches(client, far.address, 8080) and fetches(client, near.address, 8080))
    assert fetches(client, virtual), "policies see the pod behind the Service, and the client's own address"
    assert not fetches(stranger, near.address, 8080)
    assert not fetches(near, far.address, 8080)
    assert fetches(places.node(lab, "node-1"), near.address, 8080), "a pod's own node"


def test_trace_says_which_policy_allows_or_denies_and_what_was_counted(lab, namespace):
    lab.apply(DENY + "---" + ALLOW, namespace)
    lab.apply(places.web("served", server="node-1") + places.web("asks", client="node-2", stranger="node-2"), namespace)
    server, client, stranger = places.pods(lab, namespace, "server", "client", "stranger")
    lab.wait_for("the client to be let in", lambda: fetches(client, server.address, 8080))
    assert not fetches(stranger, client.address, 8080)
    allowed = trace(lab, namespace, "client", "server", "web")
    assert allowed.returncode == 0, allowed.stderr
    assert f"{namespace}/client ({client.address}) -> {namespace}/server ({server.address}), TCP 8080: allowed" in allowed.stdout
    assert f"entering {namespace}/server: allowed: allowed by {namespace}/clients-reach-servers" in allowed.stdout
    entering = allowed.stdout.split("entering")[1].splitlines()
    (line,) = (line for line in entering if line.strip().startswith(f"{namespace}/clients-reach-servers:"))
    assert int(line.split()[1]) >= 3, "a handshake and a question"
    denied = trace(lab, namespace, "stranger", client.address, "8080")
    assert denied.returncode == 1
    assert f"leaving {namespace}/stranger: denied: isolated by {namespace}/clients-reach-servers, {namespace}/deny" in denied.stdout
    assert not any(f"{namespace}/deny: 0 packets allowed, 0 denied" in line for line in denied.stdout.split("entering")[0].splitlines())
    assert "no pod" in trace(lab, namespace, "nobody", "server", "80").stderr
