"""Pod topology spread: constraints of a pod, the nodes that break a hard one, and the score of the soft ones.

Source: kube-scheduler's PodTopologySpread plugin and KEP-895, -3022 (minDomains), -3094 (policies), -3243 (matchLabelKeys).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import orjson

from moorings_core.ports.objects import Object
from moorings_core.registry.selectors import LabelSelector, from_label_selector

if TYPE_CHECKING:
    from .columns import Booleans, Columns, Integers, PlacedPod

HOSTNAME, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
NOT_SPREAD = "node(s) didn't match pod topology spread constraints"
NO_LABEL = f"{NOT_SPREAD} (missing required label)"
SYSTEM_DEFAULTS = ((HOSTNAME, 3), (ZONE, 5))


@dataclass(frozen=True, slots=True, eq=False)
class SpreadConstraint:
    """One constraint with its selector made ready; `hard` is whenUnsatisfiable: DoNotSchedule."""

    name: str
    topology_key: str
    max_skew: int
    hard: bool
    min_domains: int
    honor_affinity: bool
    honor_taints: bool
    require_labels: bool
    namespace: str
    selector: LabelSelector
    selector_text: str
    matches_itself: bool


@dataclass(frozen=True, slots=True)
class Eligibility:
    """Which present nodes count for domains, by the two policies a constraint may honour."""

    affine: Booleans
    tolerated: Booleans


def constraints_of(pod: Object, namespace: str) -> Sequence[SpreadConstraint]:
    """Return the pod's constraints, or the system's soft defaults for a pod that a controller made."""
    labels = pod["metadata"].get("labels", {})
    given = pod["spec"].get("topologySpreadConstraints")
    if given:
        return [_constraint(raw, labels, namespace) for raw in given]
    if not labels or not any(owner.get("controller") for owner in pod["metadata"].get("ownerReferences", ())):
        return ()
    selector = {"matchLabels": dict(labels)}
    return [
        _constraint(
            {"topologyKey": key, "maxSkew": skew, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": selector},
            labels,
            namespace,
            require_labels=False,
        )
        for key, skew in SYSTEM_DEFAULTS
    ]


def violations(columns: Columns, constraints: Sequence[SpreadConstraint], eligible: Eligibility) -> list[tuple[str, Booleans]]:
    """Return, per hard constraint, (reason, the nodes it speaks against)."""
    found: list[tuple[str, Booleans]] = []
    for constraint in constraints:
        if not constraint.hard:
            continue
        domains = columns.domains(constraint.topology_key)
        counts, known, _ = _domain_counts(columns, constraint, domains, eligible)
        fewest = int(counts[known].min()) if known.any() else 0
        if constraint.min_domains > int(known.sum()):
            fewest = 0
        here = np.where(domains >= 0, counts[np.maximum(domains, 0)] if len(counts) else 0, 0)
        found.append((NO_LABEL, domains < 0))
        found.append((NOT_SPREAD, (domains >= 0) & (here + constraint.matches_itself - fewest > constraint.max_skew)))
    return found


def soft_score(columns: Columns, constraints: Sequence[SpreadConstraint], eligible: Eligibility, feasible: Booleans) -> Integers | None:
    """Return 0..100 per node from the soft constraints, or None when there is none to score."""
    raw = np.zeros(columns.capacity)
    scored = feasible.copy()
    used = False
    for constraint in constraints:
        domains = columns.domains(constraint.topology_key)
        if constraint.hard or (not constraint.require_labels and not (domains[feasible] >= 0).any()):
            continue
        used = True
        if constraint.require_labels:
            scored &= domains >= 0
        counts, _, _ = _domain_counts(columns, constraint, domains, eligible)
        sizes = len(np.unique(domains[feasible & (domains >= 0)]))
        here = np.where(domains >= 0, counts[np.maximum(domains, 0)] if len(counts) else 0, 0)
        raw += here * math.log(sizes + 2) + (constraint.max_skew - 1)
    if not used or not scored.any():
        return None
    raw = np.round(raw)
    low, high = raw[scored].min(), raw[scored].max()
    result = np.full(columns.capacity, 100.0) if high == 0 else 100 * (high + low - raw) / high
    return np.where(scored, result, 0).astype(np.int64)


class WithoutPods:
    """A hard constraint at one node after the other, as it would be if some of the node's pods had left."""

    def __init__(self, columns: Columns, constraint: SpreadConstraint, eligible: Eligibility) -> None:
        self._constraint, self._domains = constraint, columns.domains(constraint.topology_key)
        self._counts, self._known, self._counted = _domain_counts(columns, constraint, self._domains, eligible)
        self._least = sorted((int(self._counts[d]), int(d)) for d in np.flatnonzero(self._known))[:2]
        """The two domains with the fewest pods: one of them is not the node's own"""

    def reason(self, position: int, leaving: Collection[PlacedPod]) -> str:
        """Return why the node at `position` breaks the constraint still, or ""; leaving are pods of that node."""
        domain, constraint = int(self._domains[position]), self._constraint
        if domain < 0:
            return NO_LABEL
        here = int(self._counts[domain]) - (self._matching(leaving) if self._counted[position] else 0)
        counts = [count for count, other in self._least if other != domain] + ([here] if self._known[domain] else [])
        fewest = min(counts, default=0) if constraint.min_domains <= int(self._known.sum()) else 0
        return NOT_SPREAD if here + constraint.matches_itself - fewest > constraint.max_skew else ""

    def _matching(self, pods: Collection[PlacedPod]) -> int:
        wanted = self._constraint
        living = (pod for pod in pods if not pod.terminating and pod.key.namespace == wanted.namespace)
        return sum(bool(wanted.selector.matches(pod.labels)) for pod in living)


def _domain_counts(
    columns: Columns, constraint: SpreadConstraint, domains: Integers, eligible: Eligibility
) -> tuple[Integers, Booleans, Booleans]:
    """Return matching pods per domain number, which domains have an eligible node, and which nodes are eligible."""
    counted = columns.present & (domains >= 0)
    if constraint.honor_affinity:
        counted &= eligible.affine
    if constraint.honor_taints:
        counted &= eligible.tolerated
    pods = columns.matching_pods(constraint.namespace, constraint.selector_text, constraint.selector.matches)
    size = int(domains.max(initial=-1)) + 1
    counts = np.bincount(domains[counted], weights=pods[counted], minlength=size).astype(np.int64)
    known = np.bincount(domains[counted], minlength=size) > 0
    return counts, known, counted


def _constraint(raw: Object, labels: Mapping[str, str], namespace: str, require_labels: bool = True) -> SpreadConstraint:
    selector = raw.get("labelSelector")
    keys = [key for key in raw.get("matchLabelKeys", ()) if key in labels]
    if keys:
        selector = dict(selector or {})
        extra = [{"key": key, "operator": "In", "values": [labels[key]]} for key in keys]
        selector["matchExpressions"] = [*selector.get("matchExpressions", ()), *extra]
    matcher = from_label_selector(selector)
    text = orjson.dumps(selector, option=orjson.OPT_SORT_KEYS).decode()
    return SpreadConstraint(
        name=orjson.dumps([raw, namespace, text, require_labels], option=orjson.OPT_SORT_KEYS).decode(),
        topology_key=raw["topologyKey"],
        max_skew=raw["maxSkew"],
        hard=raw.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule",
        min_domains=raw.get("minDomains", 1),
        honor_affinity=raw.get("nodeAffinityPolicy", "Honor") == "Honor",
        honor_taints=raw.get("nodeTaintsPolicy", "Ignore") == "Honor",
        require_labels=require_labels,
        namespace=namespace,
        selector=matcher,
        selector_text=text,
        matches_itself=bool(matcher.matches(labels)),
    )
