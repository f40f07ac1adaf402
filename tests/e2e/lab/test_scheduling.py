"""Where pods land in a real cluster, and what `kubectl describe` says of those that land nowhere."""

from __future__ import annotations

import pytest
import yaml

from moorings_core.registry.quantity import to_int

pytestmark = pytest.mark.lab
IMAGE = "moorings.dev/busybox:1"
LABEL = "test.moorings.dev/disk"


def pod(name, *, requests=None, labels=None, **spec):
    container = {"name": "main", "image": IMAGE, "command": ["sleep", "3600"], "resources": {"requests": requests or {}}}
    body = {"terminationGracePeriodSeconds": 0, "containers": [container], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels or {}}, "spec": body}


def text(*objects):
    return yaml.safe_dump_all(objects)


def deployment(replicas):
    template = pod("unused", labels={"app": "web"})
    body = {"metadata": {"labels": {"app": "web"}}, "spec": template["spec"]}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": body}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


def node_of(lab, namespace, name):
    return lab.wait_for(f"{name} on a node", lambda: lab.get("pod", name, "-n", namespace)["spec"].get("nodeName"))


def failure(lab, namespace, name):
    """The text of the last FailedScheduling event, as `kubectl get events` has it."""

    def look():
        fields = f"involvedObject.name={name},reason=FailedScheduling"
        items = lab.get("events", "-n", namespace, "--field-selector", fields)["items"]
        return items[-1]["message"] if items else ""

    return lab.wait_for(f"why {name} has no node", look)


@pytest.fixture(scope="module")
def nodes(lab):
    """The nodes by name; what a test changes on them it takes back."""
    return sorted(n["metadata"]["name"] for n in lab.get("nodes")["items"])


@pytest.fixture
def marked(lab, nodes):
    """The first node, with a label of this test's own."""
    lab.kubectl("label", "node", nodes[0], f"{LABEL}=fast")
    yield nodes[0]
    lab.kubectl("label", "node", nodes[0], f"{LABEL}-")


@pytest.fixture
def tainted(lab, nodes):
    """The second node, with a taint that only this test's pods tolerate."""
    lab.kubectl("taint", "node", nodes[1], "test.moorings.dev/only=mine:NoSchedule")
    yield nodes[1]
    lab.kubectl("taint", "node", nodes[1], "test.moorings.dev/only-")


def test_impossible_wishes_are_explained_in_upstream_s_words(lab, namespace, nodes):
    impossible = [
        pod("cpu", requests={"cpu": "1000"}),
        pod("both", requests={"cpu": "1000", "memory": "100Ti"}),
        pod("device", requests={"example.com/gpu": "1"}),
        pod("label", nodeSelector={"no.such/label": "x"}),
        pod("claim", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "absent"}}]),
        pod("polite", requests={"cpu": "1000"}, preemptionPolicy="Never"),
    ]
    impossible[2]["spec"]["containers"][0]["resources"] = {"limits": {"example.com/gpu": "1"}}
    lab.apply(text(*impossible[:5]), namespace)
    count = len(nodes)
    tail = f" preemption: 0/{count} nodes are available: {count} Preemption is not helpful for scheduling."
    head = f"0/{count} nodes are available:"
    expected = {
        "cpu": f"{head} {count} Insufficient cpu.{tail}",
        "both": f"{head} {count} Insufficient cpu, {count} Insufficient memory.{tail}",
        "device": f"{head} {count} Insufficient example.com/gpu.{tail}",
        "label": f"{head} {count} node(s) didn't match Pod's node affinity/selector.{tail}",
        "claim": f'{head} persistentvolumeclaim "absent" not found.{tail}',
    }
    assert {name: failure(lab, namespace, name) for name in expected} == expected
    described = lab.kubectl("describe", "pod", "cpu", "-n", namespace).stdout
    assert "FailedScheduling" in described
    assert "Insufficient cpu" in described
    condition = lab.get("pod", "cpu", "-n", namespace)["status"]["conditions"][0]
    assert (condition["type"], condition["status"], condition["reason"]) == ("PodScheduled", "False", "Unschedulable")
    assert condition["message"] == expected["cpu"]
    assert lab.get("pod", "cpu", "-n", namespace)["status"]["phase"] == "Pending"


def test_selectors_affinity_and_taints_decide_the_node(lab, namespace, nodes, marked, tainted):
    def affinity(kind, operator, *values):
        expression = {"key": LABEL, "operator": operator} | ({"values": list(values)} if values else {})
        term = {"matchExpressions": [expression]}
        if kind == "required":
            return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
        return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": term}]}}

    tolerations = [{"key": "test.moorings.dev/only", "operator": "Equal", "value": "mine", "effect": "NoSchedule"}]
    name = {"kubernetes.io/hostname": tainted}
    wanted = [
        pod("selected", nodeSelector={LABEL: "fast"}),
        pod("required", affinity=affinity("required", "In", "fast", "faster")),
        pod("preferred", affinity=affinity("preferred", "Exists")),
        pod("tolerant", nodeSelector=name, tolerations=tolerations),
        pod("intolerant", nodeSelector=name),
        pod("avoiding", affinity=affinity("required", "DoesNotExist")),
    ]
    lab.apply(text(*wanted), namespace)
    assert [node_of(lab, namespace, n) for n in ("selected", "required", "preferred")] == [marked] * 3
    assert node_of(lab, namespace, "tolerant") == tainted
    assert node_of(lab, namespace, "avoiding") not in (marked, tainted)
    told = failure(lab, namespace, "intolerant")
    others = len(nodes) - 1
    assert f"1 node(s) had untolerated taint(s), {others} node(s) didn't match Pod's node affinity/selector." in told


def test_a_taint_taken_away_lets_the_waiting_pod_run(lab, namespace, nodes, tainted):
    lab.apply(text(pod("patient", nodeSelector={"kubernetes.io/hostname": tainted})), namespace)
    assert "untolerated taint" in failure(lab, namespace, "patient")
    lab.kubectl("taint", "node", tainted, "test.moorings.dev/only-")
    lab.wait_ready("patient", namespace=namespace)
    lab.kubectl("taint", "node", tainted, "test.moorings.dev/only=mine:NoSchedule")


def test_room_that_another_pod_holds_is_used_once_it_is_gone(lab, namespace, nodes):
    """Each of the two asks for more than half of what the node has: they can only follow each other."""
    kibibytes = to_int(lab.get("node", nodes[2])["status"]["allocatable"]["memory"]) // 1024
    place = {"nodeSelector": {"kubernetes.io/hostname": nodes[2]}}
    big = {"memory": f"{kibibytes * 6 // 10}Ki"}
    lab.apply(text(pod("first", requests=big, **place)), namespace)
    lab.wait_ready("first", namespace=namespace)
    lab.apply(text(pod("second", requests=big, **place)), namespace)
    told = failure(lab, namespace, "second")
    assert "1 Insufficient memory" in told
    assert "1 No preemption victims found for incoming pod" in told
    lab.kubectl("delete", "pod", "first", "-n", namespace, "--grace-period=0", "--force")
    lab.wait_ready("second", namespace=namespace)


def test_hard_spread_keeps_pods_apart_and_says_when_it_cannot(lab, namespace, nodes):
    constraint = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "apart"}},
    }
    spread = {"labels": {"app": "apart"}, "topologySpreadConstraints": [constraint]}
    names = [f"p{i}" for i in range(len(nodes))]
    lab.apply(text(*(pod(n, **spread) for n in names)), namespace)
    assert {node_of(lab, namespace, n) for n in names} == set(nodes)
    extra = pod("extra", **spread, nodeSelector={"kubernetes.io/hostname": nodes[0]})
    extra["spec"]["topologySpreadConstraints"][0] = {**constraint, "nodeAffinityPolicy": "Ignore"}
    lab.apply(text(extra), namespace)
    assert node_of(lab, namespace, "extra") == nodes[0]
    lab.apply(text({**extra, "metadata": {**extra["metadata"], "name": "more"}}), namespace)
    assert "1 node(s) didn't match pod topology spread constraints" in failure(lab, namespace, "more")


def test_replicas_spread_over_nodes_without_being_told(lab, namespace, nodes):
    lab.apply(text(deployment(len(nodes))), namespace)
    lab.kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=60s")
    pods = lab.get("pods", "-l", "app=web", "-n", namespace)["items"]
    assert {p["spec"]["nodeName"] for p in pods} == set(nodes)


def test_a_cordoned_node_takes_nothing_new_and_a_drained_one_is_emptied(lab, namespace, nodes):
    lab.apply(text(deployment(len(nodes))), namespace)
    lab.kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=60s")
    try:
        selector = "--pod-selector=app=web"
        out = lab.kubectl("drain", nodes[1], selector, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=60s")
        assert "drained" in out.stdout
        assert "SchedulingDisabled" in lab.kubectl("get", "node", nodes[1]).stdout
        lab.kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=60s")
        running = [p for p in lab.get("pods", "-l", "app=web", "-n", namespace)["items"] if "deletionTimestamp" not in p["metadata"]]
        assert len(running) == len(nodes)
        assert nodes[1] not in {p["spec"]["nodeName"] for p in running}
        lab.apply(text(pod("insists", nodeSelector={"kubernetes.io/hostname": nodes[1]})), namespace)
        assert "1 node(s) were unschedulable" in failure(lab, namespace, "insists")
    finally:
        lab.kubectl("uncordon", nodes[1])
    lab.wait_ready("insists", namespace=namespace)


def test_a_pod_with_gates_waits_for_the_last_one_to_go(lab, namespace):
    lab.apply(text(pod("gated", schedulingGates=[{"name": "example.com/wait"}])), namespace)
    assert lab.kubectl("get", "pod", "gated", "-n", namespace).stdout.splitlines()[1].split()[2] == "SchedulingGated"
    lab.kubectl("patch", "pod", "gated", "-n", namespace, "--type=json", "-p", '[{"op":"remove","path":"/spec/schedulingGates"}]')
    lab.wait_ready("gated", namespace=namespace)
