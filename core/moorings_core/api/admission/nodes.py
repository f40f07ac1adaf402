"""What ties pods to nodes: DefaultTolerationSeconds, TaintNodesByCondition and PodTopologyLabels."""

from __future__ import annotations

from collections.abc import Mapping

from moorings_core.ports.objects import Key, Object

from .attributes import Attributes
from .plugin import Step, World

NOT_READY = "node.kubernetes.io/not-ready"
TOPOLOGY = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")
LOST = (NOT_READY, "node.kubernetes.io/unreachable")


def tolerate_losses(world: World, a: Attributes) -> None:
    """Let a pod stay for a while on a node that is lost."""
    spec = a.new["spec"]
    tolerations, seconds = list(spec.get("tolerations") or ()), world.config.timing.eviction_toleration
    missing = [
        key for key in LOST if not any(t.get("key") in (key, "", None) and t.get("effect") in ("NoExecute", "", None) for t in tolerations)
    ]
    added = [{"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds} for key in missing]
    if added:
        spec["tolerations"] = [*tolerations, *added]


def taint_new(world: World, a: Attributes) -> None:
    """Keep pods off a node that has never said that it is ready."""
    spec = a.new.setdefault("spec", {})
    taints = spec.get("taints") or []
    if not any(t.get("key") == NOT_READY and t.get("effect") == "NoSchedule" for t in taints):
        spec["taints"] = [*taints, {"key": NOT_READY, "effect": "NoSchedule"}]


def label_binding(world: World, a: Attributes) -> None:
    """Give a pod the zone and region of the node that it is bound to."""
    target = a.new.get("target") or {}
    found = _topology(world, target.get("name", "")) if target.get("kind") == "Node" else {}
    if found:
        a.object = _labelled(a.new, found)


def label_pod(world: World, a: Attributes) -> None:
    """Give a pod that is created on a node the zone and region of that node."""
    name = a.new["spec"].get("nodeName")
    if name and (found := _topology(world, name)):
        a.object = _labelled(a.new, found)


def _topology(world: World, node: str) -> Mapping[str, str]:
    found = world.cache.collection("", "nodes").get(Key("", node))
    labels = (found.object["metadata"].get("labels") or {}) if found is not None else {}
    return {key: labels[key] for key in TOPOLOGY if key in labels}


def _labelled(obj: Object, labels: Mapping[str, str]) -> Object:
    metadata = obj.get("metadata") or {}
    return {**obj, "metadata": {**metadata, "labels": {**(metadata.get("labels") or {}), **labels}}}


TOLERATIONS = (Step(tolerate_losses, ("CREATE", "UPDATE"), ("", "pods")),)
TAINTS = (Step(taint_new, ("CREATE",), ("", "nodes")),)
LABELS = (Step(label_binding, ("CREATE",), ("", "pods"), ("binding",)), Step(label_pod, ("CREATE",), ("", "pods")))
