"""Whether one node can ever take pods of a class, by what its Node object says; with upstream's words for why not.

Source: kube-scheduler's NodeUnschedulable, NodeName, TaintToleration and NodeAffinity plugins, in that order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from moorings_core.ports.objects import Object

from .pod_class import PodClass

UNSCHEDULABLE = "node(s) were unschedulable"
OTHER_NAME = "node(s) didn't match the requested node name"
UNTOLERATED = "node(s) had untolerated taint(s)"
NOT_AFFINE = "node(s) didn't match Pod's node affinity/selector"
CORDON = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
FATAL_EFFECTS = ("NoSchedule", "NoExecute")


def reason_against(pods: PodClass, node: Object) -> str:
    """Return why the node is no place for the class, or "" when nothing in its Node object stands against it."""
    spec = node.get("spec", {})
    if spec.get("unschedulable") and not tolerated(CORDON, pods.tolerations):
        return UNSCHEDULABLE
    if pods.node_name and pods.node_name != node["metadata"]["name"]:
        return OTHER_NAME
    if any(t["effect"] in FATAL_EFFECTS and not tolerated(t, pods.tolerations) for t in spec.get("taints", ())):
        return UNTOLERATED
    return "" if matches_affinity(pods, node) else NOT_AFFINE


def tolerated(taint: Mapping[str, str], tolerations: Sequence[Object]) -> bool:
    """Whether any toleration covers the taint."""
    return any(_covers(toleration, taint) for toleration in tolerations)


def matches_affinity(pods: PodClass, node: Object) -> bool:
    """Whether the node has the labels that nodeSelector and the required node affinity ask for."""
    labels = node["metadata"].get("labels", {})
    if any(labels.get(key) != value for key, value in pods.node_selector.items()):
        return False
    required = pods.affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or matches_node_selector(required, node)


def matches_node_selector(selector: Object, node: Object) -> bool:
    """Whether any term of a core/v1 NodeSelector matches; a term without any expression matches nothing."""
    return any(matches_term(term, node) for term in selector.get("nodeSelectorTerms", ()))


def matches_term(term: Object, node: Object) -> bool:
    """Whether all expressions of a node selector term match."""
    expressions, fields = term.get("matchExpressions", ()), term.get("matchFields", ())
    if not expressions and not fields:
        return False
    labels = node["metadata"].get("labels", {})
    names = {"metadata.name": node["metadata"]["name"]}
    return all(_holds(e, labels) for e in expressions) and all(_holds(f, names) for f in fields)


def preferred_weight(pods: PodClass, node: Object) -> int:
    """Return the summed weights of the preferred node affinity terms that match."""
    terms = pods.affinity.get("preferredDuringSchedulingIgnoredDuringExecution", ())
    return sum(t["weight"] for t in terms if matches_term(t["preference"], node))


def soft_taints(pods: PodClass, node: Object) -> int:
    """Return how many PreferNoSchedule taints of the node the class does not tolerate."""
    taints = node.get("spec", {}).get("taints", ())
    return sum(t["effect"] == "PreferNoSchedule" and not tolerated(t, pods.tolerations) for t in taints)


def _covers(toleration: Mapping[str, str], taint: Mapping[str, str]) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    key = toleration.get("key", "")
    if key and key != taint["key"]:
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(key) and toleration.get("value", "") == taint.get("value", "")


def _holds(expression: Object, labels: Mapping[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values", ())
    match expression["operator"]:
        case "In":
            return value is not None and value in values
        case "NotIn":
            return value is None or value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt":
            return _number(value) > _number(values[0]) if value is not None else False
        case "Lt":
            return _number(value) < _number(values[0]) if value is not None else False
    return False


def _number(text: str) -> float:
    try:
        return int(text)
    except ValueError:
        return float("nan")
