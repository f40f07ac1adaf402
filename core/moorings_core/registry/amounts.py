"""Lists of resources ({"cpu": "500m", ...}) as numbers: sums, comparisons, and what a pod takes altogether.

Source: upstream's quota.Add and its kin, and component-helpers/resource PodRequests and PodLimits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import NamedTuple

from moorings_core.ports.objects import Object

from .quantity import parse, render

POD_LEVEL, HUGE_PAGES = ("cpu", "memory"), "hugepages-"


class Amount(NamedTuple):
    """An exact value, and whether it is written with binary suffixes."""

    value: Fraction
    binary: bool = False

    def __str__(self) -> str:
        return render(self.value, binary=self.binary)

    def plus(self, other: Amount) -> Amount:
        """Return the sum; it is written as the first that is not zero."""
        return Amount(self.value + other.value, self.binary if self.value else other.binary)

    def minus(self, other: Amount) -> Amount:
        """Return the difference."""
        return Amount(self.value - other.value, self.binary if self.value else other.binary)


Amounts = dict[str, Amount]
ONE = Amount(Fraction(1))
ZERO = Amount(Fraction(0))


def is_of_pods(name: str) -> bool:
    """Whether a pod as a whole can ask for a resource."""
    return name in POD_LEVEL or name.startswith(HUGE_PAGES)


def amount(text: str | float) -> Amount:
    """Return the amount that a quantity means. Raises ValueError."""
    return Amount(parse(str(text)), str(text).endswith("i"))


def amounts(resources: Mapping[str, str] | None) -> Amounts:
    """Return a list of resources as numbers. Raises ValueError."""
    return {name: amount(value) for name, value in (resources or {}).items()}


def written(resources: Mapping[str, Amount]) -> dict[str, str]:
    """Return amounts as the API writes them."""
    return {name: str(value) for name, value in sorted(resources.items())}


def add(left: Mapping[str, Amount], right: Mapping[str, Amount]) -> Amounts:
    """Return the sums of all that either side names."""
    return {name: left.get(name, ZERO).plus(right.get(name, ZERO)) for name in (*left, *(n for n in right if n not in left))}


def greater(left: Mapping[str, Amount], right: Mapping[str, Amount]) -> Amounts:
    """Return the greater of the two of all that either side names."""
    names = (*left, *(n for n in right if n not in left))
    return {name: max(left.get(name, ZERO), right.get(name, ZERO), key=lambda a: a.value) for name in names}


def pod_total(pod: Object, field: str, *, overhead: bool = False, actual: bool = False) -> Amounts:
    """Return what a pod requests ("requests") or may take at most ("limits") altogether.

    Containers add up; an init container needs its own beside the sidecars before it; the pod's own list wins where there is one.
    overhead: add the runtime's (to limits only where there is a limit). actual: count what a running container holds while it is
    being resized, too.
    """
    total = container_total(pod, field, _held(pod, field) if actual else {})
    own = amounts((pod["spec"].get("resources") or {}).get(field))
    total |= {name: value for name, value in own.items() if is_of_pods(name)}
    extra = amounts(pod["spec"].get("overhead")) if overhead else {}
    if field == "limits":
        extra = {name: value for name, value in extra.items() if total.get(name, ZERO).value}
    return add(total, extra)


def container_total(pod: Object, field: str, held: Mapping[str, Amounts] = {}) -> Amounts:
    """Return what a pod's containers come to altogether, each at least what it is `held` to have."""
    spec = pod["spec"]
    total = _sum(_of(c, field, held) for c in spec.get("containers") or ())
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or ():
        need = _of(container, field, held)
        if container.get("restartPolicy") == "Always":
            total, sidecars = add(total, need), add(sidecars, need)
            need = sidecars
        else:
            need = add(need, sidecars)
        peak = greater(peak, need)
    return greater(total, peak)


def _of(container: Object, field: str, held: Mapping[str, Amounts]) -> Amounts:
    wanted = amounts((container.get("resources") or {}).get(field))
    had = held.get(container.get("name", ""))
    return wanted if had is None else greater(wanted, had)


def _sum(lists: Iterable[Amounts]) -> Amounts:
    total: Amounts = {}
    for found in lists:
        total = add(total, found)
    return total


def _held(pod: Object, field: str) -> dict[str, Amounts]:
    """Return what containers hold by their status."""
    status = pod.get("status") or {}
    found: dict[str, Amounts] = {}
    for container in [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]:
        given = amounts((container.get("resources") or {}).get(field))
        allocated = amounts(container.get("allocatedResources")) if field == "requests" else {}
        found[container["name"]] = greater(given, allocated)
    return found
