"""One decision: the feasible node with the best score, or why there is none. Pure; ties are broken by the generator given.

All nodes are looked at, also on large clusters. Scores and weights as kube-scheduler's default profile: TaintToleration 3,
NodeAffinity 2, PodTopologySpread 2, NodeResourcesFit (least allocated) 1, NodeResourcesBalancedAllocation 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from types import MappingProxyType

import numpy as np

from .columns import Booleans, Columns, Integers
from .footprint import CPU, MEMORY, PODS, HostPort
from .pod_class import PodClass
from .rows import Row
from .spread import Eligibility, soft_score, violations

PORTS_TAKEN = "node(s) didn't have free ports for the requested pod ports"
NOTHING: Mapping[int, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Decision:
    """The node chosen, or "" with the reasons counted over nodes."""

    node: str
    nodes: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def message(self) -> str:
        """Return the text of the FailedScheduling event, in upstream's form."""
        listed = ", ".join(sorted(f"{count} {reason}" for reason, count in self.reasons.items()))
        return f"0/{self.nodes} nodes are available:" + (f" {listed}." if listed else "")


def decide(columns: Columns, row: Row, tie: Random, against: Mapping[int, str] = NOTHING) -> Decision:
    """Choose a node for one pod of the row's class; `against` holds further reasons by node position (volumes)."""
    pods = row.pods
    feasible = columns.present & row.fits
    reasons: Counter[str] = Counter(row.reasons[p] for p in np.flatnonzero(columns.present & ~row.fits))
    feasible &= _free_ports(columns, pods, feasible, reasons)
    feasible &= _enough(columns, pods, feasible, reasons)
    for position, reason in against.items():
        if feasible[position]:
            feasible[position] = False
            reasons[reason] += 1
    eligible = Eligibility(row.affine, row.tolerated)
    for reason, broken in violations(columns, pods.spread, eligible):
        reasons[reason] += int((feasible & broken).sum())
        feasible &= ~broken
    if not feasible.any():
        return Decision("", len(columns.index), +reasons)
    best = _best(scores(columns, row, eligible, feasible), feasible, tie)
    node = columns.nodes[best]
    return Decision(node["metadata"]["name"] if node else "")


def scores(columns: Columns, row: Row, eligible: Eligibility, feasible: Booleans) -> Integers:
    """Return the weighted score of every node; only feasible ones mean something."""
    total = _least_allocated(columns, row.pods) + _balanced(columns, row.pods)
    total += 3 * _normalised(row.soft_taints, feasible, reverse=True)
    if row.preferred.any():
        total += 2 * _normalised(row.preferred, feasible, reverse=False)
    spread = soft_score(columns, row.pods.spread, eligible, feasible)
    if spread is not None:
        total += 2 * spread
    return total


def conflicts(wanted: HostPort, taken: HostPort) -> bool:
    """Whether two host ports collide: same protocol and port, and the same address or either of them any address."""
    same_address = wanted[0] == taken[0] or "0.0.0.0" in (wanted[0], taken[0])
    return same_address and wanted[1:] == taken[1:]


def _enough(columns: Columns, pods: PodClass, feasible: Booleans, reasons: Counter[str]) -> Booleans:
    fits = feasible.copy()
    for name, amount in pods.footprint.requests.items():
        if amount == 0:
            continue
        row = columns.resource(name)
        short = feasible & (columns.requested[row] + amount > columns.allocatable[row])
        reasons["Too many pods" if name == PODS else f"Insufficient {name}"] += int(short.sum())
        fits &= ~short
    return fits


def _free_ports(columns: Columns, pods: PodClass, feasible: Booleans, reasons: Counter[str]) -> Booleans:
    if not pods.footprint.ports:
        return feasible
    fits = feasible.copy()
    for position in np.flatnonzero(feasible):
        taken = list(columns.ports_in_use(int(position)))
        if any(conflicts(wanted, other) for wanted in pods.footprint.ports for other in taken):
            fits[position] = False
            reasons[PORTS_TAKEN] += 1
    return fits


def _least_allocated(columns: Columns, pods: PodClass) -> Integers:
    total = np.zeros(columns.capacity, np.int64)
    for i, name in enumerate((CPU, MEMORY)):
        capacity = columns.allocatable[columns.resource(name)]
        free = np.maximum(capacity - columns.scored[i] - pods.footprint.scored[i], 0)
        total += free * 100 // np.maximum(capacity, 1)
    return total // 2


def _balanced(columns: Columns, pods: PodClass) -> Integers:
    fractions = []
    for name in (CPU, MEMORY):
        row = columns.resource(name)
        capacity = np.maximum(columns.allocatable[row], 1)
        fractions.append(np.minimum((columns.requested[row] + pods.footprint.requests.get(name, 0)) / capacity, 1))
    score: Integers = ((1 - np.abs(fractions[0] - fractions[1]) / 2) * 100).astype(np.int64)
    return score


def _normalised(raw: Integers, feasible: Booleans, *, reverse: bool) -> Integers:
    highest = int(raw[feasible].max(initial=0))
    if highest == 0:
        return np.full(len(raw), 100 if reverse else 0, np.int64)
    scaled: Integers = raw * 100 // highest
    return 100 - scaled if reverse else scaled


def _best(total: Integers, feasible: Booleans, tie: Random) -> int:
    among = np.where(feasible, total, -1)
    best = np.flatnonzero(among == among.max())
    return int(best[tie.randrange(len(best))]) if len(best) > 1 else int(best[0])
