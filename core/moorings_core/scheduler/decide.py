"""One decision: the feasible node with the best score, or why there is none. Pure; ties are broken by the generator given.

All nodes are looked at, also on large clusters. Scores and weights as kube-scheduler's default profile: TaintToleration 3,
NodeAffinity 2, PodTopologySpread 2, NodeResourcesFit (least allocated) 1, NodeResourcesBalancedAllocation 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from types import MappingProxyType

import numpy as np

from .columns import Booleans, Columns, Integers
from .footprint import CPU, MEMORY, PODS, HostPort
from .pod_class import PodClass
from .rows import Row
from .spread import NOT_SPREAD, Eligibility, soft_score, violations
from .volume_limits import TOO_MANY
from .volumes import IN_USE

PORTS_TAKEN = "node(s) didn't have free ports for the requested pod ports"
NO_VICTIMS, NO_HELP = "No preemption victims found for incoming pod", "Preemption is not helpful for scheduling"
OF_PODS = frozenset({IN_USE, TOO_MANY})
"""Reasons of volumes that go when other pods leave."""
NOTHING: Mapping[int, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """The node chosen, or "" with the reasons counted over nodes.

    resolvable are the nodes, by position, that could take the pod if other pods left them. lower: there are pods that might have to,
    so what preemption would bring is not known. never is preemptionPolicy: Never.
    """

    node: str
    nodes: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    resolvable: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    lower: bool = False
    never: bool = False
    detail: str = ""

    def message(self, preemption: str = "") -> str:
        """Return the text of the FailedScheduling event, in upstream's form (FitError.Error, DefaultPreemption.PostFilter).

        preemption is what came of the search for pods that have to leave, where there was one.
        """
        if not self.nodes:
            return "no nodes available to schedule pods"
        said = preemption or self._no_preemption()
        return " ".join(filter(None, (available(self.nodes, self.reasons, self.detail), said and f"preemption: {said}")))

    def _no_preemption(self) -> str:
        if self.never:
            return "not eligible due to preemptionPolicy=Never."
        if self.lower:
            return ""
        hopeful = len(self.resolvable)
        return available(self.nodes, +Counter({NO_VICTIMS: hopeful, NO_HELP: self.nodes - hopeful}))


class Sieve:
    """The nodes still feasible while filters run, with why the others are not; of each node only the first filter's word counts.

    Reasons are counted when asked for: most pods fit, and then nobody asks.
    """

    def __init__(self, columns: Columns, row: Row) -> None:
        self._present, self._row = columns.present, row
        self._dropped: list[tuple[str, Booleans]] = []
        self.feasible: Booleans = columns.present & row.fits
        self.resolvable: Booleans = np.zeros(columns.capacity, bool)

    def drop(self, against: Booleans, reason: str, *, resolvable: bool | Booleans) -> None:
        """Take nodes out; resolvable says of which the reason would go if other pods left."""
        hit = self.feasible & against
        self.note(hit, reason)
        self.resolvable |= hit & resolvable
        self.feasible = self.feasible & ~hit

    def note(self, hit: Booleans, reason: str) -> None:
        """Remember why nodes are out."""
        self._dropped.append((reason, hit))

    def reasons(self) -> Counter[str]:
        """Return how many nodes are out for which reason."""
        found = Counter(self._row.reasons[p] for p in np.flatnonzero(self._present & ~self._row.fits))
        for reason, hit in self._dropped:
            found[reason] += int(hit.sum())
        return +found


def decide(
    columns: Columns, row: Row, tie: Random, against: Mapping[int, str] = NOTHING, *, nominated: str = "", also: Booleans | None = None
) -> Decision:
    """Choose a node for one pod of the row's class; `against` holds further reasons by node position (volumes).

    nominated is the node that others have left for it: where it is feasible, it is the one. also: the nodes feasible without the pods
    that are only nominated, where that can make a difference: a node must be so with them and without.
    """
    sieve, pods = sift(columns, row, against), row.pods
    if also is not None:
        sieve.drop(~also, NOT_SPREAD, resolvable=True)
    if not sieve.feasible.any():
        resolvable = np.flatnonzero(sieve.resolvable)
        lower = columns.lowest_priority() < pods.priority
        return Decision("", len(columns.index), sieve.reasons(), resolvable, lower, pods.never_preempts)
    if nominated in columns.index and sieve.feasible[columns.index[nominated]]:
        return Decision(nominated)
    eligible = Eligibility(row.affine, row.tolerated)
    best = _best(scores(columns, row, eligible, sieve.feasible), sieve.feasible, tie)
    node = columns.nodes[best]
    return Decision(node["metadata"]["name"] if node else "")


def sift(columns: Columns, row: Row, against: Mapping[int, str] = NOTHING) -> Sieve:
    """Return which nodes are feasible for one pod of the row's class, and why the others are not."""
    sieve, pods = Sieve(columns, row), row.pods
    _free_ports(columns, pods, sieve)
    _enough(columns, pods, sieve)
    for reason in sorted(set(against.values())):
        sieve.drop(_at([p for p, r in against.items() if r == reason], columns.capacity), reason, resolvable=reason in OF_PODS)
    eligible = Eligibility(row.affine, row.tolerated)
    for reason, broken in violations(columns, pods.spread, eligible):
        sieve.drop(broken, reason, resolvable=reason == NOT_SPREAD)
    return sieve


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


def available(nodes: int, reasons: Counter[str], detail: str = "") -> str:
    """Return upstream's sentence on why no node will do: the reasons with how many nodes each is of, or what is wrong for all."""
    listed = detail or ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
    return f"0/{nodes} nodes are available:" + (f" {listed}." if listed else "")


def _enough(columns: Columns, pods: PodClass, sieve: Sieve) -> None:
    """Resources are one filter: a node that lacks two of them is counted under both."""
    before, short = sieve.feasible, np.zeros(columns.capacity, bool)
    hopeless = short.copy()
    for name, amount in pods.footprint.requests.items():
        if amount == 0:
            continue
        row = columns.resource(name)
        lacking = before & (columns.requested[row] + amount > columns.allocatable[row])
        sieve.note(lacking, "Too many pods" if name == PODS else f"Insufficient {name}")
        short |= lacking
        if name != PODS:
            hopeless |= lacking & (amount > columns.allocatable[row])
    sieve.resolvable |= short & ~hopeless
    sieve.feasible = before & ~short


def _free_ports(columns: Columns, pods: PodClass, sieve: Sieve) -> None:
    if not pods.footprint.ports:
        return
    candidates = map(int, np.flatnonzero(sieve.feasible))
    taken = [p for p in candidates if collides(pods.footprint.ports, columns.ports_in_use(p))]
    sieve.drop(_at(taken, columns.capacity), PORTS_TAKEN, resolvable=True)


def collides(wanted: Iterable[HostPort], taken: Iterable[HostPort]) -> bool:
    """Whether any two of the ports collide."""
    return any(conflicts(mine, other) for other in taken for mine in wanted)


def _at(positions: Sequence[int], capacity: int) -> Booleans:
    mask = np.zeros(capacity, bool)
    mask[positions] = True
    return mask


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
