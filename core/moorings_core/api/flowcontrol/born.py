"""The flow schemas and priority levels that every cluster has. Source: apiserver pkg/apis/flowcontrol/bootstrap/default.go."""

from __future__ import annotations

from collections.abc import Sequence

from moorings_core.ports.objects import Object, Resource

GROUP = "flowcontrol.apiserver.k8s.io"
SCHEMAS = Resource(GROUP, "v1", "flowschemas", "FlowSchema", False)
LEVELS = Resource(GROUP, "v1", "prioritylevelconfigurations", "PriorityLevelConfiguration", False)
AUTOMATIC = {"apf.kubernetes.io/autoupdate-spec": "true"}
_LEVELS = {  # shares, lendable percent, queues, hand
    "system": (30, 33, 64, 6),
    "node-high": (40, 25, 64, 6),
    "leader-election": (10, 0, 16, 4),
    "workload-high": (40, 50, 128, 6),
    "workload-low": (100, 90, 128, 6),
    "global-default": (20, 50, 128, 6),
}
_EVERYBODY = ("system:unauthenticated", "system:authenticated")
_MANAGER, _SCHEDULER = "system:kube-controller-manager", "system:kube-scheduler"


def objects() -> list[tuple[Resource, Object]]:
    """Return the objects."""
    limited = {"nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"}}
    made = [
        _level("exempt", {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}),
        _level("catch-all", {"type": "Limited", "limited": limited}),
    ]
    for name, (shares, lendable, queues, hand) in _LEVELS.items():
        queuing = {"queues": queues, "handSize": hand, "queueLengthLimit": 50}
        response = {"type": "Queue", "queuing": queuing}
        limited = {"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response}
        made.append(_level(name, {"type": "Limited", "limited": limited}))
    return made + _schemas()


def _schemas() -> list[tuple[Resource, Object]]:
    leases = _resources(["get", "create", "update"], "coordination.k8s.io", ["leases"], cluster=False)
    own_leases = _resources(["*"], "coordination.k8s.io", ["leases"], cluster=False)
    nodes = _resources(["*"], "", ["nodes", "nodes/status"])
    health = {"nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]}
    system = _account("kube-system", "*")
    leaders = [*_users(_MANAGER, _SCHEDULER), system]
    return [
        _schema("exempt", "exempt", 1, "", _groups("system:masters"), _ALL),
        _schema("probes", "exempt", 2, "", _groups(*_EVERYBODY), health),
        _schema("system-leader-election", "leader-election", 100, "ByUser", leaders, {"resourceRules": [leases]}),
        _schema("system-node-high", "node-high", 400, "ByUser", _groups("system:nodes"), {"resourceRules": [nodes, own_leases]}),
        _schema("system-nodes", "system", 500, "ByUser", _groups("system:nodes"), _ALL),
        _schema("kube-controller-manager", "workload-high", 800, "ByNamespace", _users(_MANAGER), _ALL),
        _schema("kube-scheduler", "workload-high", 800, "ByNamespace", _users(_SCHEDULER), _ALL),
        _schema("kube-system-service-accounts", "workload-high", 900, "ByNamespace", [system], _ALL),
        _schema("service-accounts", "workload-low", 9000, "ByUser", _groups("system:serviceaccounts"), _ALL),
        _schema("global-default", "global-default", 9900, "ByUser", _groups(*_EVERYBODY), _ALL),
        _schema("catch-all", "catch-all", 10000, "ByUser", _groups(*_EVERYBODY), _ALL),
    ]


def _resources(verbs: list[str], group: str, resources: list[str], *, cluster: bool = True) -> Object:
    rule: Object = {"verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"]}
    return rule | ({"clusterScope": True} if cluster else {})


_ALL: Object = {
    "resourceRules": [_resources(["*"], "*", ["*"])],
    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
}


def _groups(*names: str) -> list[Object]:
    return [{"kind": "Group", "group": {"name": name}} for name in names]


def _users(*names: str) -> list[Object]:
    return [{"kind": "User", "user": {"name": name}} for name in names]


def _account(namespace: str, name: str) -> Object:
    return {"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": name}}


def _schema(
    name: str, level: str, precedence: int, distinguisher: str, subjects: Sequence[Object], rules: Object
) -> tuple[Resource, Object]:
    spec: Object = {"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence}
    spec |= {"distinguisherMethod": {"type": distinguisher}} if distinguisher else {}
    spec["rules"] = [{"subjects": list(subjects), **rules}]
    return SCHEMAS, _object("FlowSchema", name, spec)


def _level(name: str, spec: Object) -> tuple[Resource, Object]:
    return LEVELS, _object("PriorityLevelConfiguration", name, spec)


def _object(kind: str, name: str, spec: Object) -> Object:
    metadata: Object = {"name": name, "annotations": dict(AUTOMATIC)}
    return {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": metadata, "spec": spec}
