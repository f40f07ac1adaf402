"""The arithmetic of a rollout: how large each ReplicaSet may be. Pure; sizes are changed in place in `Sized`, nothing else.

Invariants, at every step and whatever the order of events: the sum of sizes <= replicas + surge (unless it was larger before);
sizes are taken from old sets only while replicas - unavailable pods stay available.
Source: upstream pkg/controller/deployment/{sync,rolling}.go.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from moorings_core.ports.objects import Object

from . import moments

DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"


@dataclass(slots=True)
class Sized:
    """A ReplicaSet and the size it shall have; touched: its annotations shall say for which Deployment size."""

    obj: Object
    replicas: int
    touched: bool = False

    @classmethod
    def of(cls, obj: Object) -> Sized:
        """Return it at its present size."""
        return cls(obj, int(obj["spec"].get("replicas", 1)))

    @property
    def available(self) -> int:
        """Pods that were available when the set's status was written, as far as the set still has them.

        A status may be from before pods were taken from the set: those do not count any more.
        """
        return min(int(self.obj.get("status", {}).get("availableReplicas", 0)), int(self.obj["spec"].get("replicas", 1)))

    @property
    def active_or_changed(self) -> bool:
        """Whether it has, or had, pods to count."""
        return bool(self.replicas or self.obj["spec"].get("replicas", 1))

    @property
    def age(self) -> str:
        """Sort key: oldest first."""
        return moments.created(self.obj)


@dataclass(slots=True)
class Sets:
    """The set of the present template, if it exists, and those of former ones, oldest first."""

    new: Sized | None
    old: list[Sized] = field(default_factory=list)

    def all(self) -> list[Sized]:
        """Return every set."""
        return [*self.old, *([self.new] if self.new else [])]

    def active(self) -> list[Sized]:
        """Return those that shall have pods."""
        return [each for each in self.all() if each.replicas > 0]


def total(sets: Iterable[Sized]) -> int:
    """Return the sum of sizes."""
    return sum(each.replicas for each in sets)


def wanted(deployment: Object) -> int:
    """Return spec.replicas."""
    return int(deployment["spec"].get("replicas", 1))


def surge(deployment: Object) -> int:
    """Return how many pods may be above replicas; none with Recreate."""
    return _fenceposts(deployment)[0]


def unavailable(deployment: Object) -> int:
    """Return how many of replicas may be unavailable."""
    return min(_fenceposts(deployment)[1], wanted(deployment))


def size_annotations(deployment: Object) -> dict[str, str]:
    """Return what a set notes about the Deployment it was sized for: proportional scaling needs the size before."""
    return {DESIRED: str(wanted(deployment)), MAXIMUM: str(wanted(deployment) + surge(deployment))}


def is_scaling(deployment: Object, sets: Sets) -> bool:
    """Whether replicas was changed since the sets were sized."""
    noted = [_noted(each, DESIRED) for each in sets.active()]
    return any(number is not None and number != wanted(deployment) for number in noted)


def new_size(deployment: Object, sets: Sets) -> int:
    """Return the size that the new set may have at once."""
    size = sets.new.replicas if sets.new else 0
    if (deployment["spec"].get("strategy") or {}).get("type") == "Recreate":
        return wanted(deployment)
    room = wanted(deployment) + surge(deployment) - total(sets.all())
    return size if room <= 0 else size + min(room, max(wanted(deployment) - size, 0))


def grow_new(deployment: Object, sets: Sets) -> bool:
    """Bring the new set as near to replicas as surge allows; return whether that changed it."""
    assert sets.new is not None
    size = wanted(deployment) if sets.new.replicas > wanted(deployment) else new_size(deployment, sets)
    changed = size != sets.new.replicas
    sets.new.replicas, sets.new.touched = size, changed
    return changed


def shrink_old(deployment: Object, sets: Sets) -> bool:
    """Take from old sets, broken pods first, what availability allows; return whether that changed any."""
    assert sets.new is not None
    least = wanted(deployment) - unavailable(deployment)
    new_missing = sets.new.replicas - sets.new.available
    spare = total(sets.all()) - least - new_missing
    if spare <= 0 or not total(sets.old):
        return False
    before = total(sets.old)
    _drop_broken(sets, spare)
    _drop_available(sets, sum(each.available for each in sets.all()) - least)
    return total(sets.old) != before


def scale(deployment: Object, sets: Sets) -> None:
    """Follow a change of replicas without going on with the rollout: the sets keep their proportion."""
    active = sets.active()
    if len(active) <= 1:
        latest = active or ([sets.new] if sets.new else sorted(sets.old, key=lambda each: each.age)[-1:])
        for each in latest:
            each.replicas, each.touched = wanted(deployment), True
        return
    if sets.new is not None and _is_saturated(deployment, sets.new):
        for each in sets.old:
            each.replicas = 0
        return
    if (deployment["spec"].get("strategy") or {}).get("type") != "Recreate":
        _scale_in_proportion(deployment, active)


def _scale_in_proportion(deployment: Object, active: list[Sized]) -> None:
    allowed = wanted(deployment) + surge(deployment) if wanted(deployment) else 0
    add = allowed - total(active)
    newest_first = sorted(active, key=lambda each: each.age, reverse=add > 0)
    order = sorted(newest_first, key=lambda each: -each.replicas)
    added = 0
    for each in order:
        share = _share(deployment, each, add, added)
        each.replicas, each.touched = each.replicas + share, True
        added += share
    if add:
        order[0].replicas = max(order[0].replicas + add - added, 0)


def _share(deployment: Object, each: Sized, add: int, added: int) -> int:
    if not each.replicas or add in (0, added):
        return 0
    share = _fraction(deployment, each)
    return min(share, add - added) if add > 0 else max(share, add - added)


def _fraction(deployment: Object, each: Sized) -> int:
    if not wanted(deployment):
        return -each.replicas
    before = _noted(each, MAXIMUM) or deployment.get("status", {}).get("replicas", 0)
    if not before:
        return 0
    size = each.replicas * (wanted(deployment) + surge(deployment)) / before
    return math.floor(size + 0.5) - each.replicas


def _drop_broken(sets: Sets, most: int) -> None:
    """Unavailable pods of old sets help nobody, and may be why there is a new template."""
    for each in sorted(sets.old, key=lambda each: each.age):
        drop = min(most, max(each.replicas - each.available, 0))
        each.replicas, most = each.replicas - drop, most - drop
        each.touched = each.touched or drop > 0


def _drop_available(sets: Sets, most: int) -> None:
    for each in sorted(sets.old, key=lambda each: each.age):
        drop = max(min(most, each.replicas), 0)
        each.replicas, most = each.replicas - drop, most - drop
        each.touched = each.touched or drop > 0


def _is_saturated(deployment: Object, each: Sized) -> bool:
    want = wanted(deployment)
    return each.replicas == want == _noted(each, DESIRED) == each.available


def _noted(each: Sized, annotation: str) -> int | None:
    try:
        return int((each.obj["metadata"].get("annotations") or {})[annotation])
    except (KeyError, ValueError):
        return None


def _fenceposts(deployment: Object) -> tuple[int, int]:
    """Return (surge, unavailable); both 0 would never move, so that one pod may then be missing."""
    strategy = deployment["spec"].get("strategy") or {}
    if strategy.get("type") == "Recreate":
        return 0, 0
    rolling = strategy.get("rollingUpdate") or {}
    above = scaled(rolling.get("maxSurge", "25%"), wanted(deployment), round_up=True)
    below = scaled(rolling.get("maxUnavailable", "25%"), wanted(deployment), round_up=False)
    return (above, below) if above or below else (0, 1)


def scaled(value: int | str, of: int, *, round_up: bool) -> int:
    """Return an IntOrString as a number; a percentage is of `of`. Raises ValueError."""
    if isinstance(value, int):
        return value
    percent = int(value.removesuffix("%"))
    return -(-percent * of // 100) if round_up else percent * of // 100
