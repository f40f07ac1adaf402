"""A pod that fits nowhere looks for the node that it costs least to clear for it. Pure: a plan comes of it, which others apply.

Of the nodes that are found, in this order: fewest budgets broken, lowest priority of the most important victim, smallest sum of
priorities, fewest victims, latest start. Source: kube-scheduler's framework/preemption (Evaluator, pickOneNodeForPreemption).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np

from moorings_core.ports.objects import Object

from .columns import Columns, Integers, PlacedPod
from .decide import NO_HELP, NO_VICTIMS, Decision, available
from .footprint import PODS
from .pod_class import PodClass
from .victims import Search, Victims

MOST_CANDIDATES = 100
"""So many nodes with victims are compared; upstream compares more of more than a thousand, which would hold up the event loop."""
PREEMPTED = "PreemptionByScheduler"
AWAITED = "not eligible due to a terminating pod on the nominated node."
OFFSET = 1 << 31
"""Makes every priority positive, so that fewer pods of negative priority are not dearer than more."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Who has to leave which node, or why there is none; said is the part of the event's text that tells it."""

    said: str
    node: str = ""
    victims: Sequence[PlacedPod] = field(default_factory=tuple)
    awaited: bool = False
    """Those that were told to leave for this pod are still about to: nothing is to be done but to wait"""


def plan(columns: Columns, pods: PodClass, decision: Decision, search: Search, tie: Random) -> Plan:
    """Return which pods have to leave for one of the class `pods` that `decision` found no node for."""
    resolvable, reasons = decision.resolvable, Counter[str]()
    reasons[NO_HELP] = decision.nodes - len(resolvable)
    below = columns.requested_below(pods.priority)
    anybody = below[columns.resource(PODS), resolvable] > 0
    reasons[NO_VICTIMS] = len(resolvable) - int(anybody.sum())
    possible = _with_room(columns, pods, resolvable[anybody], below, reasons)
    found = _candidates(possible, search, tie, reasons)
    if not found:
        return Plan(available(decision.nodes, +reasons))
    best = max(found, key=_worth)
    return Plan(f"found a potential placement for pod on node {best.node}, preempting {len(best.pods)} victims", best.node, best.pods)


def awaits(columns: Columns, pods: PodClass, decision: Decision, nominated: str, leaving: Callable[[PlacedPod], bool]) -> bool:
    """Whether pods that were told to leave the nominated node for one of the class are still there, and it will do once they are gone."""
    position = columns.index.get(nominated)
    if position is None or position not in decision.resolvable:
        return False
    return any(pod.priority < pods.priority and not pod.nominated and leaving(pod) for pod in columns.pods_at(position))


def is_preempted(pod: Object) -> bool:
    """Whether a pod is being deleted because another one preempts it."""
    if "deletionTimestamp" not in pod["metadata"]:
        return False
    conditions = (pod.get("status") or {}).get("conditions") or ()
    found = next((c for c in conditions if c["type"] == "DisruptionTarget"), None)
    return found is not None and found["status"] == "True" and found.get("reason") == PREEMPTED


def _with_room(columns: Columns, pods: PodClass, positions: Integers, below: Integers, reasons: Counter[str]) -> Integers:
    """Return the nodes that would have room if all lower pods left; count what the others would lack."""
    short = np.zeros(len(positions), bool)
    for name, amount in pods.footprint.requests.items():
        if not amount:
            continue
        row = columns.resource(name)
        staying = columns.requested[row, positions] - below[row, positions]
        lacking = staying + amount > columns.allocatable[row, positions]
        reasons["Too many pods" if name == PODS else f"Insufficient {name}"] += int(lacking.sum())
        short |= lacking
    return positions[~short]


def _candidates(positions: Integers, search: Search, tie: Random, reasons: Counter[str]) -> list[Victims]:
    """Return nodes with their victims, those that no budget speaks against first; count why others will not do."""
    kept: list[Victims] = []
    breaking: list[Victims] = []
    start = tie.randrange(len(positions)) if len(positions) else 0
    for position in np.roll(positions, -start):
        found = search.victims(int(position))
        if isinstance(found, str) or not found.pods:
            reasons[found if isinstance(found, str) else NO_HELP] += 1
            continue
        (breaking if found.violations else kept).append(found)
        if kept and len(kept) + len(breaking) >= MOST_CANDIDATES:
            break
    return kept + breaking


def _worth(victims: Victims) -> tuple[int, int, int, int, str]:
    pods = victims.pods
    total = sum(pod.priority + OFFSET for pod in pods)
    return -victims.violations, -max(pod.priority for pod in pods), -total, -len(pods), victims.started
