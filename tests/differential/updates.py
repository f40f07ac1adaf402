"""One field at a time changed in an object of every stable kind that is stored: what may not change, and what a write does not reach.

Each kind's object is created; then it is replaced, tried only, with one field wrong, with one field otherwise (right by its form), and
with the fields of the other half: the status in a write of the object, the rest in a write of the status.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .bodies import bodies
from .cases import Case, path
from .mutated import LEFT, NAMES, WRONG, Path_, drop, example, held, lacking, named, put
from .peers import Request

CONDITIONAL = {
    "CSIDriver",
    "CSINode",
    "CSIStorageCapacity",
    "ClusterTrustBundle",
    "CustomResourceDefinition",
    "Lease",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "MutatingWebhookConfiguration",
    "PodDisruptionBudget",
    "PriorityClass",
    "RuntimeClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
    "VolumeAttachment",
}
"""Kinds whose updates must say which version they are of"""
LEFT_OUT = {"APIService", "ControllerRevision", "Event", "FlowSchema"}
"""An APIService makes a group of its own, in the way of others; upstream's server writes the status of a FlowSchema meanwhile; the others
are written once"""
WITH_STATUS = {
    "APIService",
    "CronJob",
    "CustomResourceDefinition",
    "DaemonSet",
    "Deployment",
    "FlowSchema",
    "HorizontalPodAutoscaler",
    "Ingress",
    "Job",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Pod",
    "PodDisruptionBudget",
    "PriorityLevelConfiguration",
    "ReplicaSet",
    "ReplicationController",
    "ResourceClaim",
    "ResourceQuota",
    "Service",
    "ServiceCIDR",
    "StatefulSet",
    "ValidatingAdmissionPolicy",
    "VolumeAttachment",
}
DRY = "?dryRun=All"


def updates() -> list[Case]:
    """Return every case: of each kind, its creation, one for each changed field, and its end."""
    account = Request("POST", path("v1", "serviceaccounts"), {"metadata": {"name": "default"}})
    made: list[Case] = [("mutated updates: the account of pods", [account])]
    for (api, plural, kind, namespaced), body in bodies().items():
        if kind not in LEFT_OUT and not (kind == "HorizontalPodAutoscaler" and api.endswith("/v1")):
            made += _of(api, plural, kind, namespaced, body)
    return made


def _of(api: str, plural: str, kind: str, namespaced: bool, body: dict[str, Any]) -> Iterator[Case]:
    told, namespace = f"mutated updates: {kind}", "default" if namespaced else ""
    name = NAMES.get(kind, "mutated")
    whole = {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **body}
    where = path(api, plural, name, namespace)
    settled = [Request("GET", where, until="InitialNamesAccepted")] if kind == "CustomResourceDefinition" else []
    yield f"{told}: created", [Request("POST", path(api, plural, "", namespace), whole), *settled]
    yield f"{told}: without a version", [Request("PUT", where + DRY, whole)]
    for what, changed in _changed(api, kind, whole):
        yield f"{told}: {what}", _put(where, kind, changed)
    if kind in WITH_STATUS:
        for what, changed in _of_status(api, kind, whole):
            yield f"{told}: status: {what}", _put(f"{where}/status", kind, changed)
    yield f"{told}: deleted", [Request("DELETE", where)]


def _put(where: str, kind: str, body: dict[str, Any]) -> list[Request]:
    if kind not in CONDITIONAL:
        return [Request("PUT", where + DRY, body)]
    body = {**body, "metadata": {**body["metadata"], "resourceVersion": "{resourceVersion}"}}
    return [Request("GET", where.removesuffix("/status")), Request("PUT", where + DRY, body)]


def _changed(api: str, kind: str, whole: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    full = example(api, kind)
    yield "as it was", whole
    yield "with a label", {**whole, "metadata": {**whole["metadata"], "labels": {"a": "b"}}}
    yield "with a finalizer", {**whole, "metadata": {**whole["metadata"], "finalizers": ["example.org/a"]}}
    yield "with a generation", {**whole, "metadata": {**whole["metadata"], "generation": 7}}
    if "status" in full:
        yield "with a status", {**whole, "status": full["status"]}
    for steps, value in lacking(whole, full):
        yield f"with {named(steps)}", put(whole, steps, value)
    for steps, value in held(whole):
        if steps[0] not in LEFT:
            yield from _field(whole, steps, value)


def _field(whole: dict[str, Any], steps: Path_, value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    yield f"without {named(steps)}", drop(whole, steps)
    for wrong in (*WRONG[type(value)][:1], *_otherwise(value)):
        if wrong != value:
            yield f"{named(steps)} {wrong!r}", put(whole, steps, wrong)


def _otherwise(value: Any) -> Iterator[Any]:
    """Yield another value of the same form."""
    match value:
        case bool():
            yield not value
        case int():
            yield value + 1
        case str() if value.isalpha() or value[-1:].isalpha():
            yield f"{value}x"


def _of_status(api: str, kind: str, whole: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    full = example(api, kind)
    yield "none", whole
    yield "with a label", {**whole, "metadata": {**whole["metadata"], "labels": {"a": "b"}}}
    for step, value in (full.get("spec") or {}).items():
        yield f"with spec.{step}", put({"spec": {}, **whole}, ("spec", step), value)
        break
    for step, value in (full.get("status") or {}).items():
        yield f"with {step}", {**whole, "status": {step: value}}
