"""What creation and updates may touch, per kind: status against spec, generation, server-owned metadata, graceful deletion.

Source: upstream's registry strategies. Functions change the object they are given, which the caller owns.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from moorings_core.ports.objects import Object, Resource

from . import certificates, claims, gates, subresources
from .annotations import TEMPLATE_GENERATION
from .custom import definition as definitions
from .custom import served
from .defaults import pod_level
from .defaults.workloads import job_labels
from .facts import definition, definition_of, is_built_in
from .quality import qos_class

OWNED = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink")
"""Metadata that only the server writes."""

_GENERATION = {
    "": {"pods", "podtemplates", "replicationcontrollers"},
    "apps": {"daemonsets", "deployments", "replicasets", "statefulsets"},
    "batch": {"cronjobs", "jobs"},
    "apiextensions.k8s.io": {"customresourcedefinitions"},
    "autoscaling": {"horizontalpodautoscalers"},
    "policy": {"poddisruptionbudgets"},
    "networking.k8s.io": {"ingressclasses", "ingresses", "networkpolicies"},
    "discovery.k8s.io": {"endpointslices"},
    "scheduling.k8s.io": {"priorityclasses"},
    "resource.k8s.io": {"deviceclasses", "devicetaintrules", "resourceslices"},
    "flowcontrol.apiserver.k8s.io": {"flowschemas", "prioritylevelconfigurations"},
    "admissionregistration.k8s.io": {
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
        "mutatingwebhookconfigurations",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "validatingwebhookconfigurations",
    },
}
"""Built-in kinds that count the versions of what is asked for; custom resources all do."""
_RETURNED = {
    "": {
        "namespaces",
        "persistentvolumeclaims",
        "persistentvolumes",
        "pods",
        "podtemplates",
        "resourcequotas",
        "serviceaccounts",
        "services",
    },
    "storage.k8s.io": {"csidrivers", "csinodes", "storageclasses", "volumeattachments", "volumeattributesclasses"},
    "resource.k8s.io": {
        "deviceclasses",
        "devicetaintrules",
        "resourceclaims",
        "resourceclaimtemplates",
        "resourcepoolstatusrequests",
        "resourceslices",
    },
}
"""Kinds whose deletion is answered with the object; the others with a Status."""
_ORPHANING = {("", "v1", "replicationcontrollers"), ("batch", "v1", "jobs")}
_CONDITIONAL_ONLY = {
    *(("admissionregistration.k8s.io", f"{kind}webhookconfigurations") for kind in ("mutating", "validating")),
    *(
        ("admissionregistration.k8s.io", f"{kind}admission{what}")
        for kind in ("mutating", "validating")
        for what in ("policies", "policybindings")
    ),
    *(("certificates.k8s.io", kind) for kind in ("clustertrustbundles", "podcertificaterequests")),
    ("coordination.k8s.io", "leases"),
    ("node.k8s.io", "runtimeclasses"),
    ("policy", "poddisruptionbudgets"),
    ("resource.k8s.io", "resourcepoolstatusrequests"),
    *(("storage.k8s.io", kind) for kind in ("csidrivers", "csinodes", "csistoragecapacities", "volumeattachments")),
    ("storagemigration.k8s.io", "storageversionmigrations"),
    ("apiregistration.k8s.io", "apiservices"),
    (definitions.GROUP, definitions.PLURAL),
}
"""Kinds whose updates must carry a resourceVersion."""
_METADATA = ("labels", "annotations", "finalizers", "ownerReferences")
_KEEPS_METADATA = {
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ("apiregistration.k8s.io", "apiservices"),
    ("certificates.k8s.io", "podcertificaterequests"),
    ("flowcontrol.apiserver.k8s.io", "flowschemas"),
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"),
    ("networking.k8s.io", "servicecidrs"),
    ("resource.k8s.io", "devicetaintrules"),
    ("resource.k8s.io", "resourceclaims"),
    ("resource.k8s.io", "resourcepoolstatusrequests"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "volumeattachments"),
    ("storagemigration.k8s.io", "storageversionmigrations"),
}
"""Kinds whose status is written without a word on their metadata"""
_KEEPS = {("apps", "deployments"): ("labels",), ("", "pods"): ("ownerReferences",)}
"""What of the metadata stays in others; the rest is what who writes the status says"""

DEFAULT_GRACE = 30
TOPOLOGY = "deprecatedTopology"
CONTROLLER_UID = "batch.kubernetes.io/controller-uid"


def has_status(resource: Resource) -> bool:
    """Whether the kind has a status that only its subresource writes."""
    name = definition_of(resource.group, resource.version, resource.kind)
    return bool(name) and "status" in definition(name).get("p", {}) and resource.plural != "events"


def allows_unconditional_update(resource: Resource) -> bool:
    """Whether an update without a resourceVersion replaces whatever is stored."""
    return (resource.group, resource.plural) not in _CONDITIONAL_ONLY and served.of(resource) is None


def prepare_create(resource: Resource, obj: Object) -> None:
    """Reset what a client may not set on a new object."""
    gates.drop(resource, obj)
    if (rule := _ALWAYS.get((resource.group, resource.plural))) is not None:
        rule(obj, None)
    if (resource.group, resource.plural) == ("", "pods") and (obj.get("spec") or {}).get("resources"):
        pod_level.fill(obj["spec"])  # not sooner: admission may have added containers
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
        job_labels(obj)
        obj["metadata"]["labels"] = dict(obj["metadata"].get("labels") or {})
    _drop_topology(resource, obj)
    if (resource.group, resource.plural) == ("apps", "daemonsets"):
        obj["metadata"].setdefault("annotations", {}).setdefault(TEMPLATE_GENERATION, "1")


def prepare_update(resource: Resource, new: Object, old: Object, subresource: str = "") -> None:
    """Restore what this update may not change: a status write changes only the status, a main write everything else."""
    metadata, known = new["metadata"], old["metadata"]
    for field in OWNED:
        if field in known:
            metadata[field] = known[field]
        else:
            metadata.pop(field, None)
    if (resource.group, resource.plural) == ("certificates.k8s.io", "certificatesigningrequests"):
        asked = new.get("status")
        _only_status(resource, new, old)
        certificates.prepare_update(new, old, subresource, asked)
        return
    if subresource == "binding":
        return
    if subresource == "status":
        gates.drop(resource, new, old)
        _only_status(resource, new, old)
        if (keep := _WITH_STATUS.get((resource.group, resource.plural))) is not None:
            keep(new, old)
        return
    if (rule := _ALWAYS.get((resource.group, resource.plural))) is not None:
        rule(new, old)
    if subresource in ("resize", "ephemeralcontainers"):
        subresources.prepare_update(new, old, subresource)
    if has_status(resource):
        if "status" in old:
            new["status"] = old["status"]
        else:
            new.pop("status", None)
    if (resource.group, resource.plural) == ("", "namespaces") and subresource != "finalize":
        new.setdefault("spec", {})["finalizers"] = old.get("spec", {}).get("finalizers", [])
    if (resource.group, resource.plural) == ("apps", "daemonsets"):
        _count_templates(new, old)
    if (resource.group, resource.plural) == (definitions.GROUP, definitions.PLURAL):
        new["status"] = dict(new.get("status") or {})
        definitions.note_stored(new)
    if _counts(resource, new, old):
        metadata["generation"] = known.get("generation", 0) + 1
    _drop_topology(resource, new)
    gates.drop(resource, new, old)  # which upstream, too, does after it has counted


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
    return "Orphan" if (resource.group, resource.version, resource.plural) in _ORPHANING else "Background"


def returns_deleted(resource: Resource) -> bool:
    """Whether the deletion of an object is answered with the object."""
    return resource.plural in _RETURNED.get(resource.group, ())


def deleted(resource: Resource, obj: Object) -> Object:
    """Return how an object looks in the answer to its deletion: a pod was marked first, whatever its grace."""
    if (resource.group, resource.plural) != ("", "pods"):
        return obj
    if "deletionTimestamp" in obj["metadata"]:
        return {**obj, "metadata": {**obj["metadata"], "deletionGracePeriodSeconds": 0}}
    marks = {"deletionTimestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "deletionGracePeriodSeconds": 0}
    return {**obj, "metadata": {**obj["metadata"], **marks, "generation": obj["metadata"].get("generation", 0) + 1}}


def _select_own_pods(job: Object) -> None:
    """Give a Job a selector that only its own pods match: by its uid, which no other Job ever has."""
    spec, metadata = job.setdefault("spec", {}), job["metadata"]
    if spec.get("manualSelector"):
        return
    uid, name = metadata["uid"], metadata.get("name", "")
    labels = spec.setdefault("template", {}).setdefault("metadata", {}).setdefault("labels", {})
    for prefix in ("", "batch.kubernetes.io/"):
        labels.setdefault(f"{prefix}controller-uid", uid)
        labels.setdefault(f"{prefix}job-name", name)
    selector = spec.setdefault("selector", {})
    selector.setdefault("matchLabels", {}).setdefault(CONTROLLER_UID, uid)


def _has_generation(resource: Resource) -> bool:
    return resource.plural in _GENERATION.get(resource.group, ()) if is_built_in(resource) else True


def _counts(resource: Resource, new: Object, old: Object) -> bool:
    """Whether an update makes a new generation."""
    match (resource.group, resource.plural):
        case ("scheduling.k8s.io", "priorityclasses"):
            return False
        case ("storage.k8s.io", "csidrivers"):
            return bool(new.get("spec") != old.get("spec"))
        case ("discovery.k8s.io", "endpointslices") if new["metadata"].get("labels") != old["metadata"].get("labels"):
            return True
        case ("discovery.k8s.io", "endpointslices") if any(e.get(TOPOLOGY) for e in new.get("endpoints") or ()):
            return True
        case ("apps", "deployments") if (new["metadata"].get("annotations") or {}) != (old["metadata"].get("annotations") or {}):
            return True
    return _has_generation(resource) and _content(new) != _content(old)


def _drop_topology(resource: Resource, obj: Object) -> None:
    """Version 1 of an EndpointSlice shows the topology of older ones, and takes none."""
    if (resource.group, resource.plural) == ("discovery.k8s.io", "endpointslices"):
        for endpoint in obj.get("endpoints") or ():
            endpoint.pop(TOPOLOGY, None)


def _count_templates(new: Object, old: Object) -> None:
    """A DaemonSet's annotation counts its templates, as only the server may."""
    annotations = {k: v for k, v in (new["metadata"].get("annotations") or {}).items() if k != TEMPLATE_GENERATION}
    count = int((old["metadata"].get("annotations") or {}).get(TEMPLATE_GENERATION, 0))
    if new["spec"].get("template") != old["spec"].get("template"):
        count += 1
    new["metadata"]["annotations"] = annotations | {TEMPLATE_GENERATION: str(count)}


def _content(obj: Object) -> Object:
    return {k: v for k, v in obj.items() if k not in ("metadata", "status", "apiVersion", "kind")}


def kept_from_status(resource: Resource) -> tuple[str, ...]:
    """Return which fields of the metadata stay as they are when somebody writes the status."""
    place = (resource.group, resource.plural)
    return _METADATA if place in _KEEPS_METADATA or not is_built_in(resource) else _KEEPS.get(place, ())


def _only_status(resource: Resource, new: Object, old: Object) -> None:
    """Restore all but the status, and of the metadata what the kind keeps from who writes it."""
    for field in [f for f in new if f not in ("status", "metadata")]:
        if field not in old:
            del new[field]
    new.update({k: v for k, v in old.items() if k not in ("status", "metadata")})
    metadata, known = new["metadata"], old["metadata"]
    for field in kept_from_status(resource):
        if field in known:
            metadata[field] = known[field]
        else:
            metadata.pop(field, None)
    counted = (known.get("annotations") or {}).get(TEMPLATE_GENERATION)
    if counted is not None:
        metadata["annotations"] = {**(metadata.get("annotations") or {}), TEMPLATE_GENERATION: counted}


def _first_status(resource: Resource, obj: Object) -> Object:
    match (resource.group, resource.plural):
        case ("", "pods"):
            return {"phase": "Pending", "qosClass": qos_class(obj)} | _gated(obj)
        case ("", "namespaces"):
            return {"phase": "Active"}
        case ("", "persistentvolumeclaims"):
            return {"phase": "Pending"}
        case ("", "persistentvolumes"):
            return {"phase": "Pending", "lastPhaseTransitionTime": obj["metadata"].get("creationTimestamp")}
        case ("", "services"):
            return {"loadBalancer": {}}
        case ("", "nodes"):
            return dict(obj.get("status", {}))
        case ("apps", "replicasets") | ("", "replicationcontrollers"):
            return {"replicas": 0}
        case ("apps", "statefulsets"):
            return {"replicas": 0, "availableReplicas": 0}
        case ("autoscaling", "horizontalpodautoscalers"):
            return {"desiredReplicas": 0, "currentMetrics": None}
        case ("policy", "poddisruptionbudgets"):
            return dict.fromkeys(("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"), 0)
        case (definitions.GROUP, definitions.PLURAL):
            return definitions.first_status(obj)
        case ("apps", "daemonsets"):
            zero = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
            return dict.fromkeys(zero, 0)
        case ("storage.k8s.io", "volumeattachments"):
            return {"attached": False}
        case ("networking.k8s.io", "ingresses"):
            return {"loadBalancer": {}}
    return {}


def _note_phase(new: Object, old: Object) -> None:
    """Note when a volume's phase has changed, where the writer does not."""
    status, before, field = new.setdefault("status", {}), old.get("status") or {}, "lastPhaseTransitionTime"
    if status.get("phase") == before.get("phase"):
        if before.get(field) is not None:
            status.setdefault(field, before[field])
    elif status.get(field) in (None, before.get(field)):
        status[field] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _keep_quality(new: Object, old: Object) -> None:
    """Keep what a node may leave out of a pod's status, and let the two fields of its addresses say the same."""
    status, before = new.setdefault("status", {}), old.get("status") or {}
    for field in ("qosClass", "resourceClaimStatuses", "extendedResourceClaimStatus", "nodeAllocatableResourceClaimStatuses"):
        if not status.get(field) and before.get(field):
            status[field] = before[field]
    if status.get("podIP") and not status.get("podIPs"):
        status["podIPs"] = [{"ip": status["podIP"]}]
    elif status.get("podIPs") and not status.get("podIP"):
        status["podIP"] = status["podIPs"][0].get("ip", "")


def _label_as_template(new: Object, old: Object) -> None:
    job_labels(new)


def _bare_secrets(account: Object, old: Object | None) -> None:
    """Of the secrets of an account only the names count."""
    for secret in account.get("secrets") or ():
        for field in [name for name in secret if name != "name"]:
            del secret[field]


_WITH_STATUS: dict[tuple[str, str], Callable[[Object, Object], None]] = {
    ("", "persistentvolumes"): _note_phase,
    ("", "pods"): _keep_quality,
    ("batch", "jobs"): _label_as_template,
    (definitions.GROUP, definitions.PLURAL): lambda new, old: definitions.note_stored(new),
}
"""What a write of the status makes of an object, given the one that it replaces"""
_ALWAYS: dict[tuple[str, str], Callable[[Object, Object | None], None]] = {
    ("", "serviceaccounts"): _bare_secrets,
    ("", "persistentvolumeclaims"): claims.match_sources,
}
"""What both creations and updates of a kind make of an object, given the one that it replaces"""


def _gated(pod: Object) -> Object:
    """A pod with scheduling gates says so from its first moment: no scheduler looks at it."""
    if not pod["spec"].get("schedulingGates"):
        return {}
    text = "Scheduling is blocked due to non-empty scheduling gates"
    condition = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": text}
    return {"conditions": [{**condition, "lastTransitionTime": pod["metadata"].get("creationTimestamp")}]}
