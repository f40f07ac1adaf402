"""Admission where it meets controllers and nodes: evictions that wait, quotas that give back, defaults and warnings."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.lab

IMAGE = "moorings.dev/busybox:1"
WEB = f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 3
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{{name: main, image: "{IMAGE}", command: [sleep, "3600"]}}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{name: web}}
spec: {{minAvailable: 2, selector: {{matchLabels: {{app: web}}}}}}
"""
HELD = f"""
apiVersion: v1
kind: Pod
metadata: {{name: held, labels: {{app: held}}}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{{name: main, image: "{IMAGE}", command: [sleep, "3600"]}}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{name: held}}
spec: {{minAvailable: 1, selector: {{matchLabels: {{app: held}}}}}}
"""


def budget(lab, name, namespace):
    status = lab.get("pdb", name, "-n", namespace).get("status") or {}
    fields = ("expectedPods", "currentHealthy", "desiredHealthy", "disruptionsAllowed")
    return tuple(status.get(field) for field in fields)


def evict(lab, pod, namespace):
    body = json.dumps({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}})
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
    return lab.kubectl("create", "--raw", path, "-f", "-", stdin=body, check=False)


def test_a_budget_lets_pods_go_one_by_one_and_none_where_it_can_spare_none(lab, namespace):
    lab.apply(WEB, namespace)
    lab.apply(HELD, namespace)
    lab.wait_for("budgets that know their pods", lambda: budget(lab, "web", namespace) == (3, 3, 2, 1))
    lab.wait_for("a budget that can spare none", lambda: budget(lab, "held", namespace) == (1, 1, 1, 0))
    refused = evict(lab, "held", namespace)
    assert "Cannot evict pod as it would violate the pod's disruption budget" in refused.stderr
    assert lab.get("pod", "held", "-n", namespace)["metadata"].get("deletionTimestamp") is None
    first, second, _ = (p["metadata"]["name"] for p in lab.get("pods", "-l", "app=web", "-n", namespace)["items"])
    assert evict(lab, first, namespace).returncode == 0
    lab.wait_for("a new pod in its place", lambda: budget(lab, "web", namespace) == (3, 3, 2, 1))
    assert evict(lab, second, namespace).returncode == 0
    names = lab.wait_for(
        "three pods, both evicted ones gone",
        lambda: (
            (found := [p["metadata"]["name"] for p in lab.get("pods", "-l", "app=web", "-n", namespace)["items"]])
            and not {first, second} & set(found)
            and found
        ),
    )
    assert len(names) == 3


def test_drain_waits_for_a_budget(lab, namespace):
    lab.apply(HELD, namespace)
    lab.wait_ready("held", namespace=namespace)
    lab.wait_for("the budget", lambda: budget(lab, "held", namespace) == (1, 1, 1, 0))
    node = lab.get("pod", "held", "-n", namespace)["spec"]["nodeName"]
    words = ("drain", node, "--ignore-daemonsets", "--force", "--delete-emptydir-data", "--pod-selector=app=held")
    try:
        waiting = lab.kubectl(*words, "--timeout=3s", check=False)
        assert waiting.returncode != 0
        assert "Cannot evict pod as it would violate the pod's disruption budget" in waiting.stderr
        lab.kubectl("patch", "pdb", "held", "-n", namespace, "--type=merge", "-p", '{"spec":{"minAvailable":0}}')
        lab.wait_for("the budget", lambda: budget(lab, "held", namespace) == (1, 1, 0, 1))
        done = lab.kubectl(*words, "--timeout=30s")
        assert "pod/held evicted" in done.stdout
    finally:
        lab.kubectl("uncordon", node)


def test_a_quota_holds_for_controllers_and_gives_back_what_is_gone(lab, namespace):
    lab.kubectl("create", "quota", "few", "--hard=pods=2,requests.cpu=1", "-n", namespace)

    def used():
        return (lab.get("quota", "few", "-n", namespace).get("status") or {}).get("used")

    lab.wait_for("a quota that was counted", lambda: used() == {"pods": "0", "requests.cpu": "0"})
    limits = {"type": "Container", "defaultRequest": {"cpu": "10m"}, "default": {"cpu": "100m"}}
    lab.apply(json.dumps({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l"}, "spec": {"limits": [limits]}}), namespace)
    lab.apply(WEB, namespace)
    lab.wait_for("as many pods as the quota lets", lambda: used() == {"pods": "2", "requests.cpu": "20m"})
    pods = lab.get("pods", "-n", namespace)["items"]
    assert len(pods) == 2
    container = pods[0]["spec"]["containers"][0]
    assert container["resources"] == {"requests": {"cpu": "10m"}, "limits": {"cpu": "100m"}}, "the quota asks for what the LimitRange gives"
    told = lab.wait_for(
        "the reason on the ReplicaSet",
        lambda: next(
            (
                c["message"]
                for rs in lab.get("rs", "-n", namespace)["items"]
                for c in (rs.get("status") or {}).get("conditions") or ()
                if c["type"] == "ReplicaFailure"
            ),
            "",
        ),
    )
    assert "exceeded quota: few, requested: pods=1, used: pods=2, limited: pods=2" in told
    lab.kubectl("delete", "deployment", "web", "-n", namespace)
    lab.wait_for("what is gone given back", lambda: used() == {"pods": "0", "requests.cpu": "0"})


def test_a_namespace_s_level_refuses_pods_and_warns_of_workloads(lab, namespace):
    labels = ("pod-security.kubernetes.io/enforce=baseline", "pod-security.kubernetes.io/warn=restricted")
    lab.kubectl("label", "namespace", namespace, *labels)
    warned = lab.kubectl("apply", "-n", namespace, "-f", "-", stdin=WEB)
    assert 'would violate PodSecurity "restricted:latest": allowPrivilegeEscalation != false' in warned.stderr
    refused = lab.kubectl("run", "shell", f"--image={IMAGE}", "--privileged", "--restart=Never", "-n", namespace, "--", "sh", check=False)
    assert (
        'violates PodSecurity "baseline:latest": privileged (container "shell" must not set securityContext.privileged=true)'
        in refused.stderr
    )
    lab.wait_for("its pod", lambda: lab.get("pods", "-n", namespace)["items"])
    stricter = lab.kubectl("label", "--overwrite", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    assert f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "restricted:latest"' in stricter.stderr
