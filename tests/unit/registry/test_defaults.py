"""What the server fills in, and that it does so once."""

from __future__ import annotations

import copy

import pytest

from moorings_core.registry import defaults

from .objects import KINDS, changed, defaulted, resource


def at(obj, path):
    """The value at a dotted path; ... where there is none."""
    for part in path.split("."):
        if isinstance(obj, list):
            obj = obj[int(part)] if int(part) < len(obj) else ...
        else:
            obj = obj.get(part, ...) if isinstance(obj, dict) else ...
    return obj


C0 = "spec.containers.0"
TABLE = [
    ("pod", {}, "spec.restartPolicy", "Always"),
    ("pod", {}, "spec.dnsPolicy", "ClusterFirst"),
    ("pod", {}, "spec.terminationGracePeriodSeconds", 30),
    ("pod", {}, "spec.securityContext", {}),
    ("pod", {}, "spec.schedulerName", "default-scheduler"),
    ("pod", {}, "spec.enableServiceLinks", True),
    ("pod", {}, f"{C0}.imagePullPolicy", "IfNotPresent"),
    ("pod", {f"{C0}.image": "i"}, f"{C0}.imagePullPolicy", "Always"),
    ("pod", {f"{C0}.image": "i:latest"}, f"{C0}.imagePullPolicy", "Always"),
    ("pod", {f"{C0}.image": "host:5000/i"}, f"{C0}.imagePullPolicy", "Always"),
    ("pod", {f"{C0}.image": "0f" * 32}, f"{C0}.imagePullPolicy", "IfNotPresent"),
    ("pod", {f"{C0}.image": "i@sha256:0"}, f"{C0}.imagePullPolicy", "IfNotPresent"),
    ("pod", {}, f"{C0}.terminationMessagePath", "/dev/termination-log"),
    ("pod", {}, f"{C0}.terminationMessagePolicy", "File"),
    ("pod", {}, f"{C0}.resources", {}),
    ("pod", {f"{C0}.resources": {"limits": {"cpu": "1"}}}, f"{C0}.resources.requests", {"cpu": "1"}),
    ("pod", {f"{C0}.resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "0"}}}, f"{C0}.resources.requests", {"cpu": "0"}),
    ("pod", {f"{C0}.ports": [{"containerPort": 1}]}, f"{C0}.ports.0", {"containerPort": 1, "protocol": "TCP"}),
    ("pod", {f"{C0}.ports": [{"containerPort": 1}], "spec.hostNetwork": True}, f"{C0}.ports.0.hostPort", 1),
    ("pod", {f"{C0}.livenessProbe": {"httpGet": {"port": 1}}}, f"{C0}.livenessProbe.httpGet", {"port": 1, "path": "/", "scheme": "HTTP"}),
    ("pod", {f"{C0}.readinessProbe": {"exec": {}}}, f"{C0}.readinessProbe.periodSeconds", 10),
    ("pod", {f"{C0}.readinessProbe": {"exec": {}}}, f"{C0}.readinessProbe.failureThreshold", 3),
    ("pod", {f"{C0}.readinessProbe": {"exec": {}}}, f"{C0}.readinessProbe.timeoutSeconds", 1),
    ("pod", {f"{C0}.startupProbe": {"exec": {}}}, f"{C0}.startupProbe.successThreshold", 1),
    ("pod", {f"{C0}.env": [{"name": "A", "valueFrom": {"fieldRef": {}}}]}, f"{C0}.env.0.valueFrom.fieldRef.apiVersion", "v1"),
    ("pod", {"spec.serviceAccountName": "s"}, "spec.serviceAccount", "s"),
    ("pod", {"spec.serviceAccount": "s"}, "spec.serviceAccountName", "s"),
    ("pod", {"spec.volumes": [{"name": "v"}]}, "spec.volumes.0.emptyDir", {}),
    ("pod", {"spec.volumes": [{"name": "v", "secret": {}}]}, "spec.volumes.0.secret.defaultMode", 420),
    ("pod", {"spec.volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, "spec.volumes.0.hostPath.type", ""),
    ("pod", {"spec.topologySpreadConstraints": [{}]}, "spec.topologySpreadConstraints.0", {}),
    ("pod", {f"{C0}.env": [{"name": "A", "valueFrom": {"resourceFieldRef": {}}}]}, f"{C0}.env.0.valueFrom.resourceFieldRef.divisor", "0"),
    ("pod", {"spec.volumes": [{"name": "v", "image": {"reference": "i"}}]}, "spec.volumes.0.image.pullPolicy", "Always"),
    ("pod", {"spec.volumes": [{"name": "v", "image": {"reference": "i:1"}}]}, "spec.volumes.0.image.pullPolicy", "IfNotPresent"),
    ("pod", {"status": {"podIP": "10.0.0.1"}}, "status.podIPs", [{"ip": "10.0.0.1"}]),
    ("statefulset", {}, "spec.serviceName", ""),
    ("node", {"status": {"capacity": {"cpu": "2"}}}, "status.allocatable", {"cpu": "2"}),
    ("node", {}, "spec.podCIDRs", ["10.64.0.0/24"]),
    ("pod", {"spec.terminationGracePeriodSeconds": -5}, "spec.terminationGracePeriodSeconds", 1),
    ("deployment", {}, "spec.template.spec.enableServiceLinks", ...),
    ("deployment", {"spec.template.spec.terminationGracePeriodSeconds": -5}, "spec.template.spec.terminationGracePeriodSeconds", -5),
    (
        "deployment",
        {"spec.template.spec": {"hostNetwork": True, "containers": [{"name": "c", "ports": [{"containerPort": 1}]}]}},
        "spec.template.spec.containers.0.ports.0",
        {"containerPort": 1, "protocol": "TCP"},
    ),
    ("deployment", {}, "spec.replicas", 1),
    ("deployment", {"spec.replicas": 0}, "spec.replicas", 0),
    ("deployment", {}, "spec.strategy", {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}),
    ("deployment", {"spec.strategy.type": "Recreate"}, "spec.strategy", {"type": "Recreate"}),
    ("deployment", {}, "spec.progressDeadlineSeconds", 600),
    ("deployment", {}, "spec.revisionHistoryLimit", 10),
    ("deployment", {}, "spec.template.spec.restartPolicy", "Always"),
    ("deployment", {}, "spec.template.spec.containers.0.resources", {}),
    ("replicaset", {}, "spec.replicas", 1),
    ("daemonset", {}, "spec.updateStrategy.rollingUpdate", {"maxSurge": 0, "maxUnavailable": 1}),
    ("statefulset", {}, "spec.podManagementPolicy", "OrderedReady"),
    ("statefulset", {}, "spec.updateStrategy.rollingUpdate.partition", 0),
    ("statefulset", {}, "spec.persistentVolumeClaimRetentionPolicy", {"whenDeleted": "Retain", "whenScaled": "Retain"}),
    ("statefulset", {}, "spec.updateStrategy.rollingUpdate.maxUnavailable", 1),
    ("job", {"spec.template.metadata": {"labels": {"a": "b"}}}, "metadata.labels", {"a": "b"}),
    ("job", {"metadata.labels": {"c": "d"}, "spec.template.metadata": {"labels": {"a": "b"}}}, "metadata.labels", {"c": "d"}),
    ("job", {}, "spec.completions", 1),
    ("job", {"spec.parallelism": 3}, "spec.completions", ...),
    ("job", {}, "spec.parallelism", 1),
    ("job", {}, "spec.backoffLimit", 6),
    ("job", {"spec.backoffLimitPerIndex": 1}, "spec.backoffLimit", 2147483647),
    ("job", {}, "spec.completionMode", "NonIndexed"),
    ("job", {}, "spec.podReplacementPolicy", "TerminatingOrFailed"),
    ("job", {"spec.podFailurePolicy": {"rules": []}}, "spec.podReplacementPolicy", "Failed"),
    ("cronjob", {}, "spec.concurrencyPolicy", "Allow"),
    ("cronjob", {}, "spec.successfulJobsHistoryLimit", 3),
    ("cronjob", {}, "spec.failedJobsHistoryLimit", 1),
    ("service", {}, "spec.type", "ClusterIP"),
    ("service", {}, "spec.sessionAffinity", "None"),
    ("service", {}, "spec.ports.0", {"port": 80, "protocol": "TCP", "targetPort": 80}),
    ("service", {}, "spec.internalTrafficPolicy", "Cluster"),
    ("service", {}, "spec.externalTrafficPolicy", ...),
    ("service", {"spec.type": "NodePort"}, "spec.externalTrafficPolicy", "Cluster"),
    ("service", {"spec.type": "LoadBalancer"}, "spec.allocateLoadBalancerNodePorts", True),
    ("service", {"spec.sessionAffinity": "ClientIP"}, "spec.sessionAffinityConfig.clientIP.timeoutSeconds", 10800),
    ("claim", {}, "spec.volumeMode", "Filesystem"),
    ("volume", {}, "spec.persistentVolumeReclaimPolicy", "Retain"),
    ("class", {}, "reclaimPolicy", "Delete"),
    ("class", {}, "volumeBindingMode", "Immediate"),
    ("secret", {}, "type", "Opaque"),
    ("binding", {}, "roleRef.apiGroup", "rbac.authorization.k8s.io"),
    ("priority", {}, "preemptionPolicy", "PreemptLowerPriority"),
    ("autoscaler", {}, "spec.metrics.0.resource", {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}),
    ("autoscaler", {}, "spec.behavior", ...),
    ("autoscaler", {"spec.behavior": {}}, "spec.behavior.scaleUp.stabilizationWindowSeconds", 0),
    ("autoscaler", {"spec.behavior": {}}, "spec.behavior.scaleDown.policies.0", {"type": "Percent", "value": 100, "periodSeconds": 15}),
    ("autoscaler", {"spec.behavior": {"scaleUp": {"selectPolicy": "Min"}}}, "spec.behavior.scaleUp.selectPolicy", "Min"),
    ("autoscaler", {}, "status", {"desiredReplicas": 0, "currentMetrics": None}),
    ("budget", {}, "status", {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}),
    ("driver", {}, "spec.preventPodSchedulingIfMissing", False),
    ("slice", {}, "endpoints.0.conditions", {}),
    ("node", {}, "status.daemonEndpoints", {"kubeletEndpoint": {"Port": 0}}),
    ("node", {"status": {"nodeInfo": {"osImage": "Debian"}}}, "status.nodeInfo.osImage", "Debian"),
    ("node", {}, "status.nodeInfo.kernelVersion", ""),
]


@pytest.mark.parametrize(("name", "changes", "path", "expected"), TABLE, ids=str)
def test_a_default(name, changes, path, expected):
    group, plural, obj = KINDS[name]
    assert at(defaulted(group, plural, changed(obj, changes)), path) == expected


@pytest.mark.parametrize("name", KINDS)
def test_filling_in_twice_is_filling_in_once(name):
    group, plural, obj = KINDS[name]
    once = defaulted(group, plural, obj)
    assert defaulted(group, plural, once) == once


@pytest.mark.parametrize("name", KINDS)
def test_two_objects_share_nothing_that_was_filled_in(name):
    group, plural, obj = KINDS[name]
    first, second = copy.deepcopy(obj), copy.deepcopy(obj)
    for one in (first, second):
        defaults.apply(resource(group, plural), one)

    def parts(value):
        if isinstance(value, dict | list):
            yield id(value)
            for child in value.values() if isinstance(value, dict) else value:
                yield from parts(child)

    assert not set(parts(first)) & set(parts(second))


def test_a_namespace_is_labelled_with_its_name():
    group, plural, obj = KINDS["namespace"]
    assert defaulted(group, plural, obj)["metadata"]["labels"] == {"kubernetes.io/metadata.name": "team"}
