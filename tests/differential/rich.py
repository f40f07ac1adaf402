"""Objects with many fields set: what the server adds to them, and how it deletes; tried only, so that none is in another's way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .cases import CLAIM, CONTAINER, JSON, LABELS, MERGE, POD, SELECTOR, STRATEGIC, TEMPLATE, Case, obj, path
from .peers import Request

PROBE = {"httpGet": {"port": 80}}
FULL = {
    **CONTAINER,
    "ports": [{"containerPort": 80, "hostPort": 8080}, {"containerPort": 53, "protocol": "UDP"}],
    "livenessProbe": PROBE,
    "readinessProbe": {"tcpSocket": {"port": "web"}, "periodSeconds": 3},
    "startupProbe": {"grpc": {"port": 81}},
    "lifecycle": {"preStop": {"exec": {"command": ["x"]}}, "postStart": {"httpGet": {"port": 80}}},
    "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "B", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}],
    "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
    "securityContext": {"runAsUser": 5},
    "volumeMounts": [{"name": "empty", "mountPath": "/e"}],
}  # fmt: skip
VOLUMES = [
    {"name": "empty"},
    {"name": "map", "configMap": {"name": "m", "items": [{"key": "a", "path": "a"}]}},
    {"name": "secret", "secret": {"secretName": "s"}},
    {"name": "host", "hostPath": {"path": "/x"}},
    {"name": "down", "downwardAPI": {"items": [{"path": "a", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
    {"name": "all", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}, {"configMap": {"name": "m"}}]}},
    {"name": "own", "ephemeral": {"volumeClaimTemplate": {"spec": CLAIM}}},
    {"name": "claim", "persistentVolumeClaim": {"claimName": "c"}},
    {"name": "csi", "csi": {"driver": "d.example.org"}},
    {"name": "nfs", "nfs": {"server": "s", "path": "/"}},
    {"name": "image", "image": {"reference": "example.org/i"}},
]
SPREAD = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": SELECTOR}
TERM = {"labelSelector": SELECTOR, "topologyKey": "zone"}
AFFINITY = {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": TERM}]}}
PODS: dict[str, dict[str, Any]] = {
    "of all kinds of fields": {"containers": [FULL], "volumes": VOLUMES},
    "on its host": {"containers": [{**CONTAINER, "ports": [{"containerPort": 80}]}], "hostNetwork": True},
    "with a sidecar": {**POD, "initContainers": [
        {"name": "side", "image": "x:1", "restartPolicy": "Always"}, {"name": "init", "image": "y"}]},
    "spread": {**POD, "topologySpreadConstraints": [SPREAD], "affinity": AFFINITY},
    "gated": {**POD, "schedulingGates": [{"name": "example.org/gate"}]},
    "of a class": {**POD, "priorityClassName": "system-node-critical"},
    "of a class that is not there": {**POD, "priorityClassName": "none"},
    "with its own tolerations": {**POD, "tolerations": [{"operator": "Exists"}]},
    "guaranteed": {"containers": [{**CONTAINER, "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]},
    "with names": {**POD, "dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.0.0.1"]}, "hostname": "h", "subdomain": "s"},
    "without a token": {**POD, "automountServiceAccountToken": False, "enableServiceLinks": False},
    "with security": {**POD, "securityContext": {"runAsUser": 1, "fsGroup": 2, "seccompProfile": {"type": "RuntimeDefault"}}},
    "with a negative user": {**POD, "securityContext": {"runAsUser": -1}},
    "with names that are none": {**POD, "dnsPolicy": "None"},
    "of two init containers of one name": {**POD, "initContainers": [{"name": "i", "image": "x"}, {"name": "i", "image": "x"}]},
    "with one host port twice": {"containers": [
        {**CONTAINER, "ports": [{"containerPort": 80, "hostPort": 80}, {"containerPort": 81, "hostPort": 80}]}]},
    "with a mount twice": {
        "containers": [{**CONTAINER, "volumeMounts": [{"name": "v", "mountPath": "/x"}, {"name": "v", "mountPath": "/x"}]}],
        "volumes": [{"name": "v"}],
    },
    "with a claim without a name": {**POD, "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": ""}}]},
    "with a map without a name": {**POD, "volumes": [{"name": "v", "configMap": {}}]},
    "with a wrong mode": {**POD, "volumes": [{"name": "v", "configMap": {"name": "m", "defaultMode": 4096}}]},
    "with a deadline of nothing": {**POD, "activeDeadlineSeconds": 0},
    "with a port of no number": {"containers": [{**CONTAINER, "readinessProbe": {"httpGet": {"port": 0}}}]},
    "of an unknown account": {**POD, "serviceAccountName": "none"},
}  # fmt: skip
SERVICES: dict[str, dict[str, Any]] = {
    "without an address": {"clusterIP": "None", "ports": [{"port": 80}]},
    "without an address or ports": {"clusterIP": "None", "selector": LABELS},
    "elsewhere": {"type": "ExternalName", "externalName": "example.org"},
    "of nodes": {"type": "NodePort", "clusterIP": "10.96.7.20", "ports": [{"port": 80, "nodePort": 30123}]},
    "balanced": {
        "type": "LoadBalancer", "clusterIP": "10.96.7.21", "ports": [{"port": 80, "nodePort": 30124}],
        "loadBalancerSourceRanges": ["10.0.0.0/8"]
    },
    "local": {"type": "NodePort", "clusterIP": "10.96.7.22", "externalTrafficPolicy": "Local", "ports": [{"port": 80, "nodePort": 30125}]},
    "sticky": {"clusterIP": "10.96.7.23", "sessionAffinity": "ClientIP", "ports": [{"port": 80, "targetPort": "web"}]},
    "of two ports": {"clusterIP": "10.96.7.24", "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 80, "protocol": "UDP"}]},
    "with outer addresses": {"clusterIP": "10.96.7.25", "externalIPs": ["192.0.2.7"], "ports": [{"port": 80}]},
    "with an outer address that is none": {"clusterIP": "10.96.7.26", "externalIPs": ["127.0.0.1"], "ports": [{"port": 80}]},
    "with a port name that is none": {"clusterIP": "10.96.7.27", "ports": [{"port": 80, "name": "A_b"}]},
    "with a target that is none": {"clusterIP": "10.96.7.28", "ports": [{"port": 80, "targetPort": "A_b"}]},
    "local inside": {"clusterIP": "10.96.7.29", "internalTrafficPolicy": "Local", "ports": [{"port": 80}]},
    "sticky for nothing": {
        "clusterIP": "10.96.7.30", "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}},
        "ports": [{"port": 80}],
    },
}  # fmt: skip
WORKLOADS: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "a deployment in shares": ("apps/v1", "deployments", "Deployment",
        {"strategy": {"rollingUpdate": {"maxSurge": "10%"}}, "paused": True}),
    "a stateful set in parts": ("apps/v1", "statefulsets", "StatefulSet", {"updateStrategy": {"rollingUpdate": {"partition": 1}}}),
    "a stateful set by hand": ("apps/v1", "statefulsets", "StatefulSet", {"updateStrategy": {"type": "OnDelete"}}),
    "a stateful set with claims": ("apps/v1", "statefulsets", "StatefulSet",
        {"volumeClaimTemplates": [{"metadata": {"name": "d"}, "spec": CLAIM}]}),
    "a daemon set with a surge": ("apps/v1", "daemonsets", "DaemonSet",
        {"updateStrategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}),
    "a replica set of none": ("apps/v1", "replicasets", "ReplicaSet", {"replicas": 0, "minReadySeconds": 5}),
}  # fmt: skip
JOBS: dict[str, dict[str, Any]] = {
    "by number": {"completionMode": "Indexed", "completions": 3, "parallelism": 2, "backoffLimitPerIndex": 1},
    "that ends": {"activeDeadlineSeconds": 5, "ttlSecondsAfterFinished": 0, "backoffLimit": 0},
    "with rules for failures": {
        "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1]}}]}
    },
    "of a mode that is none": {"completionMode": "Sometimes"},
    "of less than nothing": {"completions": -1},
}  # fmt: skip


def rich() -> list[Case]:
    """Return every case of this file."""
    return [*_made(), *_patched(), *_deleted()]


def _try(api: str, plural: str, body: dict[str, Any]) -> list[Request]:
    return [Request("POST", f"{path(api, plural)}?dryRun=All", body)]


def _made() -> Iterator[Case]:
    for name, spec in PODS.items():
        yield f"a pod {name}", _try("v1", "pods", obj("v1", "Pod", "rich", spec=spec))
    for name, spec in SERVICES.items():
        yield f"a service {name}", _try("v1", "services", obj("v1", "Service", "rich", spec=spec))
    for name, (api, plural, kind, spec) in WORKLOADS.items():
        yield name, _try(api, plural, obj(api, kind, "rich", spec={"selector": SELECTOR, "template": TEMPLATE, **spec}))
    for name, spec in JOBS.items():
        body = {"template": {"spec": {**POD, "restartPolicy": "Never"}}, **spec}
        yield f"a job {name}", _try("batch/v1", "jobs", obj("batch/v1", "Job", "rich", spec=body))
    template = {**TEMPLATE, "spec": {"containers": [FULL], "volumes": VOLUMES}}
    yield (
        "a deployment of all kinds of fields",
        _try("apps/v1", "deployments", obj("apps/v1", "Deployment", "rich", spec={"selector": SELECTOR, "template": template})),
    )


def _patched() -> Iterator[Case]:
    one = path("v1", "configmaps", "rich")
    yield "rich: a map", [Request("POST", path("v1", "configmaps"), obj("v1", "ConfigMap", "rich", data={"a": "1"}))]
    for name, (body, headers) in {
        "merge": ({"date": {}}, MERGE),
        "JSON": ([{"op": "add", "path": "/date", "value": {}}], JSON),
        "strategic": ({"date": {}}, STRATEGIC),
    }.items():
        yield f"rich: an unknown field by {name}, strictly", [Request("PATCH", f"{one}?fieldValidation=Strict", body, headers)]
    yield "rich: a wrong type by a strategic patch", [Request("PATCH", one, {"data": {"a": 1}}, STRATEGIC)]
    yield "rich: replaced", [Request("PUT", one, obj("v1", "ConfigMap", "rich", binaryData={"b": "YQ=="}))]
    yield "rich: a key in both", [Request("PUT", one, obj("v1", "ConfigMap", "rich", data={"b": "1"}, binaryData={"b": "YQ=="}))]
    yield (
        "rich: an owner without a uid",
        [Request("PATCH", one, {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]}}, MERGE)],
    )
    for what, labels in (("values", {"a": "b c"}), ("names", {"d e": "f"})):
        yield f"rich: {what} of labels that are none", [Request("PATCH", one, {"metadata": {"labels": labels}}, MERGE)]
    yield "rich: annotations that are none", [Request("PATCH", one, {"metadata": {"annotations": {"d e": "f"}}}, MERGE)]


def _deleted() -> Iterator[Case]:
    maps, pods = path("v1", "configmaps"), path("v1", "pods")
    kept = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept", "finalizers": ["example.org/keep"]}}
    yield (
        "rich: a map that is kept",
        [Request("POST", maps, kept), Request("DELETE", f"{maps}/kept"), Request("DELETE", f"{maps}/kept"), Request("GET", f"{maps}/kept")],
    )
    yield (
        "rich: a finalizer for what is deleted",
        [Request("PATCH", f"{maps}/kept", {"metadata": {"finalizers": ["example.org/keep", "example.org/more"]}}, MERGE)],
    )
    yield (
        "rich: a map let go",
        [Request("PATCH", f"{maps}/kept", {"metadata": {"finalizers": None}}, MERGE), Request("GET", f"{maps}/kept")],
    )
    for policy in ("Foreground", "Orphan", "Background", "Sideways"):
        name = policy.lower()
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy}
        yield (
            f"rich: deleted {name}",
            [
                Request("POST", maps, obj("v1", "ConfigMap", name)),
                Request("DELETE", f"{maps}/{name}", body),
                Request("GET", f"{maps}/{name}"),
            ],
        )
    yield (
        "rich: a pod that runs",
        [
            Request("POST", pods, obj("v1", "Pod", "runs", spec={**POD, "nodeName": "sub"})),
            Request("DELETE", f"{pods}/runs"),
            Request("DELETE", f"{pods}/runs?gracePeriodSeconds=5"),
            Request("DELETE", f"{pods}/runs?gracePeriodSeconds=0"),
        ],
    )
    yield "rich: a grace below nothing", [Request("DELETE", f"{pods}/none", {"gracePeriodSeconds": -1})]
    yield (
        "rich: a namespace on its way",
        [
            Request("POST", path("v1", "namespaces", "", ""), obj("v1", "Namespace", "ending")),
            Request("DELETE", path("v1", "namespaces", "ending", "")),
            Request("POST", path("v1", "configmaps", "", "ending"), obj("v1", "ConfigMap", "late")),
        ],
    )
    yield "rich: in a namespace that is none", [Request("POST", path("v1", "configmaps", "", "none"), obj("v1", "ConfigMap", "x"))]
    yield "rich: a namespace that stays", [Request("DELETE", path("v1", "namespaces", "kube-system", ""))]
