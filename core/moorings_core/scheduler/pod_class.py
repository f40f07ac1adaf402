"""The class of a pod: everything that any filter or score reads of it. Pods of one template share a class and its cached row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from moorings_core.ports.objects import Key, Object

from .footprint import Footprint, footprint
from .spread import SpreadConstraint, constraints_of


@dataclass(frozen=True, slots=True, eq=False)
class PodClass:
    """What filters and scores see; `name` is equal for equal classes."""

    name: bytes
    footprint: Footprint
    node_name: str
    node_selector: Mapping[str, str]
    affinity: Object
    tolerations: Sequence[Object]
    spread: Sequence[SpreadConstraint]
    labels: Mapping[str, str]
    priority: int = 0
    never_preempts: bool = False


def classify(pod: Object, key: Key) -> PodClass:
    """Return the class of a pod."""
    spec, labels = pod["spec"], pod["metadata"].get("labels", {})
    spread = constraints_of(pod, key.namespace)
    taken = footprint(pod)
    affinity = spec.get("affinity", {}).get("nodeAffinity", {})
    selector, tolerations = spec.get("nodeSelector", {}), spec.get("tolerations", ())
    priority, never = spec.get("priority") or 0, spec.get("preemptionPolicy") == "Never"
    parts = [
        sorted(taken.requests.items()),
        taken.scored,
        sorted(taken.ports),
        spec.get("nodeName", ""),
        selector,
        affinity,
        list(tolerations),
        [constraint.name for constraint in spread],
        labels if spread else {},
        priority,
        never,
    ]
    name = orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)
    return PodClass(name, taken, spec.get("nodeName", ""), selector, affinity, tolerations, spread, labels, priority, never)
