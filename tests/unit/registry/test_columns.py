"""The tables of `kubectl get`: upstream's columns, upstream's words in the cells."""

from __future__ import annotations

import datetime

import pytest

from moorings_core.registry.columns import columns_of, table
from moorings_core.registry.columns.column import duration
from moorings_core.registry.kinds import built_in

from .objects import KINDS, changed, resource

NOW = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
HOUR_AGO, LATER = "2026-01-01T23:00:00Z", "2026-01-02T01:00:00Z"
STATUSES = "status.containerStatuses"


def row(name, changes, *, wide=False):
    """The cells of one object, by column name; with wide those of `-o wide` too."""
    group, plural, obj = KINDS[name]
    made = changed(obj, {"metadata.creationTimestamp": HOUR_AGO, **changes})
    found = table(resource(group, plural), [made], metadata={}, now=NOW)
    shown = zip(found["columnDefinitions"], found["rows"][0]["cells"], strict=True)
    return {c["name"]: cell for c, cell in shown if wide or c["priority"] == 0}


def state(ready=False, restarts=0, **given):
    return {"name": "c", "ready": ready, "restartCount": restarts, "state": given}


PODS = [
    ({"status.phase": "Pending"}, "Pending"),
    ({"status.phase": "Running", STATUSES: [state(True, running={"startedAt": HOUR_AGO})]}, "Running"),
    ({"status.phase": "Pending", STATUSES: [state(waiting={"reason": "ContainerCreating"})]}, "ContainerCreating"),
    ({"status.phase": "Running", STATUSES: [state(waiting={"reason": "CrashLoopBackOff"})]}, "CrashLoopBackOff"),
    ({"status.phase": "Pending", STATUSES: [state(waiting={"reason": "ImagePullBackOff"})]}, "ImagePullBackOff"),
    ({"status.phase": "Succeeded", STATUSES: [state(terminated={"reason": "Completed", "exitCode": 0})]}, "Completed"),
    ({"status.phase": "Failed", STATUSES: [state(terminated={"reason": "Error", "exitCode": 1})]}, "Error"),
    ({"status.phase": "Failed", STATUSES: [state(terminated={"reason": "OOMKilled", "exitCode": 137})]}, "OOMKilled"),
    ({"status.phase": "Failed", STATUSES: [state(terminated={"exitCode": 3})]}, "ExitCode:3"),
    ({"status.phase": "Failed", STATUSES: [state(terminated={"exitCode": 0, "signal": 9})]}, "Signal:9"),
    ({"status.phase": "Failed", "status.reason": "Evicted"}, "Evicted"),
    ({"status.phase": "Running", "metadata.deletionTimestamp": LATER}, "Terminating"),
    ({"status.phase": "Running", "metadata.deletionTimestamp": LATER, "status.reason": "NodeLost"}, "Unknown"),
    (
        {
            "status.phase": "Pending",
            "status.conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}],
        },
        "SchedulingGated",
    ),
    (
        {
            "status.phase": "Pending",
            "spec.initContainers": [{"name": "i"}, {"name": "j"}],
            "status.initContainerStatuses": [state(terminated={"exitCode": 0}), state(running={})],
        },
        "Init:1/2",
    ),
    (
        {
            "status.phase": "Pending",
            "spec.initContainers": [{"name": "i"}],
            "status.initContainerStatuses": [state(terminated={"exitCode": 2, "reason": "Error"})],
        },
        "Init:Error",
    ),
]


@pytest.mark.parametrize(("changes", "status"), PODS, ids=str)
def test_the_status_of_a_pod(changes, status):
    assert row("pod", changes)["Status"] == status


def test_a_pod_s_row():
    running = {
        "status.phase": "Running",
        "status.podIP": "10.0.0.1",
        "spec.nodeName": "n1",
        STATUSES: [state(True, 2, running={"startedAt": HOUR_AGO})],
    }
    shown = row("pod", running, wide=True)
    assert list(shown) == ["Name", "Ready", "Status", "Restarts", "Age", "IP", "Node", "Nominated Node", "Readiness Gates"]
    assert list(shown.values()) == ["p", "1/1", "Running", "2", "60m", "10.0.0.1", "n1", "<none>", "<none>"]


ROWS = [
    (
        "deployment",
        {"spec.replicas": 3, "status": {"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1}},
        ["w", "1/3", 2, 1, "60m"],
    ),
    ("replicaset", {"spec.replicas": 3, "status": {"replicas": 2, "readyReplicas": 1}}, ["w", 3, 2, 1, "60m"]),
    ("statefulset", {"spec.replicas": 2, "status": {"readyReplicas": 1}}, ["w", "1/2", "60m"]),
    (
        "job",
        {"spec.completions": 3, "status": {"succeeded": 1, "startTime": HOUR_AGO}},
        ["j", "Running", "1/3", "60m", "60m"],
    ),
    (
        "job",
        {
            "spec.completions": 1,
            "status": {
                "succeeded": 1,
                "startTime": HOUR_AGO,
                "completionTime": "2026-01-01T23:00:07Z",
                "conditions": [{"type": "Complete", "status": "True"}],
            },
        },
        ["j", "Complete", "1/1", "7s", "60m"],
    ),
    ("cronjob", {"spec.suspend": False}, ["c", "* * * * *", "<none>", "False", 0, "<none>", "60m"]),
    ("service", {"spec.type": "ClusterIP", "spec.clusterIP": "10.96.0.9"}, ["s", "ClusterIP", "10.96.0.9", "<none>", "80/TCP", "60m"]),
    (
        "service",
        {"spec.type": "NodePort", "spec.clusterIP": "10.96.0.9", "spec.ports": [{"port": 80, "nodePort": 30000, "protocol": "TCP"}]},
        ["s", "NodePort", "10.96.0.9", "<none>", "80:30000/TCP", "60m"],
    ),
    (
        "service",
        {"spec.type": "LoadBalancer", "spec.clusterIP": "10.96.0.9"},
        ["s", "LoadBalancer", "10.96.0.9", "<pending>", "80/TCP", "60m"],
    ),
    ("config", {}, ["c", 1, "60m"]),
    ("secret", {"type": "Opaque"}, ["s", "Opaque", 1, "60m"]),
    ("namespace", {"status.phase": "Active"}, ["team", "Active", "60m"]),
    (
        "node",
        {"status": {"conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"kubeletVersion": "v1"}}, "spec.unschedulable": True},
        ["n", "Ready,SchedulingDisabled", "<none>", "60m", "v1"],
    ),
    (
        "node",
        {"status": {"conditions": [{"type": "Ready", "status": "Unknown"}], "nodeInfo": {"kubeletVersion": "v1"}}},
        ["n", "NotReady", "<none>", "60m", "v1"],
    ),
    ("priority", {}, ["high", 10, False, "60m", "<none>"]),
]


@pytest.mark.parametrize(("name", "changes", "cells"), ROWS, ids=str)
def test_a_row(name, changes, cells):
    assert list(row(name, changes).values()) == cells


@pytest.mark.parametrize(
    ("metrics", "current", "shown"),
    [
        ([("cpu", {"averageUtilization": 80})], [], "cpu: <unknown>/80%"),
        ([("cpu", {"averageUtilization": 80})], [("cpu", {"averageUtilization": 5})], "cpu: 5%/80%"),
        ([("memory", {"averageValue": "1Gi"})], [], "memory: <unknown>/1Gi"),
        ([("cpu", {"averageUtilization": n}) for n in (1, 2, 3)], [], "cpu: <unknown>/1%, cpu: <unknown>/2% + 1 more..."),
        ([], [], "<none>"),
    ],
)
def test_the_targets_of_an_autoscaler(metrics, current, shown):
    specs = [{"type": "Resource", "resource": {"name": n, "target": t}} for n, t in metrics]
    statuses = [{"type": "Resource", "resource": {"name": n, "current": c}} for n, c in current]
    spec = {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 3, "metrics": specs}
    obj = {"metadata": {"name": "h"}, "spec": spec, "status": {"currentMetrics": statuses}}
    found = table(resource("autoscaling", "horizontalpodautoscalers"), [obj], metadata={}, now=NOW)["rows"][0]["cells"]
    assert found[:6] == ["h", "Deployment/web", shown, "<unset>", 3, 0]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (600, "10m"),
        (10800, "3h"),
        (10860, "3h1m"),
        (30000, "8h"),
        (180000, "2d2h"),
        (700000, "8d"),
        (63072000, "2y"),
    ],
)
def test_ages_as_upstream_writes_them(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize("kind", built_in().kinds(), ids=lambda k: f"{k.resource.group}/{k.resource.plural}")
def test_every_kind_has_columns_that_begin_with_a_name(kind):
    columns = columns_of(kind.resource)
    assert columns[0].name in ("Name", "Last Seen")
    assert len({c.name for c in columns}) == len(columns)


@pytest.mark.parametrize(("include", "kind"), [("None", None), ("Metadata", "PartialObjectMetadata"), ("Object", "ConfigMap")])
def test_a_row_carries_what_was_asked_for(include, kind):
    obj = {"kind": "ConfigMap", "metadata": {"name": "c"}, "data": {}}
    carried = table(resource("", "configmaps"), [obj], metadata={}, include=include)["rows"][0]["object"]
    assert (carried or {}).get("kind") == kind
