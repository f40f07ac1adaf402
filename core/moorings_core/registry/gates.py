"""Fields of features that upstream has off by default: a write drops them, unless the stored object has them already.

Source: the dropDisabledFields of upstream's registry strategies, and pkg/features of 1.37.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from moorings_core.ports.objects import Object, Resource

Paths = tuple[str, ...]
DEVICES = "resource.k8s.io"


def _requests(spec: str) -> Paths:
    return tuple(f"{spec}.devices.requests.*.{where}.derivedAttributes" for where in ("exactly", "firstAvailable.*"))


GATED: Mapping[tuple[str, str], Sequence[Paths]] = {
    ("", "persistentvolumeclaims"): (("status.healthStatus",),),
    ("", "nodes"): (("spec.configSource",), ("status.config",), ("spec.podPreemptionPolicy",)),
    ("coordination.k8s.io", "leases"): (("spec.strategy",), ("spec.preferredHolder",)),
    (DEVICES, "resourceclaims"): (_requests("spec"), ("status.allocation.devices.results.*.skipNodeOperations",)),
    (DEVICES, "resourceclaimtemplates"): (_requests("spec.spec"),),
    (DEVICES, "resourceslices"): (
        ("spec.partitionTypeAttribute",),
        ("spec.skipNodeOperations",),
        ("spec.devices.*.nodeAllocatableResources",),
        ("spec.devices.*.consumesCounters.*.compatibilityGroups",),
        tuple(f"spec.devices.*.attributes.*.{kind}" for kind in ("bools", "ints", "strings", "versions")),
    ),
}
"""For each kind its features, each with the fields that are its own; * stands for every item of a list, or value of a map"""


def drop(resource: Resource, new: Object, old: Object | None = None) -> None:
    """Take the fields of features that are off out of an object, in place; those that the old one uses stay."""
    for paths in GATED.get((resource.group, resource.plural), ()):
        if old is None or not any(True for path in paths for _ in holders(old, path)):
            for path in paths:
                take(new, path)


def take(value: Any, path: str) -> None:
    """Take what is at the end of a path out of a tree, in place."""
    for holder, field in list(holders(value, path)):
        del holder[field]


def holders(obj: Any, path: str) -> Iterator[tuple[Object, str]]:
    """Yield whatever has the last field of a path, with that field's name."""
    step, dot, rest = path.partition(".")
    if step == "*":
        for item in obj.values() if isinstance(obj, dict) else obj or ():
            yield from holders(item, rest)
    elif isinstance(obj, dict) and obj.get(step) is not None:
        if dot:
            yield from holders(obj[step], rest)
        else:
            yield obj, step
