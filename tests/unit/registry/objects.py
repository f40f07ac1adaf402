"""Small valid objects, and ways to spoil them."""

from __future__ import annotations

import copy
from typing import Any

from moorings_core.ports.objects import Object, Resource
from moorings_core.registry import defaults
from moorings_core.registry.kinds import built_in

REGISTRY = built_in()


def resource(group: str, plural: str) -> Resource:
    """The resource in its newest version."""
    versions = ("v1",) if not group else dict(REGISTRY.groups)[group]
    return next(k.resource for v in versions if (k := REGISTRY.lookup(group, v, plural)) is not None)


def changed(obj: Object, changes: dict[str, Any]) -> Object:
    """Return obj with values set by dotted path (numbers are indexes); ... takes a field away."""
    made = copy.deepcopy(obj)
    for path, value in changes.items():
        *parents, last = path.split(".")
        place: Any = made
        for part in parents:
            place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        key: Any = int(last) if isinstance(place, list) else last.replace("|", ".")
        if value is ...:
            place.pop(key)
        elif isinstance(place, list) and key == len(place):
            place.append(value)
        else:
            place[key] = value
    return made


def defaulted(group: str, plural: str, obj: Object) -> Object:
    """Return a copy with the defaults filled in."""
    made = copy.deepcopy(obj)
    defaults.apply(resource(group, plural), made)
    return made


CONTAINER = {"name": "c", "image": "i:1"}
POD = {"metadata": {"name": "p", "namespace": "d"}, "spec": {"containers": [CONTAINER]}}
TEMPLATE = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [CONTAINER]}}
WORKLOAD = {"metadata": {"name": "w", "namespace": "d"}, "spec": {"selector": {"matchLabels": {"app": "x"}}, "template": TEMPLATE}}
JOB = {"metadata": {"name": "j", "namespace": "d"}, "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [CONTAINER]}}}}
CRON = {"metadata": {"name": "c", "namespace": "d"}, "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": JOB["spec"]}}}
SERVICE = {"metadata": {"name": "s", "namespace": "d"}, "spec": {"ports": [{"port": 80}], "selector": {"app": "x"}}}
CLAIM = {
    "metadata": {"name": "c", "namespace": "d"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}
VOLUME = {
    "metadata": {"name": "v"},
    "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}},
}
CONFIG = {"metadata": {"name": "c", "namespace": "d"}, "data": {"a": "1"}}
SECRET = {"metadata": {"name": "s", "namespace": "d"}, "data": {"a": "YQ=="}}
NODE = {"metadata": {"name": "n"}, "spec": {"podCIDR": "10.64.0.0/24"}}
ROLE = {"metadata": {"name": "r", "namespace": "d"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}
BINDING = {"metadata": {"name": "b", "namespace": "d"}, "roleRef": {"kind": "Role", "name": "r"}}
CLASS = {"metadata": {"name": "fast"}, "provisioner": "x"}
PRIORITY = {"metadata": {"name": "high"}, "value": 10}
SLICE = {"metadata": {"name": "e", "namespace": "d"}, "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}]}
SCALER = {
    "metadata": {"name": "h", "namespace": "d"},
    "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "w"}},
}
BUDGET = {"metadata": {"name": "b", "namespace": "d"}, "spec": {"minAvailable": 1}}
LEASE = {"metadata": {"name": "l", "namespace": "d"}, "spec": {"holderIdentity": "me"}}
INGRESS = {"metadata": {"name": "i", "namespace": "d"}, "spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}}
POLICY = {"metadata": {"name": "p", "namespace": "d"}, "spec": {"podSelector": {}}}
DRIVER = {"metadata": {"name": "csi.example.org"}, "spec": {}}
NAMESPACE = {"metadata": {"name": "team"}, "spec": {}}

KINDS: dict[str, tuple[str, str, Object]] = {
    "pod": ("", "pods", POD),
    "deployment": ("apps", "deployments", WORKLOAD),
    "replicaset": ("apps", "replicasets", WORKLOAD),
    "daemonset": ("apps", "daemonsets", WORKLOAD),
    "statefulset": ("apps", "statefulsets", WORKLOAD),
    "job": ("batch", "jobs", JOB),
    "cronjob": ("batch", "cronjobs", CRON),
    "service": ("", "services", SERVICE),
    "claim": ("", "persistentvolumeclaims", CLAIM),
    "volume": ("", "persistentvolumes", VOLUME),
    "config": ("", "configmaps", CONFIG),
    "secret": ("", "secrets", SECRET),
    "node": ("", "nodes", NODE),
    "role": ("rbac.authorization.k8s.io", "roles", ROLE),
    "binding": ("rbac.authorization.k8s.io", "rolebindings", BINDING),
    "class": ("storage.k8s.io", "storageclasses", CLASS),
    "priority": ("scheduling.k8s.io", "priorityclasses", PRIORITY),
    "slice": ("discovery.k8s.io", "endpointslices", SLICE),
    "namespace": ("", "namespaces", NAMESPACE),
    "autoscaler": ("autoscaling", "horizontalpodautoscalers", SCALER),
    "budget": ("policy", "poddisruptionbudgets", BUDGET),
    "lease": ("coordination.k8s.io", "leases", LEASE),
    "ingress": ("networking.k8s.io", "ingresses", INGRESS),
    "policy": ("networking.k8s.io", "networkpolicies", POLICY),
    "bound claim": ("", "persistentvolumeclaims", CLAIM | {"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}}),
    "suspended job": ("batch", "jobs", JOB | {"spec": {**JOB["spec"], "suspend": True}}),
    "driver": ("storage.k8s.io", "csidrivers", DRIVER),
}
