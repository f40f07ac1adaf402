"""Pods of lower priority make room in a real cluster: for a scarce resource, and for a claim that only one pod may use."""

from __future__ import annotations

import json

import pytest

from .test_volumes import apply, claim, events, home, pod, volume

pytestmark = pytest.mark.lab
SCARCE = "example.com/scarce"


@pytest.fixture
def classes(lab, namespace):
    """Two priority classes, the lower first; they go after the test."""
    names = [f"{namespace}-low", f"{namespace}-high"]
    for name, value in zip(names, (1, 1000), strict=True):
        lab.kubectl("create", "priorityclass", name, f"--value={value}")
    yield names
    lab.kubectl("delete", "priorityclass", *names)


@pytest.fixture
def scarce(lab):
    """A node that has one of a resource which no other node has."""
    node = min(n["metadata"]["name"] for n in lab.get("nodes")["items"])

    def offer(amount):
        patch = json.dumps({"status": {"capacity": {SCARCE: amount}, "allocatable": {SCARCE: amount}}})
        lab.kubectl("patch", "node", node, "--subresource=status", "--type=merge", "-p", patch)

    offer("1")
    yield node
    offer(None)


def asking(name, priority, **more):
    made = pod(name, priorityClassName=priority, **more)
    made["spec"]["containers"][0]["resources"] = {"limits": {SCARCE: "1"}}
    return made


def condition(lab, namespace, name, kind):
    conditions = lab.get("pod", name, "-n", namespace)["status"].get("conditions", ())
    return next((c for c in conditions if c["type"] == kind), None)


def test_the_lower_pod_ends_with_its_grace_and_the_higher_one_runs_in_its_place(lab, namespace, classes, scarce):
    low, high = classes
    held = asking("low", low, terminationGracePeriodSeconds=60)
    held["metadata"]["finalizers"] = ["example.com/seen"]  # so that what is said of it can be read when it has ended
    apply(lab, namespace, held)
    lab.wait_ready("low", namespace=namespace)
    apply(lab, namespace, asking("high", high))
    lab.wait_for("the lower one to be told to go", lambda: lab.get("pod", "low", "-n", namespace)["metadata"].get("deletionTimestamp"))
    told = condition(lab, namespace, "low", "DisruptionTarget")
    assert (told["status"], told["reason"]) == ("True", "PreemptionByScheduler")
    assert lab.get("pod", "high", "-n", namespace)["status"]["nominatedNodeName"] == scarce
    uid = lab.get("pod", "high", "-n", namespace)["metadata"]["uid"]
    lab.wait_for("the event", lambda: f"Preempted by pod {uid} on node {scarce}" in events(lab, namespace, "low"))
    apply(lab, namespace, asking("equal", high))
    lab.kubectl("patch", "pod", "low", "-n", namespace, "--type=json", "-p", '[{"op":"remove","path":"/metadata/finalizers"}]')
    lab.kubectl("delete", "pod", "low", "-n", namespace, "--grace-period=0", "--force", "--ignore-not-found")
    lab.wait_ready("high", namespace=namespace)
    assert home(lab, namespace, "high") == scarce
    assert "nominatedNodeName" not in lab.get("pod", "high", "-n", namespace)["status"]
    lab.wait_for("the other to say why", lambda: "Insufficient example.com/scarce" in events(lab, namespace, "equal"))
    assert not lab.get("pod", "high", "-n", namespace)["metadata"].get("deletionTimestamp"), "equals do not make room for each other"


def test_the_user_of_a_claim_for_one_pod_makes_room_for_a_higher_one_wherever_that_would_run(lab, namespace, classes):
    low, high = classes
    apply(lab, namespace, claim("data", storage="local", size="320Mi", mode="ReadWriteOncePod"))
    apply(lab, namespace, pod("user", volume("data"), priorityClassName=low), pod("bystander", priorityClassName=low))
    lab.wait_ready("user", "bystander", namespace=namespace)
    lab.exec("user", "sh", "-c", "echo kept > /data/file", namespace=namespace)
    apply(lab, namespace, pod("equal", volume("data"), priorityClassName=low))
    in_use = "unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"
    lab.wait_for("an equal to wait", lambda: in_use in events(lab, namespace, "equal"))
    where = home(lab, namespace, "user")
    lab.kubectl("delete", "pod", "equal", "-n", namespace)
    apply(lab, namespace, pod("heir", volume("data"), priorityClassName=high))
    lab.wait_ready("heir", namespace=namespace)
    assert home(lab, namespace, "heir") == where
    assert lab.exec("heir", "cat", "/data/file", namespace=namespace).stdout == "kept\n"
    assert lab.kubectl("get", "pod", "user", "-n", namespace, check=False).returncode, "its user is gone"
    assert not lab.get("pod", "bystander", "-n", namespace)["metadata"].get("deletionTimestamp")
