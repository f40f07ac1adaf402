"""What admission fills in, refuses and warns of. Each part has a namespace of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .cases import CONTAINER, MERGE, POD, SELECTOR, Case, obj, path
from .peers import Request

Spec = dict[str, Any]
MOMENT = "2026-01-01T00:00:00Z"
SECURE: Spec = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
WINDOWS = {"windowsOptions": {"hostProcess": True}, "runAsNonRoot": True}
LEVELS = (("baseline", "latest"), ("restricted", "latest"), ("restricted", "v1.24"), ("baseline", "v1.0"), ("restricted", "v1.20"))
INSECURE: dict[str, Spec] = {
    "nothing special": {},
    "the host's namespaces": {"hostNetwork": True, "hostPID": True, "hostIPC": True},
    "a directory of the host": {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]},
    "nfs": {"volumes": [{"name": "v", "nfs": {"server": "a", "path": "/"}}]},
    "root": {"securityContext": {"runAsUser": 0, "runAsNonRoot": False}},
    "a seccomp profile": {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
    "an AppArmor profile": {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}},
    "a sysctl": {"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}, {"name": "net.ipv4.tcp_rmem", "value": "1"}]}},
    "SELinux": {"securityContext": {"seLinuxOptions": {"type": "spc_t", "user": "u", "role": "r"}}},
    "a user namespace": {"hostUsers": False, "securityContext": {"runAsUser": 0}},
    "windows": {"os": {"name": "windows"}, "securityContext": WINDOWS, "hostNetwork": True},
    "secure": {"containers": [{**CONTAINER, "securityContext": SECURE}]},
}  # fmt: skip
CONTAINERS: dict[str, Spec] = {
    "privileged": {"securityContext": {"privileged": True}},
    "capabilities": {"securityContext": {"capabilities": {"add": ["NET_ADMIN", "CHOWN", "SYS_TIME"], "drop": ["CHOWN"]}}},
    "a port of the host": {"ports": [{"containerPort": 80, "hostPort": 80}, {"containerPort": 81, "hostPort": 81}]},
    "a probe elsewhere": {"livenessProbe": {"httpGet": {"host": "a.example", "port": 80}}},
    "a hook elsewhere": {"lifecycle": {"preStop": {"httpGet": {"host": "b.example", "port": 80}}}},
    "seccomp": {"securityContext": {"seccompProfile": {"type": "Unconfined"}, "runAsNonRoot": False, "runAsUser": 0}},
    "SELinux types": {"securityContext": {"seLinuxOptions": {"type": "container_engine_t"}}},
    "procMount": {"securityContext": {"procMount": "Unmasked"}},
}


def admission() -> Iterator[Case]:
    """All of it."""
    yield from built_in()
    yield from limits()
    yield from pod_security()
    yield from quotas()
    yield from evictions()


def home(name: str, labels: dict[str, str] | None = None) -> Case:
    """Make a namespace with its default account, which no controller makes here."""
    made = obj("v1", "Namespace", name)
    made["metadata"]["labels"] = labels or {}
    account = Request("POST", path("v1", "serviceaccounts", "", name), obj("v1", "ServiceAccount", "default"))
    return f"admission: namespace {name}", [Request("POST", "/api/v1/namespaces", made, warned=True), account]


def make(namespace: str, api: str, kind: str, plural: str, name: str = "x", **rest: Any) -> Request:
    """Return the creation of an object."""
    return Request("POST", path(api, plural, "", namespace), obj(api, kind, name, **rest), warned=True)


def pod(namespace: str, name: str = "x", *, dry: bool = True, **spec: Any) -> Request:
    """Return the creation of a pod."""
    where = path("v1", "pods", "", namespace) + ("?dryRun=All" if dry else "")
    return Request("POST", where, obj("v1", "Pod", name, spec={**POD, **spec}), warned=True)


def _resources(requests: Spec | None = None, limits: Spec | None = None, **fields: Any) -> Spec:
    return {**CONTAINER, "resources": {"requests": requests or {}, "limits": limits or {}}, **fields}


def built_in() -> Iterator[Case]:
    """Plugins about accounts, classes, priorities and namespaces."""
    ns = "adm-built-in"
    yield home(ns)
    keys = {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "other", "key": "k"}}}]}
    strict = obj("v1", "ServiceAccount", "strict", imagePullSecrets=[{"name": "pull"}], secrets=[{"name": "mine"}])
    strict["metadata"]["annotations"] = {"kubernetes.io/enforce-mountable-secrets": "true"}
    account = {"serviceAccountName": "strict"}
    yield "admission: a strict account", [Request("POST", path("v1", "serviceaccounts", "", ns), strict)]
    yield "admission: pull secrets", [pod(ns, **account)]
    yield "admission: a secret of another", [pod(ns, **account, volumes=[{"name": "v", "secret": {"secretName": "other"}}])]
    yield "admission: a secret of its own", [pod(ns, **account, volumes=[{"name": "v", "secret": {"secretName": "mine"}}])]
    yield "admission: another's key", [pod(ns, **account, containers=[{**CONTAINER, **keys}])]
    yield "admission: another's keys", [pod(ns, **account, containers=[{**CONTAINER, "envFrom": [{"secretRef": {"name": "other"}}]}])]
    yield "admission: another's pull secret", [pod(ns, **account, imagePullSecrets=[{"name": "other"}])]
    yield "admission: no account", [pod(ns, serviceAccountName="absent")]
    mirror = obj("v1", "Pod", "mirror", spec={**POD, "nodeName": "n", "serviceAccountName": "default"})
    mirror["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    yield "admission: a mirror pod with an account", [Request("POST", path("v1", "pods", "", ns), mirror)]
    yield "admission: a class that is not there", [pod(ns, priorityClassName="absent")]
    yield "admission: a system class", [pod(ns, priorityClassName="system-node-critical")]
    yield "admission: a number that is not the class's", [pod(ns, priority=7)]
    yield "admission: a policy that is not the class's", [pod(ns, preemptionPolicy="Never")]
    heavy = {"overhead": {"podFixed": {"cpu": "250m"}}, "handler": "h"}
    heavy["scheduling"] = {"nodeSelector": {"kind": "heavy"}, "tolerations": [{"key": "t", "operator": "Exists"}]}
    yield "admission: a runtime", [make("", "node.k8s.io/v1", "RuntimeClass", "runtimeclasses", "adm-heavy", **heavy)]
    yield "admission: its overhead", [pod(ns, runtimeClassName="adm-heavy", nodeSelector={"a": "b"})]
    yield "admission: another overhead", [pod(ns, runtimeClassName="adm-heavy", overhead={"cpu": "1"})]
    yield "admission: another node", [pod(ns, runtimeClassName="adm-heavy", nodeSelector={"kind": "light"})]
    yield "admission: an overhead without a class", [pod(ns, overhead={"cpu": "1"})]
    yield "admission: no runtime", [pod(ns, runtimeClassName="absent")]
    ingress_class = obj("networking.k8s.io/v1", "IngressClass", "adm-default", spec={"controller": "example.org/c"})
    ingress_class["metadata"]["annotations"] = {"ingressclass.kubernetes.io/is-default-class": "true"}
    backend = {"defaultBackend": {"service": {"name": "x", "port": {"number": 80}}}}
    yield (
        "admission: a default ingress class",
        [
            Request("POST", path("networking.k8s.io/v1", "ingressclasses", "", ""), ingress_class),
            make(ns, "networking.k8s.io/v1", "Ingress", "ingresses", spec=backend),
            Request("DELETE", path("networking.k8s.io/v1", "ingressclasses", "adm-default", "")),
        ],
    )
    yield (
        "admission: namespaces for ever",
        [Request("DELETE", f"/api/v1/namespaces/{n}") for n in ("default", "kube-system", "kube-public")],
    )
    zone = obj("v1", "Node", "adm-node")
    zone["metadata"]["labels"] = {"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r", "a": "b"}
    binding = obj("v1", "Binding", "placed", target={"kind": "Node", "name": "adm-node"})
    placed = path("v1", "pods", "placed", ns)
    yield (
        "admission: a pod gets its node's zone",
        [
            Request("POST", "/api/v1/nodes", zone),
            pod(ns, "placed", dry=False),
            Request("POST", f"{placed}/binding", binding),
            Request("GET", f"{placed}?x=1"),
            pod(ns, "direct", nodeName="adm-node"),
        ],
    )
    yield "admission: a terminating namespace", [
        Request("DELETE", f"/api/v1/namespaces/{ns}"),
        pod(ns, "late"),
        make(ns, "v1", "ConfigMap", "configmaps", "late"),
        make(ns, "v1", "Event", "events", "late", involvedObject={"namespace": ns, "name": "x", "kind": "Pod"}),
    ]  # fmt: skip


def limits() -> Iterator[Case]:
    """LimitRanger."""
    ns = "adm-limits"
    yield home(ns)
    container = {"type": "Container", "default": {"cpu": "500m", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}}
    container |= {"min": {"cpu": "50m"}, "max": {"cpu": "2", "memory": "2Gi"}, "maxLimitRequestRatio": {"cpu": "10"}}
    whole = {"type": "Pod", "max": {"cpu": "3"}, "min": {"memory": "1Mi"}}
    claim = {"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "10Gi"}}
    yield "admission: limits", [make(ns, "v1", "LimitRange", "limitranges", spec={"limits": [container, whole, claim]})]
    yield "admission: limits by default", [pod(ns)]
    yield "admission: limits with an init container", [pod(ns, initContainers=[{**CONTAINER, "name": "init"}])]
    yield "admission: too little", [pod(ns, containers=[_resources({"cpu": "10m", "memory": "2Mi"}, {"cpu": "100m"})])]
    yield "admission: too much", [pod(ns, containers=[_resources({"cpu": "1"}, {"cpu": "2500m"})])]
    yield "admission: too wide", [pod(ns, containers=[_resources({"cpu": "100m"}, {"cpu": "1500m"})])]
    several = [_resources({"cpu": "1"}, {"cpu": "2"}, name=n) for n in ("a", "b")]
    yield "admission: too much together", [pod(ns, containers=several)]
    for size in ("500Mi", "1Gi", "11Gi"):
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
        yield f"admission: a claim of {size}", [make(ns, "v1", "PersistentVolumeClaim", "persistentvolumeclaims", size.lower(), spec=spec)]
    yield "admission: limits are for pods alone", [
        make(ns, "apps/v1", "Deployment", "deployments", spec={"selector": SELECTOR, "template": _template()})
    ]  # fmt: skip


def _template(**spec: Any) -> Spec:
    return {"metadata": {"labels": {"app": "web"}}, "spec": {**POD, **spec}}


def pod_security() -> Iterator[Case]:
    """The levels, their versions, warnings of workloads and of namespaces."""
    prefix = "pod-security.kubernetes.io/"
    for level, version in (
        ("baseline", "latest"),
        ("restricted", "latest"),
        ("restricted", "v1.24"),
        ("baseline", "v1.0"),
        ("restricted", "v1.20"),
    ):
        ns = f"adm-{level}-{version.replace('.', '-')}"
        yield home(ns, {f"{prefix}enforce": level, f"{prefix}enforce-version": version})
        for what, spec in INSECURE.items():
            yield f"admission: {what} at {level} {version}", [pod(ns, **spec)]
        for what, extra in CONTAINERS.items():
            yield f"admission: {what} at {level} {version}", [pod(ns, containers=[{**CONTAINER, **extra}], hostUsers=what != "procMount")]
    ns = "adm-warned"
    yield home(ns, {f"{prefix}warn": "restricted", f"{prefix}audit": "baseline"})
    yield (
        "admission: a pod is warned of",
        [pod(ns, "one", dry=False, hostNetwork=True), pod(ns, "two", dry=False), pod(ns, "three", dry=False)],
    )
    spec = {"selector": SELECTOR, "template": _template(hostPID=True)}
    yield "admission: a workload is warned of", [
        make(ns, "apps/v1", "Deployment", "deployments", spec=spec),
        make(ns, "apps/v1", "DaemonSet", "daemonsets", spec=spec),
        make(ns, "batch/v1", "Job", "jobs", spec={"template": {"spec": {**POD, "restartPolicy": "Never"}}}),
        make(ns, "v1", "PodTemplate", "podtemplates", template=_template()),
    ]  # fmt: skip

    def label(**labels: str) -> Request:
        given = {f"{prefix}{k.replace('_', '-')}": v for k, v in labels.items()}
        return Request("PATCH", f"/api/v1/namespaces/{ns}", {"metadata": {"labels": given}}, MERGE, warned=True)

    yield "admission: a namespace made stricter", [label(enforce="baseline"), label(enforce="restricted"), label(enforce="privileged")]
    yield "admission: a level that is none", [label(enforce="strict"), label(warn_version="1.2")]
    yield "admission: an update of a pod that was let in", [
        label(enforce="restricted", warn="privileged"),
        Request("PATCH", path("v1", "pods", "one", ns), {"metadata": {"labels": {"a": "b"}}}, MERGE, warned=True),
        Request("PATCH", path("v1", "pods", "one", ns), {"spec": {"containers": [{**CONTAINER, "image": "example.org/b"}]}}, MERGE),
    ]  # fmt: skip


def quotas() -> Iterator[Case]:
    """ResourceQuota, whose status no controller writes here."""
    ns = "adm-quota"
    yield home(ns)
    hard = {"pods": "3", "requests.cpu": "1", "limits.memory": "1Gi", "count/configmaps": "2", "services.nodeports": "2", "secrets": "1"}
    used = dict.fromkeys(hard, "0")
    first = make(ns, "v1", "ResourceQuota", "resourcequotas", "q", spec={"hard": hard})
    where = path("v1", "resourcequotas", "q", ns)

    def status(**values: Any) -> Request:
        return Request("PATCH", f"{where}/status", {"status": values}, MERGE)

    read = Request("GET", where)
    yield "admission: a quota", [first, status(hard=hard), pod(ns, "early"), status(hard=hard, used=used)]
    full = [_resources({"cpu": "400m"}, {"memory": "256Mi"})]
    yield "admission: a quota is taken of", [
        pod(ns, "a", dry=False, containers=full),
        read,
        pod(ns, "b", containers=full),
        read,
        pod(ns, "c", containers=[_resources({"cpu": "700m"}, {"memory": "1Gi"})]),
        pod(ns, "d", containers=[_resources({"cpu": "100m"}), _resources({}, {"memory": "1Mi"}, name="other")]),
        pod(ns, "e"),
    ]  # fmt: skip
    yield "admission: counts", [make(ns, "v1", "ConfigMap", "configmaps", n) for n in ("a", "b", "c")]
    yield "admission: secrets by their old name", [make(ns, "v1", "Secret", "secrets", n) for n in ("a", "b")]
    ports = [{"port": p, "name": f"p{p}", "targetPort": p} for p in (80, 81, 82)]
    node_port = {"type": "NodePort", "ports": ports}
    yield "admission: node ports", [make(ns, "v1", "Service", "services", "a", spec=node_port)]
    scoped = {"hard": {"pods": "1"}, "scopes": ["BestEffort"]}
    high = {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["system-node-critical"]}]}

    def counted(name: str, number: str) -> Request:
        counts = {"hard": {"pods": number}, "used": {"pods": number}}
        return Request("PATCH", path("v1", "resourcequotas", name, ns) + "/status", {"status": counts}, MERGE)

    yield "admission: scopes", [
        Request("DELETE", where),
        make(ns, "v1", "ResourceQuota", "resourcequotas", "best", spec=scoped),
        counted("best", "1"),
        make(ns, "v1", "ResourceQuota", "resourcequotas", "high", spec={"hard": {"pods": "0"}, "scopeSelector": high}),
        counted("high", "0"),
        pod(ns, "one"),
        pod(ns, "two", containers=[_resources({"cpu": "1"})]),
        pod(ns, "three", containers=[_resources({"cpu": "1"})], priorityClassName="system-node-critical"),
    ]  # fmt: skip


def _ready(status: str) -> Spec:
    return {"type": "Ready", "status": status, "lastTransitionTime": MOMENT, "lastProbeTime": MOMENT}


def evictions() -> Iterator[Case]:
    """pods/eviction against budgets, whose status no controller writes here."""
    ns = "adm-evict"
    yield home(ns)
    budget = {"minAvailable": 1, "selector": SELECTOR}
    where = path("policy/v1", "poddisruptionbudgets", "web", ns)
    ready = {"phase": "Running", "conditions": [_ready("True")]}

    def status(name: str = "web", **values: Any) -> Request:
        full = {"currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2, "disruptionsAllowed": 1, "observedGeneration": 1, **values}
        return Request("PATCH", path("policy/v1", "poddisruptionbudgets", name, ns) + "/status", {"status": full}, MERGE)

    def web(name: str, state: Spec | None = None) -> list[Request]:
        made = obj("v1", "Pod", name, spec=POD)
        made["metadata"]["labels"] = {"app": "web"}
        one = path("v1", "pods", name, ns)
        return [Request("POST", path("v1", "pods", "", ns), made), Request("PATCH", f"{one}/status", {"status": state or ready}, MERGE)]

    def evict(name: str, **options: Any) -> Request:
        body = obj("policy/v1", "Eviction", name, **({"deleteOptions": options} if options else {}))
        return Request("POST", path("v1", "pods", name, ns) + "/eviction", body)

    def read(name: str) -> Request:
        return Request("GET", path("v1", "pods", name, ns))

    budgets = Request("GET", where)
    yield "admission: a budget that was never counted", [
        make(ns, "policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", "web", spec=budget), *web("a"), *web("b"), evict("a")
    ]  # fmt: skip
    yield "admission: a disruption is allowed, then none", [
        status(), evict("a", dryRun=["All"]), budgets, evict("a"), read("a"), budgets, evict("b")
    ]  # fmt: skip
    failed = {"type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed", "message": "why", "lastTransitionTime": MOMENT}
    yield "admission: budgets that allow none", [
        status(disruptionsAllowed=0, currentHealthy=1, disruptedPods=None), evict("b"),
        status(disruptionsAllowed=0, currentHealthy=2), evict("b"),
        status(disruptionsAllowed=0, conditions=[failed]), evict("b"),
    ]  # fmt: skip
    unready = {"phase": "Running", "conditions": [_ready("False")]}
    yield "admission: pods that are not ready", [
        *web("u", unready), status(disruptionsAllowed=0, currentHealthy=0), evict("u"),
        status(disruptionsAllowed=0, currentHealthy=1), evict("u"), read("u"),
        *web("v", unready), status(disruptionsAllowed=0, currentHealthy=0),
        Request("PATCH", where, {"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}}, MERGE), evict("v"), read("v"),
    ]  # fmt: skip
    yield "admission: pods that need no budget", [*web("p", {"phase": "Pending"}), evict("p"), *web("f", {"phase": "Failed"}), evict("f")]
    yield "admission: two budgets", [
        make(ns, "policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", "other", spec=budget), status("other"), evict("b")
    ]  # fmt: skip
    yield (
        "admission: evictions of nothing",
        [evict("absent"), Request("POST", path("v1", "pods", "b", ns) + "/eviction", obj("policy/v1", "Eviction", "x"))],
    )
    yield "admission: an eviction of another", [evict("b", preconditions={"uid": "00000000-0000-0000-0000-000000000000"})]
