"""A node loses its power: it is found out, its pods run elsewhere, and it is taken back when it returns."""

from __future__ import annotations

import pytest
import yaml

pytestmark = pytest.mark.lab
IMAGE = "moorings.dev/busybox:1"


def deployment(name, replicas, **spec):
    main = {"name": "main", "image": IMAGE, "command": ["sleep", "3600"], "ports": [{"containerPort": 80}]}
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [main], **spec}}
    full = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": full}


def alive(lab, namespace, app):
    return [p for p in lab.get("pods", "-n", namespace, "-l", f"app={app}")["items"] if "deletionTimestamp" not in p["metadata"]]


def ready_nodes(lab, namespace, app):
    pods = alive(lab, namespace, app)
    if not all(any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"].get("conditions", ())) for p in pods):
        return []
    return [p["spec"]["nodeName"] for p in pods]


def endpoints(lab, namespace, service):
    slices = lab.get("endpointslices", "-n", namespace, "-l", f"kubernetes.io/service-name={service}")["items"]
    return {e["nodeName"] for s in slices for e in s.get("endpoints") or () if e["conditions"]["ready"]}


@pytest.fixture
def victim(lab):
    """The last node; with its power back, and Ready, after the test."""
    name = max(n["metadata"]["name"] for n in lab.get("nodes")["items"])
    yield name
    lab.moorings("node", "start", name)


@pytest.mark.timeout(180)
def test_the_pods_of_a_powered_off_node_run_elsewhere_and_the_node_comes_back(lab, namespace, victim):
    nodes = {n["metadata"]["name"] for n in lab.get("nodes")["items"]}
    patient = [{"key": k, "operator": "Exists"} for k in ("node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready")]
    stubborn = deployment("stubborn", 1, nodeSelector={"kubernetes.io/hostname": victim}, tolerations=patient)
    lab.apply(yaml.safe_dump_all([deployment("web", len(nodes)), stubborn]), namespace)
    lab.kubectl("expose", "deployment", "web", "--port=80", "-n", namespace)
    for name in ("web", "stubborn"):
        lab.kubectl("rollout", "status", f"deployment/{name}", "-n", namespace, "--timeout=60s")
    lab.wait_for("an endpoint on every node", lambda: endpoints(lab, namespace, "web") == nodes)
    lost = {p["metadata"]["uid"] for p in alive(lab, namespace, "web") if p["spec"]["nodeName"] == victim}
    renewed = lab.get("lease", victim, "-n", "kube-node-lease")["spec"]["renewTime"]
    lab.wait_for("a heartbeat", lambda: lab.get("lease", victim, "-n", "kube-node-lease")["spec"]["renewTime"] > renewed)

    lab.moorings("node", "poweroff", victim)
    lab.kubectl("wait", "--for=condition=Ready=Unknown", f"node/{victim}", "--timeout=60s")
    assert lab.kubectl("get", "node", victim).stdout.splitlines()[1].split()[1] == "NotReady"

    def taints():
        found = {(t["key"], t["effect"]) for t in lab.get("node", victim)["spec"].get("taints", ())}
        return {("node.kubernetes.io/unreachable", "NoSchedule"), ("node.kubernetes.io/unreachable", "NoExecute")} <= found

    lab.wait_for("the taints of an unreachable node", taints)
    lab.wait_for("no traffic goes there", lambda: endpoints(lab, namespace, "web") == nodes - {victim})
    elsewhere = lab.wait_for(
        "all replicas on the other nodes",
        lambda: len(found := ready_nodes(lab, namespace, "web")) == len(nodes) and victim not in found and found,
    )
    assert set(elsewhere) == nodes - {victim}
    events = lab.get("events", "-n", namespace, "--field-selector", "reason=TaintManagerEviction")["items"]
    assert any("Marking for deletion Pod" in e["message"] for e in events)
    marked = [p for p in lab.get("pods", "-n", namespace, "-l", "app=web")["items"] if p["metadata"]["uid"] in lost]
    assert all("deletionTimestamp" in p["metadata"] for p in marked)
    assert len(marked) == len(lost), "a pod is not forgotten while nobody can say that it has stopped"
    assert [p["spec"]["nodeName"] for p in alive(lab, namespace, "stubborn")] == [victim], "who tolerates the taint for ever stays"

    lab.moorings("node", "start", victim)
    lab.kubectl("wait", "--for=condition=Ready=True", f"node/{victim}", "--timeout=60s")
    lab.wait_for("the taints go", lambda: not lab.get("node", victim)["spec"].get("taints"))

    def settled():
        uids = {p["metadata"]["uid"] for p in lab.get("pods", "-n", namespace)["items"]}
        return not lost & uids and len(ready_nodes(lab, namespace, "web")) == len(nodes)

    lab.wait_for("the old pods are gone, the new ones stay", settled)
    lab.wait_for("the stubborn one runs again", lambda: ready_nodes(lab, namespace, "stubborn") == [victim])


def test_a_taint_that_evicts_waits_as_long_as_the_pod_tolerates_it(lab, namespace, victim):
    def bare(name, **toleration):
        tolerations = [{"key": "test.moorings.dev/out", "operator": "Exists", "effect": "NoExecute", **toleration}]
        container = {"name": "main", "image": IMAGE, "command": ["sleep", "3600"]}
        spec = {"nodeName": victim, "terminationGracePeriodSeconds": 0, "containers": [container]}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": spec | ({"tolerations": tolerations} if name != "gone" else {}),
        }

    lab.apply(yaml.safe_dump_all([bare("gone"), bare("brief", tolerationSeconds=1), bare("stays")]), namespace)
    lab.wait_ready("gone", "brief", "stays", namespace=namespace)
    lab.kubectl("taint", "node", victim, "test.moorings.dev/out=now:NoExecute")
    try:
        lab.kubectl("wait", "--for=delete", "pod/gone", "pod/brief", "-n", namespace, "--timeout=30s")
        assert [p["metadata"]["name"] for p in lab.get("pods", "-n", namespace)["items"]] == ["stays"]
    finally:
        lab.kubectl("taint", "node", victim, "test.moorings.dev/out-")
