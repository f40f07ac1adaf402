"""Defaults of secrets, namespaces, roles and priorities."""

from __future__ import annotations

import base64

from moorings_core.ports.objects import Object

RBAC = "rbac.authorization.k8s.io"


def _secret(obj: Object) -> None:
    """Secrets come with clear text too, which is stored encoded as the rest and never given back."""
    obj.setdefault("type", "Opaque")
    clear = obj.pop("stringData", None)
    if clear:
        encoded = {key: base64.b64encode(text.encode()).decode() for key, text in clear.items()}
        obj["data"] = {**(obj.get("data") or {}), **encoded}


def _namespace(obj: Object) -> None:
    name = obj["metadata"].get("name")
    if name:
        obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name
    obj.setdefault("status", {}).setdefault("phase", "Active")


def _binding(obj: Object) -> None:
    reference = obj.setdefault("roleRef", {})
    reference["apiGroup"] = reference.get("apiGroup") or RBAC
    for subject in obj.get("subjects") or ():
        if subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = subject.get("apiGroup") or RBAC


def _account(obj: Object) -> None:
    """Of the secrets of an account only the names count."""
    if obj.get("secrets"):
        obj["secrets"] = [{"name": s["name"]} if s.get("name") else {} for s in obj["secrets"]]


def _priority_class(obj: Object) -> None:
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")


def _limit_range(obj: Object) -> None:
    for item in obj.get("spec", {}).get("limits") or ():
        if item.get("type") != "Container":
            continue
        for name, value in (item.get("max") or {}).items():
            item.setdefault("default", {}).setdefault(name, value)
        for source in ("default", "min"):
            for name, value in (item.get(source) or {}).items():
                item.setdefault("defaultRequest", {}).setdefault(name, value)


_NODE_FACTS = (
    "machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion", "kubeletVersion", "kubeProxyVersion",
    "operatingSystem", "architecture",
)  # fmt: skip


def _node(obj: Object) -> None:
    """What a node has not said yet is empty, not absent: typed clients print it."""
    spec = obj.get("spec") or {}
    if spec.get("podCIDR") and (spec.get("podCIDRs") or [""])[0] != spec["podCIDR"]:  # the older field counts where they differ
        spec["podCIDRs"] = [spec["podCIDR"]]
    if spec.get("podCIDRs"):
        spec["podCIDR"] = spec["podCIDRs"][0]
    status = obj.setdefault("status", {})
    if status.get("capacity") and not status.get("allocatable"):
        status["allocatable"] = dict(status["capacity"])
    status.setdefault("daemonEndpoints", {}).setdefault("kubeletEndpoint", {"Port": 0})
    facts = status.setdefault("nodeInfo", {})
    for name in _NODE_FACTS:
        facts.setdefault(name, "")


RULES = {
    ("", "nodes"): _node,
    ("", "secrets"): _secret,
    ("", "serviceaccounts"): _account,
    ("", "namespaces"): _namespace,
    ("", "limitranges"): _limit_range,
    (RBAC, "rolebindings"): _binding,
    (RBAC, "clusterrolebindings"): _binding,
    ("scheduling.k8s.io", "priorityclasses"): _priority_class,
}
