"""Upstream's kube-controller-manager and kube-scheduler drive a lab in place of ours: agents, network and containers are real."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from moorings_labs.cluster import Cluster

from .conftest import Driven

RACES = Path(__file__).with_name("races.txt")
IMAGE = "moorings.dev/busybox:1"
SLEEPS = {"terminationGracePeriodSeconds": 0, "containers": [{"name": "main", "image": IMAGE, "command": ["sleep", "3600"]}]}


def template(app: str, **spec: object) -> dict[str, object]:
    return {"metadata": {"labels": {"app": app}}, "spec": {**SLEEPS, **spec}}


def manifest(api: str, kind: str, name: str, **spec: object) -> dict[str, object]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec}


def workload(kind: str, name: str, **spec: object) -> dict[str, object]:
    return manifest("apps/v1", kind, name, selector={"matchLabels": {"app": name}}, template=template(name), **spec)


def apply(lab: Cluster, namespace: str, *objects: dict[str, object]) -> None:
    lab.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}), namespace)


def test_a_deployment_rolls_out_and_its_service_follows(lab: Cluster, namespace: str) -> None:
    service = manifest("v1", "Service", "web", selector={"app": "web"}, ports=[{"port": 80}])
    apply(lab, namespace, workload("Deployment", "web", replicas=3), service)
    lab.kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=60s")
    first = {p["metadata"]["name"]: p["status"]["podIP"] for p in lab.get("pods", "-n", namespace)["items"]}
    assert len(first) == 3
    lab.kubectl("set", "env", "deployment/web", "A=2", "-n", namespace)
    lab.kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=60s")

    def addresses() -> set[str]:
        slices = lab.get("endpointslices", "-n", namespace, "-l", "kubernetes.io/service-name=web")["items"]
        return {a for s in slices for e in s["endpoints"] or () if e["conditions"]["ready"] for a in e["addresses"]}

    def replaced() -> bool:
        now = {p["metadata"]["name"]: p["status"].get("podIP") for p in lab.get("pods", "-n", namespace)["items"]}
        return len(now) == 3 and not now.keys() & first.keys() and addresses() == set(now.values())

    lab.wait_for("new pods behind the service", replaced)
    lab.kubectl("rollout", "undo", "deployment/web", "-n", namespace)
    lab.kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=60s")


def test_a_job_completes_and_a_cron_job_makes_jobs(lab: Cluster, namespace: str) -> None:
    once = {**SLEEPS, "restartPolicy": "Never", "containers": [{"name": "main", "image": IMAGE, "command": ["true"]}]}
    indexed = manifest("batch/v1", "Job", "one", completions=3, parallelism=2, completionMode="Indexed", template={"spec": once})
    every = manifest("batch/v1", "CronJob", "every", schedule="* * * * *", jobTemplate={"spec": {"template": {"spec": once}}})
    apply(lab, namespace, indexed, every)
    lab.kubectl("wait", "job/one", "-n", namespace, "--for=condition=Complete", "--timeout=60s")
    assert lab.get("job", "one", "-n", namespace)["status"]["completedIndexes"] == "0-2"

    def made() -> bool:
        jobs = [j for j in lab.get("jobs", "-n", namespace)["items"] if j["metadata"].get("ownerReferences")]
        return any(j["status"].get("succeeded") for j in jobs)

    lab.wait_for("a job of the cron job", made, timeout=90)


def test_a_stateful_set_counts_up_and_a_daemon_set_is_on_every_node(lab: Cluster, namespace: str) -> None:
    apply(lab, namespace, workload("StatefulSet", "set", replicas=3, serviceName="set"), workload("DaemonSet", "all"))
    for what in ("statefulset/set", "daemonset/all"):
        lab.kubectl("rollout", "status", what, "-n", namespace, "--timeout=60s")
    named = lab.get("pods", "-n", namespace, "-l", "app=set")["items"]
    made = [p["metadata"]["name"] for p in sorted(named, key=lambda p: p["metadata"]["creationTimestamp"] + p["metadata"]["name"])]
    assert made == ["set-0", "set-1", "set-2"]
    assert len({p["spec"]["nodeName"] for p in lab.get("pods", "-n", namespace, "-l", "app=all")["items"]}) == 3
    lab.kubectl("scale", "statefulset/set", "--replicas=1", "-n", namespace)
    lab.wait_for(
        "one pod", lambda: [p["metadata"]["name"] for p in lab.get("pods", "-n", namespace, "-l", "app=set")["items"]] == ["set-0"]
    )


def test_quotas_disruption_budgets_and_owners_are_kept_up(lab: Cluster, namespace: str) -> None:
    quota = manifest("v1", "ResourceQuota", "few", hard={"pods": "5"})
    apply(lab, namespace, quota)
    lab.wait_for("the quota", lambda: lab.get("quota", "few", "-n", namespace)["status"]["used"]["pods"] == "0")
    budget = manifest("policy/v1", "PodDisruptionBudget", "most", minAvailable=1, selector={"matchLabels": {"app": "kept"}})
    apply(lab, namespace, workload("Deployment", "kept", replicas=2), budget)
    lab.wait_for("the budget", lambda: lab.get("pdb", "most", "-n", namespace)["status"]["disruptionsAllowed"] == 1)
    lab.wait_for("the quota", lambda: lab.get("quota", "few", "-n", namespace)["status"]["used"]["pods"] == "2")
    lab.kubectl("delete", "deployment", "kept", "-n", namespace)
    lab.wait_for("no pod", lambda: not lab.get("pods", "-n", namespace)["items"] and not lab.get("replicasets", "-n", namespace)["items"])


def test_a_namespace_goes_with_all_that_is_in_it(lab: Cluster) -> None:
    lab.kubectl("create", "namespace", "ending")
    lab.wait_for("default service account", lambda: lab.get("serviceaccount", "default", "-n", "ending"))
    apply(
        lab,
        "ending",
        workload("Deployment", "web", replicas=2),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}},
    )
    lab.kubectl("rollout", "status", "deployment/web", "-n", "ending", "--timeout=60s")
    lab.kubectl("delete", "namespace", "ending", "--timeout=60s")
    assert not lab.get("pods", "-n", "ending")["items"]


@pytest.mark.oracle
def test_its_logs_have_no_error_that_upstream_s_own_api_server_does_not_cause(on_moorings: Driven, on_upstream: Driven) -> None:
    assert not on_moorings.plane.dead() + on_upstream.plane.dead()
    ours, theirs = on_moorings.plane.errors(), on_upstream.plane.errors()
    races = [re.compile(line) for line in RACES.read_text().splitlines() if line and not line.startswith("#")]
    assert not sorted(kind for kind in ours - theirs if not any(race.search(kind) for race in races))
