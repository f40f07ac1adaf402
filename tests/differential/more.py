"""More requests for both servers: updates of every kind, applies, lists and watches, subresources, reviews, documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .cases import (
    APPLY,
    CLAIM,
    CONTAINER,
    DISCOVERY,
    JSON,
    LABELS,
    MERGE,
    POD,
    SELECTOR,
    STRATEGIC,
    TABLE,
    TEMPLATE,
    Case,
    obj,
    path,
)
from .peers import Request

RBAC, STORAGE, NETWORKING = "rbac.authorization.k8s.io/v1", "storage.k8s.io/v1", "networking.k8s.io/v1"
JOB: dict[str, Any] = {"template": {"spec": {**POD, "restartPolicy": "Never"}}}
ADDED = {"name": "side", "image": "example.org/side"}
QUANTITIES = {"requests": {"cpu": 1, "memory": "1024Mi"}, "limits": {"cpu": "2000m", "memory": "2.5Gi"}}
Changes = dict[str, Any]

CHANGED: list[tuple[str, str, str, str, Changes, dict[str, Changes]]] = [
    ("v1", "pods", "Pod", "default", {"spec": POD}, {
        "another image": {"spec": {"containers": [{**CONTAINER, "image": "example.org/other"}]}},
        "another command": {"spec": {"containers": [{**CONTAINER, "command": ["x"]}]}},
        "a toleration more": {"spec": {"tolerations": [{"key": "a", "operator": "Exists"}]}},
        "another node": {"spec": {"nodeName": "other"}},
        "a deadline": {"spec": {"activeDeadlineSeconds": 5}},
        "a node selector": {"spec": {"nodeSelector": {"a": "b"}}},
    }),
    ("v1", "services", "Service", "default", {"spec": {"ports": [{"port": 80}], "clusterIP": "10.96.7.9"}}, {
        "another port": {"spec": {"ports": [{"port": 81}]}},
        "another address": {"spec": {"clusterIP": "10.96.7.10"}},
        "a name elsewhere": {"spec": {"type": "ExternalName", "externalName": "example.org", "clusterIP": None, "clusterIPs": None}},
        "a client's affinity": {"spec": {"sessionAffinity": "ClientIP"}},
    }),
    ("v1", "configmaps", "ConfigMap", "default", {"data": {"a": "1"}}, {
        "made immutable": {"immutable": True},
        "changed although immutable": {"data": {"a": "2"}},
        "made mutable again": {"immutable": False},
        "a key that is none": {"data": {"a b": "2"}},
    }),
    ("v1", "secrets", "Secret", "default", {"stringData": {"a": "1"}}, {
        "clear text": {"stringData": {"b": "2"}},
        "another type": {"type": "example.org/other"},
    }),
    ("v1", "persistentvolumeclaims", "PersistentVolumeClaim", "default", {"spec": CLAIM}, {
        "more room": {"spec": {"resources": {"requests": {"storage": "2Gi"}}}},
        "another mode": {"spec": {"accessModes": ["ReadWriteMany"]}},
        "a class": {"spec": {"storageClassName": "other"}},
    }),
    ("v1", "persistentvolumes", "PersistentVolume", "", {
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/tmp/x"}}
    }, {
        "another path": {"spec": {"hostPath": {"path": "/tmp/y"}}},
        "another policy": {"spec": {"persistentVolumeReclaimPolicy": "Delete"}},
        "more room": {"spec": {"capacity": {"storage": "2Gi"}}},
    }),
    ("v1", "namespaces", "Namespace", "", {}, {
        "a label": {"metadata": {"labels": {"a": "b"}}},
        "its own label": {"metadata": {"labels": {"kubernetes.io/metadata.name": "other"}}},
        "its finalizers": {"spec": {"finalizers": []}},
    }),
    ("v1", "nodes", "Node", "", {"spec": {"podCIDR": "10.64.1.0/24"}}, {
        "unschedulable": {"spec": {"unschedulable": True}},
        "another range": {"spec": {"podCIDR": "10.64.2.0/24", "podCIDRs": ["10.64.2.0/24"]}},
        "a taint": {"spec": {"taints": [{"key": "a", "effect": "NoExecute"}]}},
        "a taint that is none": {"spec": {"taints": [{"key": "a", "effect": "Sometimes"}]}},
        "a provider": {"spec": {"providerID": "metal://1"}},
    }),
    ("apps/v1", "replicasets", "ReplicaSet", "default", {"spec": {"selector": SELECTOR, "template": TEMPLATE}}, {
        "more": {"spec": {"replicas": 3}},
        "another selector": {"spec": {"selector": {"matchLabels": {"app": "other"}}}},
    }),
    ("apps/v1", "daemonsets", "DaemonSet", "default", {"spec": {"selector": SELECTOR, "template": TEMPLATE}}, {
        "another image": {"spec": {"template": {"spec": {"containers": [{**CONTAINER, "image": "example.org/other"}]}}}},
        "on deletion": {"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": None}}},
        "neither surge nor loss": {"spec": {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0}}}},
        "another selector": {"spec": {"selector": {"matchLabels": {"app": "other"}}}},
    }),
    ("apps/v1", "statefulsets", "StatefulSet", "default", {
        "spec": {"selector": SELECTOR, "template": TEMPLATE, "serviceName": "x",
                 "volumeClaimTemplates": [{"metadata": {"name": "d"}, "spec": CLAIM}]}
    }, {
        "more": {"spec": {"replicas": 3}},
        "another service": {"spec": {"serviceName": "y"}},
        "on deletion": {"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": None}}},
        "in parallel": {"spec": {"podManagementPolicy": "Parallel"}},
    }),
    ("batch/v1", "jobs", "Job", "default", {"spec": JOB}, {
        "more at once": {"spec": {"parallelism": 3}},
        "more in all": {"spec": {"completions": 3}},
        "suspended": {"spec": {"suspend": True}},
        "another image": {"spec": {"template": {"spec": {"containers": [{**CONTAINER, "image": "example.org/other"}]}}}},
        "a time to live": {"spec": {"ttlSecondsAfterFinished": 5}},
        "less than none": {"spec": {"parallelism": -1}},
    }),
    ("batch/v1", "cronjobs", "CronJob", "default", {"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": JOB}}}, {
        "a schedule that is none": {"spec": {"schedule": "often"}},
        "a zone that is none": {"spec": {"timeZone": "Nowhere/Else"}},
        "suspended": {"spec": {"suspend": True}},
        "less history than none": {"spec": {"failedJobsHistoryLimit": -1}},
    }),
    (NETWORKING, "ingresses", "Ingress", "default", {"spec": {"defaultBackend": {"service": {"name": "x", "port": {"number": 80}}}}}, {
        "a rule": {"spec": {"rules": [{"host": "a.example.org", "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "x", "port": {"number": 80}}}}]}}]}},
        "a host that is none": {"spec": {"rules": [{"host": "a_b"}]}},
        "a path without its type": {"spec": {"rules": [{"http": {"paths": [
            {"path": "/", "backend": {"service": {"name": "x", "port": {"number": 80}}}}]}}]}},
        "no backend": {"spec": {"defaultBackend": None, "rules": None}},
    }),
    (NETWORKING, "networkpolicies", "NetworkPolicy", "default", {"spec": {"podSelector": {}}}, {
        "both ways": {"spec": {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}], "policyTypes": ["Ingress", "Egress"]}},
        "a block that is none": {"spec": {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/80"}}]}]}},
        "a type that is none": {"spec": {"policyTypes": ["Sideways"]}},
    }),
    ("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", "default", {"spec": {"minAvailable": 1, "selector": SELECTOR}}, {
        "both": {"spec": {"maxUnavailable": 1}},
        "a share": {"spec": {"minAvailable": "50%"}},
        "less than none": {"spec": {"minAvailable": -1}},
    }),
    ("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", "default", {
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}, "maxReplicas": 3}
    }, {
        "fewer than the least": {"spec": {"minReplicas": 5}},
        "none at most": {"spec": {"maxReplicas": 0}},
        "its behavior": {"spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}}}},
    }),
    ("coordination.k8s.io/v1", "leases", "Lease", "default", {"spec": {"holderIdentity": "me"}}, {
        "no time": {"spec": {"leaseDurationSeconds": 0}},
        "renewed": {"spec": {"renewTime": "2026-01-01T00:00:00.000000Z", "leaseDurationSeconds": 5}},
    }),
    ("discovery.k8s.io/v1", "endpointslices", "EndpointSlice", "default", {
        "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}]
    }, {
        "another type": {"addressType": "IPv6"},
        "an address that is none": {"endpoints": [{"addresses": ["10.0.0.300"]}]},
        "another address": {"endpoints": [{"addresses": ["10.0.0.2"], "conditions": {"ready": True}}]},
    }),
    (RBAC, "rolebindings", "RoleBinding", "default", {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "x"}}, {
        "another role": {"roleRef": {"name": "y"}},
        "a subject": {"subjects": [{"kind": "User", "name": "u"}]},
        "a subject that is none": {"subjects": [{"kind": "Robot", "name": "u"}]},
    }),
    (RBAC, "roles", "Role", "default", {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}, {
        "no verbs": {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": []}]},
    }),
    (STORAGE, "storageclasses", "StorageClass", "", {"provisioner": "example.org/disk"}, {
        "another provisioner": {"provisioner": "example.org/other"},
        "other parameters": {"parameters": {"a": "b"}},
        "growing": {"allowVolumeExpansion": True},
        "another binding": {"volumeBindingMode": "WaitForFirstConsumer"},
    }),
    (STORAGE, "csidrivers", "CSIDriver", "", {"spec": {}}, {
        "no attaching": {"spec": {"attachRequired": False}},
        "told of pods": {"spec": {"podInfoOnMount": True}},
    }),
    ("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", "", {"value": 7}, {
        "another value": {"value": 8},
        "a word": {"description": "x"},
    }),
    ("node.k8s.io/v1", "runtimeclasses", "RuntimeClass", "", {"handler": "runc"}, {"another handler": {"handler": "other"}}),
]  # fmt: skip
"""Kinds, an object of each, and merge patches to it: those that fit stay for the next."""


AMOUNTS = {
    "pods": "1e3", "services": "1000", "secrets": 10, "requests.cpu": "0.1", "limits.cpu": "1500m", "requests.memory": "1500Ki",
    "limits.memory": "0.5Gi", "requests.storage": "12345678", "configmaps": "2048", "requests.ephemeral-storage": "1.5Ki",
    "limits.ephemeral-storage": "1500e3", "persistentvolumeclaims": "0", "count/jobs.batch": "1E3",
}  # fmt: skip


def updates() -> Iterator[Case]:
    """Each kind changed where it may and may not be."""
    quota = obj("v1", "ResourceQuota", "amounts", spec={"hard": AMOUNTS})
    yield "amounts as they are stored", [Request("POST", path("v1", "resourcequotas"), quota)]
    for api, plural, kind, namespace, rest, patches in CHANGED:
        one = path(api, plural, "u", namespace)
        yield f"{kind} for updates", [Request("POST", path(api, plural, "", namespace), obj(api, kind, "u", **rest))]
        for name, patch in patches.items():
            yield f"{kind} updated: {name}", [Request("PATCH", one, patch, MERGE)]
        yield f"{kind} after updates", [Request("GET", one), Request("GET", one, headers=TABLE)]


APPLIED = path("apps/v1", "deployments", "applied")
CONFIG = path("v1", "configmaps", "applied")


def _apply(where: str, manager: str, body: Any, query: str = "") -> Request:
    return Request("PATCH", f"{where}?fieldManager={manager}{query}", body, APPLY)


def _workload(**spec: Any) -> dict[str, Any]:
    return obj("apps/v1", "Deployment", "applied", spec={"selector": SELECTOR, "template": TEMPLATE, **spec})


def _taken_over() -> Iterator[Case]:
    """kubectl applies server-side what it applied on the client's side."""
    where, client = f"{CONFIG}-before", "kubectl-client-side-apply"
    made = obj("v1", "ConfigMap", "applied-before", data={"a": "1", "b": "1"})
    noted = {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(made)}}
    live = {**made, "metadata": {**made["metadata"], **noted}}
    yield "apply: made on the client's side", [Request("POST", f"{path('v1', 'configmaps')}?fieldManager={client}", live)]
    yield "apply: what a client made, by another", [_apply(where, "other", {**made, "data": {"a": "2"}})]
    yield "apply: what a client made, by kubectl", [_apply(where, "kubectl", {**made, "data": {"a": "2"}}), Request("GET", where)]
    yield (
        "apply: what others changed since",
        [
            Request("PATCH", f"{where}?fieldManager=three", {"data": {"b": "3"}}, MERGE),
            _apply(where, "kubectl", {**made, "data": {"a": "2", "b": "4"}}),
            Request("GET", where),
        ],
    )


def applies() -> Iterator[Case]:
    """Server-side apply, with who manages what."""
    yield "apply: made", [_apply(APPLIED, "one", _workload(replicas=2))]
    yield "apply: the same again", [_apply(APPLIED, "one", _workload(replicas=2))]
    yield (
        "apply: another manager in conflict",
        [_apply(APPLIED, "two", {**obj("apps/v1", "Deployment", "applied"), "spec": {"replicas": 3}})],
    )
    yield (
        "apply: another manager by force",
        [_apply(APPLIED, "two", {**obj("apps/v1", "Deployment", "applied"), "spec": {"replicas": 3}}, "&force=true")],
    )
    yield "apply: given up by the first", [_apply(APPLIED, "one", _workload())]
    yield (
        "apply: a container of another manager",
        [
            _apply(
                APPLIED,
                "two",
                {**obj("apps/v1", "Deployment", "applied"), "spec": {"replicas": 3, "template": {"spec": {"containers": [ADDED]}}}},
            )
        ],
    )
    yield "apply: updated by a patch", [Request("PATCH", f"{APPLIED}?fieldManager=three", {"spec": {"replicas": 5}}, MERGE)]
    yield "apply: its scale", [Request("PATCH", f"{APPLIED}/scale?fieldManager=four", {"spec": {"replicas": 6}}, MERGE)]
    yield "apply: its status", [_apply(f"{APPLIED}/status", "five", {**obj("apps/v1", "Deployment", "applied"), "status": {"replicas": 6}})]
    yield "apply: after all", [Request("GET", APPLIED)]
    yield "apply: without a manager", [Request("PATCH", APPLIED, _workload(), APPLY)]
    yield "apply: an unknown field", [_apply(APPLIED, "one", _workload(replica=2))]
    yield "apply: an unknown field, strictly", [_apply(APPLIED, "one", _workload(replica=2), "&fieldValidation=Strict")]
    yield "apply: another name", [_apply(APPLIED, "one", {**_workload(), "metadata": {"name": "other"}})]
    yield (
        "apply: with managers in it",
        [_apply(APPLIED, "one", {**_workload(), "metadata": {"name": "applied", "managedFields": [{"manager": "x"}]}})],
    )
    yield "apply: an old version", [_apply(APPLIED, "one", {**_workload(), "metadata": {"name": "applied", "resourceVersion": "1"}})]
    yield "apply: an invalid object", [_apply(APPLIED, "one", _workload(replicas=-1), "&force=true")]
    yield "apply: no object", [_apply(APPLIED, "one", b"[]")]
    yield "apply: tried only", [_apply(f"{CONFIG}-dry", "one", obj("v1", "ConfigMap", "applied-dry", data={"a": "1"}), "&dryRun=All")]
    yield from _taken_over()
    yield "apply: a map", [_apply(CONFIG, "one", obj("v1", "ConfigMap", "applied", data={"a": "1", "b": "2"}))]
    yield "apply: a map without a key", [_apply(CONFIG, "one", obj("v1", "ConfigMap", "applied", data={"a": "1"}))]
    yield "apply: a map of two", [_apply(CONFIG, "two", obj("v1", "ConfigMap", "applied", data={"c": "3"}))]
    yield (
        "apply: labels of two",
        [_apply(CONFIG, "two", {**obj("v1", "ConfigMap", "applied"), "metadata": {"name": "applied", "labels": {"a": "b"}}})],
    )


INITIAL = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"


def lists() -> Iterator[Case]:
    """Pages, versions and first events."""
    maps = path("v1", "configmaps", "", "pages")
    yield "lists: a namespace", [Request("POST", path("v1", "namespaces", "", ""), obj("v1", "Namespace", "pages"))]
    yield "lists: five maps", [Request("POST", maps, obj("v1", "ConfigMap", f"m{i}", data={"i": str(i)})) for i in range(5)]
    yield (
        "lists: pages",
        [
            Request("GET", f"{maps}?limit=2"),
            Request("GET", f"{maps}?limit=2&continue={{continue}}"),
            Request("GET", f"{maps}?limit=2&continue={{continue}}"),
        ],
    )
    yield "lists: a page by labels", [Request("GET", f"{maps}?limit=2&labelSelector=!a")]
    yield "lists: a page as a table", [Request("GET", f"{maps}?limit=2", headers=TABLE)]
    for name, query in {
        "at hand": "resourceVersion=0",
        "not older": "resourceVersion={resourceVersion}&resourceVersionMatch=NotOlderThan",
        "exactly": "resourceVersion={resourceVersion}&resourceVersionMatch=Exact",
        "exactly, a page": "resourceVersion={resourceVersion}&resourceVersionMatch=Exact&limit=1",
        "exactly nothing": "resourceVersion=0&resourceVersionMatch=Exact",
        "in a way that is none": "resourceVersion=1&resourceVersionMatch=Nearly",
        "a version that is none": "resourceVersion=x",
        "with first events": "sendInitialEvents=true",
        "with a match and a page": "resourceVersion=1&resourceVersionMatch=Exact&limit=1&continue=x",
    }.items():
        yield f"lists: {name}", [Request("GET", f"{maps}?limit=1"), Request("GET", f"{maps}?{query}")]
    for name, query in {
        "from now": "resourceVersion={resourceVersion}",
        "of what is there": "",
        "with first events": INITIAL,
        "with first events of one": f"{INITIAL}&fieldSelector=metadata.name%3Dm1",
        "with a match alone": "resourceVersionMatch=NotOlderThan",
    }.items():
        watch = Request("GET", f"{maps}?watch=1&timeoutSeconds=1&{query}", stream=True)
        yield f"watches: {name}", [Request("GET", f"{maps}?limit=1"), watch]
    yield (
        "watches: as a table",
        [Request("GET", f"{maps}?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Dm1", headers=TABLE, stream=True)],
    )
    yield "lists: all deleted", [Request("DELETE", maps), Request("GET", maps)]


PODS = path("v1", "pods")
ONE = path("v1", "pods", "sub")
ROOM = {"capacity": {"cpu": "8", "memory": "16Gi", "pods": "110"}}
EPHEMERAL = {"spec": {"ephemeralContainers": [{"name": "look", "image": "example.org/look"}]}}


def subresources() -> Iterator[Case]:
    """What hangs below objects."""
    yield (
        "subresources: a pod",
        [Request("POST", PODS, obj("v1", "Pod", "sub", spec={"containers": [{**CONTAINER, "resources": QUANTITIES}]}))],
    )
    yield "subresources: a node", [Request("POST", path("v1", "nodes", "", ""), obj("v1", "Node", "sub", status=ROOM))]
    target = {"target": {"apiVersion": "v1", "kind": "Node", "name": "sub"}}
    yield "subresources: bound to nothing", [Request("POST", f"{ONE}/binding", obj("v1", "Binding", "sub", target={"kind": "Node"}))]
    yield "subresources: bound", [Request("POST", f"{ONE}/binding", obj("v1", "Binding", "sub", **target)), Request("GET", ONE)]
    yield "subresources: bound again", [Request("POST", f"{ONE}/binding", obj("v1", "Binding", "sub", **target))]
    yield (
        "subresources: ephemeral containers",
        [Request("GET", f"{ONE}/ephemeralcontainers"), Request("PATCH", f"{ONE}/ephemeralcontainers", EPHEMERAL, STRATEGIC)],
    )
    yield (
        "subresources: an ephemeral container with a port",
        [
            Request(
                "PATCH",
                f"{ONE}/ephemeralcontainers",
                {"spec": {"ephemeralContainers": [{"name": "l", "image": "x", "ports": [{"containerPort": 1}]}]}},
                STRATEGIC,
            )
        ],
    )
    yield "subresources: ephemeral containers by the main path", [Request("PATCH", ONE, {"spec": {"ephemeralContainers": None}}, MERGE)]
    resized = [{"op": "replace", "path": "/spec/containers/0/resources/requests/cpu", "value": "500m"}]
    yield "subresources: resized", [Request("PATCH", f"{ONE}/resize", resized, JSON), Request("GET", ONE)]
    yield "subresources: resized over the limit", [Request("PATCH", f"{ONE}/resize", [{**resized[0], "value": "5"}], JSON)]
    yield "subresources: resized by the main path", [Request("PATCH", ONE, [{**resized[0], "value": "600m"}], JSON)]
    running = {
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "podIP": "10.64.1.5"},
        "spec": {"nodeName": "no"},
    }
    yield "subresources: its status", [Request("PATCH", f"{ONE}/status", running, STRATEGIC), Request("GET", ONE, headers=TABLE)]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "sub"}}
    yield "subresources: evicted, tried only", [Request("POST", f"{ONE}/eviction?dryRun=All", eviction)]
    yield "subresources: evicted by another name", [Request("POST", f"{ONE}/eviction", {**eviction, "metadata": {"name": "other"}})]
    yield "subresources: evicted", [Request("POST", f"{ONE}/eviction", eviction), Request("GET", ONE)]
    yield "subresources: deleted at once", [Request("DELETE", ONE, {"gracePeriodSeconds": 0})]
    for api, plural, spec in (
        ("apps/v1", "replicasets", SELECTOR),
        ("apps/v1", "statefulsets", SELECTOR),
        ("v1", "replicationcontrollers", LABELS),
    ):
        kind = {"replicasets": "ReplicaSet", "statefulsets": "StatefulSet"}.get(plural, "ReplicationController")
        one = path(api, plural, "scaled")
        yield (
            f"subresources: a {kind}",
            [Request("POST", path(api, plural), obj(api, kind, "scaled", spec={"selector": spec, "template": TEMPLATE}))],
        )
        scale = obj("autoscaling/v1", "Scale", "scaled", spec={"replicas": 3})
        yield (
            f"subresources: scale of a {kind}",
            [Request("GET", f"{one}/scale"), Request("PUT", f"{one}/scale", scale), Request("GET", one)],
        )
        yield f"subresources: a {kind} below nothing", [Request("PATCH", f"{one}/scale", {"spec": {"replicas": -1}}, MERGE)]
    yield "subresources: a status that is none", [Request("GET", f"{path('v1', 'configmaps', 'u')}/status")]
    yield "subresources: a scale that is none", [Request("GET", f"{path('batch/v1', 'jobs', 'u')}/scale")]
    claim = path("v1", "persistentvolumeclaims", "u")
    yield (
        "subresources: a claim's status",
        [Request("PATCH", f"{claim}/status", {"status": {"phase": "Bound", "capacity": {"storage": "1024Mi"}}}, MERGE)],
    )
    node = path("v1", "nodes", "sub", "")
    yield (
        "subresources: a node's status",
        [
            Request(
                "PATCH",
                f"{node}/status",
                {"status": {"capacity": {"cpu": "2000m"}, "conditions": [{"type": "Ready", "status": "True"}]}},
                STRATEGIC,
            )
        ],
    )


AUTHORIZATION, AUTHENTICATION = "authorization.k8s.io/v1", "authentication.k8s.io/v1"
MINE = {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}}}


def reviews() -> Iterator[Case]:
    """Tokens and questions."""
    account = path("v1", "serviceaccounts", "default")
    token = {"apiVersion": AUTHENTICATION, "kind": "TokenRequest"}
    yield "reviews: a token", [Request("POST", f"{account}/token", {**token, "spec": {}})]
    yield (
        "reviews: a token for others",
        [Request("POST", f"{account}/token", {**token, "spec": {"audiences": ["a"], "expirationSeconds": 700}})],
    )
    yield "reviews: a token for a moment", [Request("POST", f"{account}/token", {**token, "spec": {"expirationSeconds": 5}})]
    yield "reviews: a token of nobody", [Request("POST", f"{path('v1', 'serviceaccounts', 'none')}/token", {**token, "spec": {}})]
    bound = {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "none"}}
    yield "reviews: a token of a pod that is not there", [Request("POST", f"{account}/token", {**token, "spec": bound})]
    own = "/apis/authorization.k8s.io/v1"
    yield (
        "reviews: may I",
        [Request("POST", f"{own}/selfsubjectaccessreviews", {"apiVersion": AUTHORIZATION, "kind": "SelfSubjectAccessReview", **MINE})],
    )
    yield (
        "reviews: may I nothing",
        [Request("POST", f"{own}/selfsubjectaccessreviews", {"apiVersion": AUTHORIZATION, "kind": "SelfSubjectAccessReview", "spec": {}})],
    )
    yield (
        "reviews: may they",
        [
            Request(
                "POST",
                f"{own}/subjectaccessreviews",
                {"apiVersion": AUTHORIZATION, "kind": "SubjectAccessReview", "spec": {**MINE["spec"], "user": "u"}},
            )
        ],
    )
    yield (
        "reviews: a token that is none",
        [
            Request(
                "POST",
                "/apis/authentication.k8s.io/v1/tokenreviews",
                {"apiVersion": AUTHENTICATION, "kind": "TokenReview", "spec": {"token": "x"}},
            )
        ],
    )


def documents() -> Iterator[Case]:
    """What is served, as the servers say it themselves."""
    yield "documents: groups, aggregated", [Request("GET", "/apis", headers=DISCOVERY)]
    for group in ("", "apps", "batch", "autoscaling", "policy", "networking.k8s.io", "storage.k8s.io", "rbac.authorization.k8s.io"):
        version = "v2" if group == "autoscaling" else "v1"
        where = f"apis/{group}/{version}" if group else "api/v1"
        yield f"documents: resources of {group or 'core'}", [Request("GET", f"/{where}")]
        yield f"documents: paths of {group or 'core'}", [Request("GET", f"/openapi/v3/{where}", pick="paths")]
    yield "documents: all of them", [Request("GET", "/openapi/v3", pick="paths")]
    yield "documents: a subresource that is not there", [Request("GET", f"{path('v1', 'pods', 'none')}/nothing")]
    yield "documents: a version that is not there", [Request("GET", "/apis/apps/v1beta1/deployments")]
    yield "documents: a resource in a namespace that has none", [Request("GET", path("v1", "nodes"))]
    yield (
        "documents: no object deleted",
        [Request("DELETE", f"{path('v1', 'services')}?labelSelector=no%3Dsuch")],
    )


def claims() -> Iterator[Case]:
    """Claims of a StatefulSet, which may not change: the answer shows them whole."""
    where, labelled = path("apps/v1", "statefulsets"), {"metadata": {"name": "data", "labels": {"a": "b"}}, "spec": CLAIM}
    spec = {"selector": SELECTOR, "template": TEMPLATE, "serviceName": "x", "volumeClaimTemplates": [labelled]}
    rich = {
        **CLAIM,
        "storageClassName": "fast",
        "selector": SELECTOR,
        "dataSourceRef": {"apiGroup": "a.example.com", "kind": "A", "name": "a"},
    }
    changes: dict[str, list[dict[str, Any]]] = {
        "another size": [{**labelled, "spec": {**CLAIM, "resources": {"requests": {"storage": "2048Mi"}}}}],
        "more of them": [labelled, {"metadata": {"name": "more"}, "spec": rich}],
        "none": [],
    }
    yield "claims: a set", [Request("POST", where, obj("apps/v1", "StatefulSet", "claims", spec=spec))]
    for what, given in changes.items():
        yield f"claims: {what}", [Request("PATCH", f"{where}/claims", {"spec": {"volumeClaimTemplates": given}}, MERGE)]
    yield "claims: null", [Request("PATCH", f"{where}/claims", {"spec": {"volumeClaimTemplates": None}}, MERGE)]
    yield "claims: removed", [Request("DELETE", f"{where}/claims")]


def more() -> list[Case]:
    """Return every case of this file."""
    return [*updates(), *applies(), *lists(), *subresources(), *reviews(), *documents(), *claims()]
