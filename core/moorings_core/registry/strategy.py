"""What creation and updates may touch, per kind: status against spec, generation, server-owned metadata, graceful deletion.

Source: upstream's registry strategies. Functions change the object they are given, which the caller owns.
"""

from __future__ import annotations

from moorings_core.ports.objects import Object, Resource

from .facts import definition, definition_of

OWNED = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink")
"""Metadata that only the server writes."""

_NO_GENERATION = {
    ("", "configmaps"),
    ("", "endpoints"),
    ("", "events"),
    ("", "limitranges"),
    ("", "namespaces"),
    ("", "nodes"),
    ("", "persistentvolumeclaims"),
    ("", "persistentvolumes"),
    ("", "podtemplates"),
    ("", "resourcequotas"),
    ("", "secrets"),
    ("", "serviceaccounts"),
    ("", "services"),
    ("autoscaling", "horizontalpodautoscalers"),
    ("certificates.k8s.io", "certificatesigningrequests"),
    ("coordination.k8s.io", "leases"),
    ("events.k8s.io", "events"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "volumeattachments"),
}
_CONDITIONAL_ONLY = {
    ("scheduling.k8s.io", "priorityclasses"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
    ("coordination.k8s.io", "leases"),
}
"""Kinds whose updates must carry a resourceVersion."""

DEFAULT_GRACE = 30


def has_status(resource: Resource) -> bool:
    """Whether the kind has a status that only its subresource writes."""
    name = definition_of(resource.group, resource.version, resource.kind)
    return bool(name) and "status" in definition(name).get("p", {}) and resource.plural != "events"


def allows_unconditional_update(resource: Resource) -> bool:
    """Whether an update without a resourceVersion replaces whatever is stored."""
    return (resource.group, resource.plural) not in _CONDITIONAL_ONLY


def prepare_create(resource: Resource, obj: Object) -> None:
    """Reset what a client may not set on a new object."""
    if has_status(resource):
        obj["status"] = _first_status(resource, obj)
        if not obj["status"]:
            obj["status"] = {}
    if _has_generation(resource):
        obj["metadata"]["generation"] = 1
    if (resource.group, resource.plural) == ("", "namespaces"):
        spec = obj.setdefault("spec", {})
        spec["finalizers"] = sorted({*(spec.get("finalizers") or ()), "kubernetes"})
    if (resource.group, resource.plural) == ("batch", "jobs"):
        _select_own_pods(obj)


def prepare_update(resource: Resource, new: Object, old: Object, subresource: str = "") -> None:
    """Restore what this update may not change: a status write changes only the status, a main write everything else."""
    metadata, known = new["metadata"], old["metadata"]
    for field in OWNED:
        if field in known:
            metadata[field] = known[field]
        else:
            metadata.pop(field, None)
    if subresource == "status":
        _only_status(new, old)
        return
    if has_status(resource):
        if "status" in old:
            new["status"] = old["status"]
        else:
            new.pop("status", None)
    if (resource.group, resource.plural) == ("", "namespaces") and subresource != "finalize":
        new.setdefault("spec", {})["finalizers"] = old.get("spec", {}).get("finalizers", [])
    if _has_generation(resource) and _content(new) != _content(old):
        metadata["generation"] = known.get("generation", 0) + 1


def graceful_seconds(resource: Resource, obj: Object, asked: int | None) -> int:
    """Return how long a deletion leaves the object: for pods that may run their grace period, for everything else 0."""
    if (resource.group, resource.plural) != ("", "pods"):
        return 0
    grace: int = asked if asked is not None else obj["spec"].get("terminationGracePeriodSeconds", DEFAULT_GRACE)
    finished = obj.get("status", {}).get("phase") in ("Succeeded", "Failed")
    if not obj["spec"].get("nodeName") or finished:
        return 0
    return max(grace, 0)


def default_propagation(resource: Resource) -> str:
    """Return what happens to dependents where the client does not say."""
    return "Orphan" if (resource.group, resource.plural) == ("", "replicationcontrollers") else "Background"


def _select_own_pods(job: Object) -> None:
    """Give a Job a selector that only its own pods match: by its uid, which no other Job ever has."""
    spec, metadata = job.setdefault("spec", {}), job["metadata"]
    if spec.get("manualSelector"):
        return
    uid, name = metadata["uid"], metadata["name"]
    labels = spec.setdefault("template", {}).setdefault("metadata", {}).setdefault("labels", {})
    for prefix in ("", "batch.kubernetes.io/"):
        labels[f"{prefix}controller-uid"], labels[f"{prefix}job-name"] = uid, name
    spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}


def _has_generation(resource: Resource) -> bool:
    return (resource.group, resource.plural) not in _NO_GENERATION


def _content(obj: Object) -> Object:
    return {k: v for k, v in obj.items() if k not in ("metadata", "status", "apiVersion", "kind")}


def _only_status(new: Object, old: Object) -> None:
    for field in [f for f in new if f not in ("status", "metadata")]:
        if field not in old:
            del new[field]
    new.update({k: v for k, v in old.items() if k not in ("status", "metadata")})
    version, managed = new["metadata"].get("resourceVersion"), new["metadata"].get("managedFields")
    kept = {k: v for k, v in old["metadata"].items() if k not in ("resourceVersion", "managedFields")}
    if "annotations" in new["metadata"] or "labels" in new["metadata"]:
        kept |= {k: new["metadata"][k] for k in ("labels", "annotations") if k in new["metadata"]}
    new["metadata"] = kept | ({"resourceVersion": version} if version else {}) | ({"managedFields": managed} if managed else {})


def _first_status(resource: Resource, obj: Object) -> Object:
    match (resource.group, resource.plural):
        case ("", "pods"):
            return {"phase": "Pending", "qosClass": qos_class(obj)} | _gated(obj)
        case ("", "namespaces"):
            return {"phase": "Active"}
        case ("", "persistentvolumeclaims" | "persistentvolumes"):
            return {"phase": "Pending"}
        case ("", "services"):
            return {"loadBalancer": {}}
        case ("", "nodes"):
            return dict(obj.get("status", {}))
        case ("apps", "replicasets") | ("", "replicationcontrollers"):
            return {"replicas": 0}
        case ("apps", "statefulsets"):
            return {"replicas": 0, "availableReplicas": 0}
        case ("apps", "daemonsets"):
            zero = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
            return dict.fromkeys(zero, 0)
        case ("networking.k8s.io", "ingresses"):
            return {"loadBalancer": {}}
    return {}


def _gated(pod: Object) -> Object:
    """A pod with scheduling gates says so from its first moment: no scheduler looks at it."""
    if not pod["spec"].get("schedulingGates"):
        return {}
    text = "Scheduling is blocked due to non-empty scheduling gates"
    condition = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": text}
    return {"conditions": [{**condition, "lastTransitionTime": pod["metadata"].get("creationTimestamp")}]}


def qos_class(pod: Object) -> str:
    """Return Guaranteed, Burstable or BestEffort from the requests and limits of cpu and memory."""
    spec = pod["spec"]
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    requests = [(c.get("resources") or {}).get("requests") or {} for c in containers]
    limits = [(c.get("resources") or {}).get("limits") or {} for c in containers]
    both = ("cpu", "memory")
    if not any(name in amounts for amounts in [*requests, *limits] for name in both):
        return "BestEffort"
    same = all(name in li and re.get(name, li[name]) == li[name] for re, li in zip(requests, limits, strict=True) for name in both)
    return "Guaranteed" if same else "Burstable"
