"""How priority levels lend each other seats: each by what it has wanted lately, within what its configuration lets go and take.

Every PERIOD the limits in force are made anew: all seats are shared out in proportion to the levels' demand, no level below what it
does not lend, none above what it may borrow. Pure. Source: KEP-1040; apiserver pkg/util/flowcontrol (conc_alloc.go, apf_controller.go).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PERIOD = 10.0
"""Seconds between two adjustments"""
SMOOTHING = 0.977
"""How much of the demand that was known stays at each: half of a peak is forgotten after about five minutes"""
LEAST_TARGET = 0.001


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seats of a level by configuration: nominal ones, those that are left when all it lends is lent, those with all it may borrow."""

    nominal: int
    least: int
    most: int
    exempt: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a level has wanted: the most seats at once in the last period, and what is to be expected of it."""

    peak: int = 0
    smoothed: float = 0.0


class Demand:
    """Seats that one level has in use or that its queues wait for, over time."""

    __slots__ = ("_area", "_peak", "_since", "_smoothed", "_square", "_start", "_value")

    def __init__(self, now: float) -> None:
        self._value = self._peak = 0
        self._area = self._square = self._smoothed = 0.0
        self._start = self._since = now

    def set(self, value: int, now: float) -> None:
        """The level wants this many seats from now on."""
        passed, known = now - self._since, self._value
        self._area += passed * known
        self._square += passed * known * known
        self._value, self._since = value, now
        if value > self._peak:
            self._peak = value

    def take(self, now: float) -> Wanted:
        """Return what was wanted since the last call, and begin anew."""
        self.set(self._value, now)
        seconds = now - self._start
        mean = self._area / seconds if seconds > 0 else float(self._value)
        square = self._square / seconds if seconds > 0 else float(self._value) ** 2
        envelope = mean + math.sqrt(max(0.0, square - mean * mean))
        self._smoothed = max(envelope, SMOOTHING * self._smoothed + (1 - SMOOTHING) * envelope)
        found = Wanted(self._peak, self._smoothed)
        self._area = self._square = 0.0
        self._start, self._peak = now, self._value
        return found


@dataclass(frozen=True, slots=True)
class Share:
    """One that gets a part: in proportion to target, from low to high."""

    target: float
    low: float
    high: float


def bounds(nominal: int, lendable: int | None, borrowing: int | None, seats: int, *, exempt: bool = False) -> Bounds:
    """Return what a level has: lendable and borrowing are per cent of its nominal seats, without the latter it may borrow all."""
    lent = _rounded(nominal * (lendable or 0) / 100)
    borrowed = seats if borrowing is None else _rounded(nominal * borrowing / 100)
    return Bounds(nominal, nominal - lent, nominal + borrowed, exempt)


def first(level: Bounds) -> int:
    """Return the limit of a level of which nothing is known yet."""
    return level.nominal - (level.nominal - level.least) // 2


def limits(levels: Mapping[str, Bounds], wanted: Mapping[str, Wanted], current: Mapping[str, int]) -> dict[str, int]:
    """Return the seats of each level until the next adjustment."""
    total = sum(level.nominal for level in levels.values())
    found = {n: max(b.least, wanted[n].peak) for n, b in levels.items() if b.exempt}
    limited = {n: b for n, b in levels.items() if not b.exempt}
    floors = {n: max(b.least, min(b.nominal, wanted[n].peak)) for n, b in limited.items()}
    left, least, floor = total - sum(found.values()), sum(b.least for b in limited.values()), sum(floors.values())
    if left <= least:
        return found | {n: b.least for n, b in limited.items()}
    if left <= floor:
        part = (left - least) / (floor - least)
        return found | {n: b.least + _rounded((floors[n] - b.least) * part) for n, b in limited.items()}
    shares = [Share(max(floors[n], wanted[n].smoothed), floors[n], b.most) for n, b in limited.items()]
    given = share(total, shares)
    if given is None:
        return found | {n: current.get(n, first(b)) for n, b in limited.items()}
    return found | {n: _rounded(seats) for n, seats in zip(limited, given, strict=True)}


def share(total: float, shares: Sequence[Share]) -> list[float] | None:
    """Return parts that sum up to total, each its target times one number, where that lies between its bounds; None: there are none."""
    if total < sum(s.low for s in shares) - 1e-7 or total > sum(s.high for s in shares) + 1e-7:
        return None
    targets = [max(s.target, LEAST_TARGET) for s in shares]

    def parts(factor: float) -> list[float]:
        return [max(s.low, min(s.high, factor * target)) for s, target in zip(shares, targets, strict=True)]

    below, above = 0.0, max((s.high / target for s, target in zip(shares, targets, strict=True)), default=0.0)
    bends = sorted({below, above, *(bound / target for s, target in zip(shares, targets, strict=True) for bound in (s.low, s.high))})
    for bend in bends:  # between two of them the sum grows evenly
        if sum(parts(bend)) >= total:
            above = bend
            break
        below = bend
    low, high = sum(parts(below)), sum(parts(above))
    factor = above if high <= low else below + (above - below) * (total - low) / (high - low)
    return parts(factor)


def _rounded(value: float) -> int:
    """Half goes away from zero, as in Go."""
    return math.floor(value + 0.5)
