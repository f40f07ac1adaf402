"""Defaults of the resources of a pod as a whole: from its containers and from each other. Source: upstream's DefaultPodLevelResources."""

from __future__ import annotations

from moorings_core.ports.objects import Object
from moorings_core.registry.amounts import HUGE_PAGES, POD_LEVEL, ZERO, amount, container_total, is_of_pods


def fill(spec: Object) -> None:
    """Fill in the requests and limits of a pod that has some of its own. Quantities that are none are left to validation."""
    own = spec.get("resources") or {}
    if not own.get("requests") and not own.get("limits"):
        return
    try:
        _fill(spec, own)
    except ValueError:
        return


def _fill(spec: Object, own: Object) -> None:
    pod = {"spec": spec}
    requests, limits = dict(own.get("requests") or {}), dict(own.get("limits") or {})
    sums = container_total(pod, "limits")
    limits |= {k: str(v) for k, v in sums.items() if k.startswith(HUGE_PAGES) and k not in requests and k not in limits}
    requests |= {k: str(v) for k, v in container_total(pod, "requests").items() if k in POD_LEVEL and k not in requests}
    requests |= {k: v for k, v in limits.items() if k not in requests and is_of_pods(k)}
    for name in [n for n in requests if n not in limits and is_of_pods(n) and _all_limited(spec, n)]:
        limits[name] = str(max(sums.get(name, ZERO), amount(requests[name]), key=lambda a: a.value))
    spec["resources"] = {**own} | ({"requests": requests} if requests else {}) | ({"limits": limits} if limits else {})


def _all_limited(spec: Object, name: str) -> bool:
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ()), *(spec.get("ephemeralContainers") or ())]
    return all(name in ((c.get("resources") or {}).get("limits") or {}) for c in containers)
