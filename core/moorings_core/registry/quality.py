"""A pod's class of service: what its requests and limits of cpu and memory make of it. Pure. Source: upstream's qos.ComputePodQOS."""

from __future__ import annotations

from collections.abc import Mapping

from moorings_core.ports.objects import Object

from .quantity import parse

BOTH = ("cpu", "memory")


def qos_class(pod: Object) -> str:
    """Return Guaranteed, Burstable or BestEffort; what the pod as a whole has counts before what its containers have."""
    spec = pod["spec"]
    whole = spec.get("resources") or {}
    if whole.get("requests") or whole.get("limits"):
        given = [whole]
    else:
        given = [c.get("resources") or {} for c in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))]
    requests, limits = ([_asked(g.get(field) or {}) for g in given] for field in ("requests", "limits"))
    if not any((*requests, *limits)):
        return "BestEffort"
    same = all(
        name in limit and request.get(name, limit[name]) == limit[name]
        for request, limit in zip(requests, limits, strict=True)
        for name in BOTH
    )
    return "Guaranteed" if same else "Burstable"


def _asked(amounts: Mapping[str, str]) -> dict[str, str]:
    """Return the amounts of cpu and memory that are more than nothing."""
    return {name: value for name, value in amounts.items() if name in BOTH and parse(str(value)) > 0}
