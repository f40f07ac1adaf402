"""The requests that both servers get, in order, as (name, requests). Data; what they should answer is upstream's to say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .peers import Request

Case = tuple[str, list[Request]]
CONTAINER: dict[str, Any] = {"name": "main", "image": "example.org/web"}
POD: dict[str, Any] = {"containers": [CONTAINER]}
LABELS = {"app": "web"}
TEMPLATE: dict[str, Any] = {"metadata": {"labels": LABELS}, "spec": POD}
SELECTOR = {"matchLabels": LABELS}
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
PARTIAL = {"Accept": "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json"}
DISCOVERY = {"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}
MERGE, JSON, STRATEGIC, APPLY = (
    {"Content-Type": f"application/{kind}"}
    for kind in ("merge-patch+json", "json-patch+json", "strategic-merge-patch+json", "apply-patch+yaml")
)


def path(api: str, plural: str, name: str = "", namespace: str = "default") -> str:
    """Return the path of a collection or an object."""
    root = "/api/v1" if api == "v1" else f"/apis/{api}"
    middle = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{middle}/{plural}" + (f"/{name}" if name else "")


def obj(api: str, kind: str, name: str = "x", **rest: Any) -> dict[str, Any]:
    """Return an object."""
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **rest}


MINIMAL: dict[tuple[str, str, str], dict[str, Any]] = {
    ("v1", "pods", "Pod"): {"spec": POD},
    ("v1", "services", "Service"): {"spec": {"ports": [{"port": 80}], "clusterIP": "10.96.7.7"}},
    ("v1", "configmaps", "ConfigMap"): {"data": {"a": "1"}},
    ("v1", "secrets", "Secret"): {"stringData": {"a": "1"}},
    ("v1", "serviceaccounts", "ServiceAccount"): {},
    ("v1", "persistentvolumeclaims", "PersistentVolumeClaim"): {"spec": CLAIM},
    ("v1", "endpoints", "Endpoints"): {"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]},
    ("v1", "replicationcontrollers", "ReplicationController"): {"spec": {"selector": LABELS, "template": TEMPLATE}},
    ("v1", "limitranges", "LimitRange"): {"spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}}]}},
    ("v1", "resourcequotas", "ResourceQuota"): {"spec": {"hard": {"pods": "5"}}},
    ("v1", "podtemplates", "PodTemplate"): {"template": TEMPLATE},
    ("apps/v1", "deployments", "Deployment"): {"spec": {"selector": SELECTOR, "template": TEMPLATE}},
    ("apps/v1", "replicasets", "ReplicaSet"): {"spec": {"selector": SELECTOR, "template": TEMPLATE}},
    ("apps/v1", "statefulsets", "StatefulSet"): {"spec": {"selector": SELECTOR, "template": TEMPLATE, "serviceName": "x"}},
    ("apps/v1", "daemonsets", "DaemonSet"): {"spec": {"selector": SELECTOR, "template": TEMPLATE}},
    ("batch/v1", "jobs", "Job"): {"spec": {"template": {"spec": {**POD, "restartPolicy": "Never"}}}},
    ("batch/v1", "cronjobs", "CronJob"): {
        "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": {"spec": {**POD, "restartPolicy": "Never"}}}}}
    },
    ("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy"): {"spec": {"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]}},
    ("networking.k8s.io/v1", "ingresses", "Ingress"): {
        "spec": {"defaultBackend": {"service": {"name": "x", "port": {"number": 80}}}}
    },
    ("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget"): {"spec": {"minAvailable": 1, "selector": SELECTOR}},
    ("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"): {
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}, "maxReplicas": 3}
    },
    ("coordination.k8s.io/v1", "leases", "Lease"): {"spec": {"holderIdentity": "me"}},
    ("discovery.k8s.io/v1", "endpointslices", "EndpointSlice"): {
        "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80}]
    },
    ("rbac.authorization.k8s.io/v1", "roles", "Role"): {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]},
    ("rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding"): {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "x"},
        "subjects": [{"kind": "ServiceAccount", "name": "x", "namespace": "default"}],
    },
}  # fmt: skip
"""A minimal object of each namespaced kind: what the server adds is its defaults."""
CLUSTER: dict[tuple[str, str, str], dict[str, Any]] = {
    ("v1", "namespaces", "Namespace"): {},
    ("v1", "nodes", "Node"): {},
    ("v1", "persistentvolumes", "PersistentVolume"): {
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/tmp/x"}}
    },
    ("storage.k8s.io/v1", "storageclasses", "StorageClass"): {"provisioner": "example.org/disk"},
    ("storage.k8s.io/v1", "csidrivers", "CSIDriver"): {"spec": {}},
    ("storage.k8s.io/v1", "csinodes", "CSINode"): {"spec": {"drivers": []}},
    ("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass"): {"value": 7},
    ("networking.k8s.io/v1", "ingressclasses", "IngressClass"): {"spec": {"controller": "example.org/in"}},
    ("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole"): {"rules": []},
    ("node.k8s.io/v1", "runtimeclasses", "RuntimeClass"): {"handler": "runc"},
}


def lives() -> Iterator[Case]:
    """Each kind from its creation to its end: defaults, reads, tables, patches, status, deletion."""
    for scoped, kinds in (("default", MINIMAL), ("", CLUSTER)):
        for (api, plural, kind), rest in kinds.items():
            one, all_of = path(api, plural, "x", scoped), path(api, plural, "", scoped)
            yield f"{kind} created", [Request("POST", all_of, obj(api, kind, **rest))]
            yield f"{kind} created again", [Request("POST", all_of, obj(api, kind, **rest))]
            yield f"{kind} read", [Request("GET", one), Request("GET", one, headers=TABLE), Request("GET", one, headers=PARTIAL)]
            yield f"{kind} labelled", [Request("PATCH", one, {"metadata": {"labels": {"a": "b"}}}, MERGE)]
            yield f"{kind} listed", [Request("GET", f"{all_of}?fieldSelector=metadata.name%3Dx")]
            yield (
                f"{kind} with an unknown field",
                [Request("POST", f"{all_of}?fieldValidation=Strict", obj(api, kind, "y", **rest, surprise=1))],
            )
            yield (
                f"{kind} without a name",
                [Request("POST", f"{all_of}?dryRun=All", {"apiVersion": api, "kind": kind, "metadata": {}, **rest})],
            )
            yield f"{kind} with a wrong name", [Request("POST", all_of, obj(api, kind, "No_Name", **rest))]
            yield f"{kind} as another kind", [Request("POST", all_of, obj(api, "Wrong", "y", **rest))]
            yield f"{kind} deleted", [Request("DELETE", f"{one}?gracePeriodSeconds=0"), Request("GET", one)]


def _pod(**spec: Any) -> Request:
    return Request("POST", f"{path('v1', 'pods')}?dryRun=All", obj("v1", "Pod", "wrong", spec={**POD, **spec}))


def _container(**fields: Any) -> Request:
    return _pod(containers=[{**CONTAINER, **fields}])


def _deployment(**spec: Any) -> Request:
    body = obj("apps/v1", "Deployment", "wrong", spec={"selector": SELECTOR, "template": TEMPLATE, **spec})
    return Request("POST", f"{path('apps/v1', 'deployments')}?dryRun=All", body)


def _service(**spec: Any) -> Request:
    return Request("POST", f"{path('v1', 'services')}?dryRun=All", obj("v1", "Service", "wrong", spec={"ports": [{"port": 80}], **spec}))


def _claim(**spec: Any) -> Request:
    return Request(
        "POST", f"{path('v1', 'persistentvolumeclaims')}?dryRun=All", obj("v1", "PersistentVolumeClaim", "wrong", spec={**CLAIM, **spec})
    )


def _job(**spec: Any) -> Request:
    template = {"spec": {**POD, "restartPolicy": "Never"}}
    return Request("POST", f"{path('batch/v1', 'jobs')}?dryRun=All", obj("batch/v1", "Job", "wrong", spec={"template": template, **spec}))


INVALID: dict[str, Request] = {
    "a pod without containers": _pod(containers=[]),
    "a container without a name": _pod(containers=[{"image": "x"}]),
    "a container without an image": _pod(containers=[{"name": "x"}]),
    "two containers of one name": _pod(containers=[CONTAINER, CONTAINER]),
    "a wrong restart policy": _pod(restartPolicy="Sometimes"),
    "a wrong DNS policy": _pod(dnsPolicy="Mine"),
    "a negative grace period": _pod(terminationGracePeriodSeconds=-1),
    "a port out of range": _container(ports=[{"containerPort": 70000}]),
    "a port of a wrong protocol": _container(ports=[{"containerPort": 80, "protocol": "ICMP"}]),
    "a port name that is too long": _container(ports=[{"containerPort": 80, "name": "a-name-that-is-too-long"}]),
    "two ports of one name": _container(ports=[{"containerPort": 80, "name": "a"}, {"containerPort": 81, "name": "a"}]),
    "a variable without a name": _container(env=[{"name": "", "value": "x"}]),
    "a variable of two sources": _container(env=[{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
    "a variable from an unknown field": _container(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.nothing"}}}]),
    "a wrong pull policy": _container(imagePullPolicy="Often"),
    "a request over the limit": _container(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
    "a negative request": _container(resources={"requests": {"memory": "-1"}}),
    "an amount that is none": _container(resources={"requests": {"cpu": "much"}}),
    "a mount of no volume": _container(volumeMounts=[{"name": "none", "mountPath": "/x"}]),
    "a mount without a path": _pod(volumes=[{"name": "v"}], containers=[{**CONTAINER, "volumeMounts": [{"name": "v", "mountPath": ""}]}]),
    "a probe of two handlers": _container(livenessProbe={"exec": {"command": ["x"]}, "tcpSocket": {"port": 80}}),
    "a probe without a handler": _container(readinessProbe={"periodSeconds": 1}),
    "a liveness probe that needs two successes": _container(livenessProbe={"exec": {"command": ["x"]}, "successThreshold": 2}),
    "a probe with a negative delay": _container(livenessProbe={"exec": {"command": ["x"]}, "initialDelaySeconds": -1}),
    "a volume of two sources": _pod(volumes=[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/x"}}]),
    "two volumes of one name": _pod(volumes=[{"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}]),
    "a host path without a path": _pod(volumes=[{"name": "v", "hostPath": {"path": ""}}]),
    "a toleration of every key that is equal": _pod(tolerations=[{"operator": "Equal"}]),
    "a toleration of a wrong effect": _pod(tolerations=[{"key": "a", "operator": "Exists", "effect": "Never"}]),
    "a node selector with a wrong value": _pod(nodeSelector={"a": "b c"}),
    "an affinity without terms": _pod(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}),
    "a spread without a key": _pod(topologySpreadConstraints=[{"maxSkew": 1, "topologyKey": "", "whenUnsatisfiable": "DoNotSchedule"}]),
    "a spread of skew 0": _pod(topologySpreadConstraints=[{"maxSkew": 0, "topologyKey": "a", "whenUnsatisfiable": "DoNotSchedule"}]),
    "a host name that is none": _pod(hostname="A_B"),
    "an init container with a readiness probe": _pod(initContainers=[{"name": "i", "image": "x", "readinessProbe": {"tcpSocket": {"port": 1}}}]),
    "a deployment whose labels do not match": _deployment(selector={"matchLabels": {"app": "other"}}),
    "a deployment without a selector": _deployment(selector=None),
    "a deployment of an empty selector": _deployment(selector={}),
    "a deployment of minus one": _deployment(replicas=-1),
    "a deployment that never restarts": _deployment(template={"metadata": {"labels": LABELS}, "spec": {**POD, "restartPolicy": "Never"}}),
    "a deployment of neither surge nor loss": _deployment(strategy={"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}),
    "a recreation with a rolling update": _deployment(strategy={"type": "Recreate", "rollingUpdate": {}}),
    "a deployment with a deadline before it is ready": _deployment(minReadySeconds=600, progressDeadlineSeconds=600),
    "a service without ports": _service(ports=[]),
    "a service of a wrong port": _service(ports=[{"port": 0}]),
    "a service of two unnamed ports": _service(ports=[{"port": 80}, {"port": 81}]),
    "a service of a wrong type": _service(type="Anything"),
    "a service with an address that is none": _service(clusterIP="10.96.300.1"),
    "a service with an address out of range": _service(clusterIP="10.200.0.1"),
    "a node port out of range": _service(type="NodePort", ports=[{"port": 80, "nodePort": 80}]),
    "a node port of a cluster address": _service(ports=[{"port": 80, "nodePort": 30080}]),
    "an external name without a name": _service(type="ExternalName", ports=[]),
    "a wrong affinity": _service(sessionAffinity="Everything"),
    "a service with a wrong selector": _service(selector={"a b": "c"}),
    "a claim without modes": _claim(accessModes=[]),
    "a claim of a wrong mode": _claim(accessModes=["ReadOften"]),
    "a claim of nothing": _claim(resources={}),
    "a claim of less than nothing": _claim(resources={"requests": {"storage": "-1Gi"}}),
    "a job that always restarts": _job(template={"spec": {**POD, "restartPolicy": "Always"}}),
    "a job without a policy": _job(template={"spec": POD}),
    "a job of minus one": _job(parallelism=-1),
    "a job with its own selector": _job(selector={"matchLabels": {"a": "b"}}),
    "an indexed job without completions": _job(completionMode="Indexed"),
    "a key that is none": Request("POST", path("v1", "configmaps"), obj("v1", "ConfigMap", "wrong", data={"a b": "c"})),
    "a secret that is not encoded": Request("POST", path("v1", "secrets"), obj("v1", "Secret", "wrong", data={"a": "not base64!"})),
    "a TLS secret without keys": Request("POST", path("v1", "secrets"), obj("v1", "Secret", "wrong", type="kubernetes.io/tls", data={})),
    "a label that is none": Request("POST", path("v1", "configmaps"), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "w", "labels": {"a": "b c"}}}),
    "another namespace in the body": Request("POST", path("v1", "configmaps"), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "w", "namespace": "other"}}),
    "a namespace that is not there": Request("POST", path("v1", "configmaps", namespace="nowhere"), obj("v1", "ConfigMap")),
    "a version of an object that is new": Request("POST", path("v1", "configmaps"), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "w", "resourceVersion": "1"}}),
}  # fmt: skip

DEPLOYMENT = path("apps/v1", "deployments", "web")
WEB = obj("apps/v1", "Deployment", "web", spec={"selector": SELECTOR, "template": TEMPLATE})
PORTS = [{"containerPort": 80, "name": "http"}, {"containerPort": 81}]


def changes() -> Iterator[Case]:
    """One Deployment, one Service and one claim changed in every way."""
    yield "created for changes", [Request("POST", path("apps/v1", "deployments"), WEB)]
    patches: dict[str, tuple[Any, dict[str, str]]] = {
        "scaled by merge": ({"spec": {"replicas": 5}}, MERGE),
        "scaled by JSON": ([{"op": "replace", "path": "/spec/replicas", "value": 6}], JSON),
        "a test that fails": ([{"op": "test", "path": "/spec/replicas", "value": 1}], JSON),
        "a path that is not there": ([{"op": "replace", "path": "/spec/nothing/here", "value": 1}], JSON),
        "an operation that is none": ([{"op": "jump", "path": "/spec"}], JSON),
        "a container more": ({"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "s"}]}}}}, STRATEGIC),
        "ports by merge key": ({"spec": {"template": {"spec": {"containers": [{"name": "main", "ports": PORTS}]}}}}, STRATEGIC),
        "a port less": (
            {"spec": {"template": {"spec": {"containers": [{"name": "main", "ports": [{"$patch": "delete", "containerPort": 81}]}]}}}},
            STRATEGIC,
        ),
        "a container less": ({"spec": {"template": {"spec": {"containers": [{"$patch": "delete", "name": "side"}]}}}}, STRATEGIC),
        "recreation keeps only its keys": ({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}, STRATEGIC),
        "an immutable selector": ({"spec": {"selector": {"matchLabels": {"app": "other"}}}}, MERGE),
        "a wrong value by patch": ({"spec": {"replicas": -3}}, MERGE),
        "a wrong type by patch": ({"spec": {"replicas": "many"}}, MERGE),
        "an unknown field by patch": ({"spec": {"replica": 3}}, MERGE),
        "status by the main path": ({"status": {"replicas": 9}}, MERGE),
        "a patch that is no JSON": (b"{", MERGE),
        "a patch of an unknown type": ({"spec": {}}, {"Content-Type": "application/unknown"}),
        "another version": ({"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 2}}, MERGE),
        "another name": ({"metadata": {"name": "other"}}, MERGE),
        "another uid": ({"metadata": {"uid": "other"}}, MERGE),
        "a finalizer without a domain": ({"metadata": {"finalizers": ["simple"]}}, MERGE),
    }
    for name, (body, headers) in patches.items():
        yield f"deployment: {name}", [Request("PATCH", DEPLOYMENT, body, headers), Request("GET", DEPLOYMENT)]
    yield "deployment: its status", [Request("PATCH", f"{DEPLOYMENT}/status", {"status": {"replicas": 2}, "spec": {"replicas": 99}}, MERGE)]
    yield (
        "deployment: its scale",
        [
            Request("GET", f"{DEPLOYMENT}/scale"),
            Request("PATCH", f"{DEPLOYMENT}/scale", {"spec": {"replicas": 4}}, MERGE),
            Request("GET", DEPLOYMENT),
        ],
    )
    yield "deployment: replaced without a version", [Request("PUT", DEPLOYMENT, WEB)]
    yield "deployment: replaced by another name", [Request("PUT", DEPLOYMENT, {**WEB, "metadata": {"name": "other"}})]
    yield (
        "deployment: replaced by an old version",
        [Request("PUT", DEPLOYMENT, {**WEB, "metadata": {"name": "web", "resourceVersion": "1"}})],
    )
    yield (
        "deployment: replaced where none is",
        [Request("PUT", path("apps/v1", "deployments", "none"), {**WEB, "metadata": {"name": "none"}})],
    )
    yield (
        "deployment: tried only",
        [
            Request("PATCH", f"{DEPLOYMENT}?dryRun=All", {"spec": {"replicas": 77}}, MERGE),
            Request("GET", DEPLOYMENT),
        ],
    )
    yield "deployment: deleted with a wrong precondition", [Request("DELETE", DEPLOYMENT, {"preconditions": {"uid": "wrong"}})]
    yield "deployment: deleted", [Request("DELETE", DEPLOYMENT), Request("DELETE", DEPLOYMENT)]


PATHS = {
    "version": Request("GET", "/version"),
    "api versions": Request("GET", "/api"),
    "groups": Request("GET", "/apis"),
    "resources of core": Request("GET", "/api/v1"),
    "resources of apps": Request("GET", "/apis/apps/v1"),
    "resources of batch": Request("GET", "/apis/batch/v1"),
    "resources of events": Request("GET", "/apis/events.k8s.io/v1"),
    "resources of old autoscalers": Request("GET", "/apis/autoscaling/v1"),
    "one group": Request("GET", "/apis/apps"),
    "core, aggregated": Request("GET", "/api", headers=DISCOVERY),
    "a path that is not there": Request("GET", "/nothing"),
    "a group that is not there": Request("GET", "/apis/nothing.example.org/v1/things"),
    "a resource that is not there": Request("GET", "/api/v1/namespaces/default/things"),
    "an object that is not there": Request("GET", path("v1", "pods", "none")),
    "a verb that is not there": Request("PUT", path("v1", "pods")),
    "deletion of what is not there": Request("DELETE", path("v1", "pods", "none")),
    "a body that is no JSON": Request("POST", path("v1", "configmaps"), b"{"),
    "a body that is a list": Request("POST", path("v1", "configmaps"), []),
    "no body": Request("POST", path("v1", "configmaps")),
    "a body of another type": Request("POST", path("v1", "configmaps"), b"x", {"Content-Type": "text/plain"}),
    "a field selector that is none": Request("GET", "/api/v1/pods?fieldSelector=spec.nothing%3Dx"),
    "a label selector that is none": Request("GET", "/api/v1/pods?labelSelector=a%20b%20c"),
    "a limit that is none": Request("GET", "/api/v1/pods?limit=x"),
    "a continuation that is none": Request("GET", "/api/v1/pods?limit=1&continue=x"),
    "a watch from a wrong version": Request("GET", "/api/v1/pods?watch=1&resourceVersion=x"),
    "a version match without a version": Request("GET", "/api/v1/pods?resourceVersionMatch=Exact"),
    "pods as a table": Request("GET", "/api/v1/pods", headers=TABLE),
    "a kind of answer that is not there": Request("GET", "/api/v1/pods", headers={"Accept": "application/xml"}),
    "who am I": Request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}),
    "an eviction of nobody": Request("POST", f"{path('v1', 'pods', 'none')}/eviction", {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "none"}}),
    "a binding of nobody": Request("POST", f"{path('v1', 'pods', 'none')}/binding", {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "none"}, "target": {"name": "n"}}),
}  # fmt: skip


def cases() -> list[Case]:
    """Return every case."""
    account = ("the default service account", [Request("POST", path("v1", "serviceaccounts"), obj("v1", "ServiceAccount", "default"))])
    single = [(name, [request]) for name, request in {**PATHS, **INVALID}.items()]
    return [account, *single, *lives(), *changes()]
