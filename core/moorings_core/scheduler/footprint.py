"""What a pod takes of a node: effective requests, host ports, and the labels that other pods' rules count.

Source: upstream's resource helpers (component-helpers/resource): regular containers add up, an init container needs its own
request on top of the sidecars started before it, the larger of both counts, overhead is added, pod-level values win.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from moorings_core.ports.objects import Object
from moorings_core.registry.quantity import to_int, to_milli

CPU, MEMORY, STORAGE, PODS = "cpu", "memory", "ephemeral-storage", "pods"
ASSUMED_CPU, ASSUMED_MEMORY = 100, 200 << 20
"""What a container without a request counts in scores: 100m and 200Mi, as upstream."""

Amounts = dict[str, int]
HostPort = tuple[str, str, int]
"""(host IP or "0.0.0.0", protocol, port)"""


@dataclass(frozen=True, slots=True)
class Footprint:
    """cpu in millicores, everything else in units; `scored` is (cpu, memory) with the assumed minimum per container."""

    requests: Mapping[str, int]
    scored: tuple[int, int]
    ports: frozenset[HostPort]


def footprint(pod: Object) -> Footprint:
    """Return what the pod takes of its node; while a container is being resized, the greater of what it asks for and holds."""
    spec, held = pod["spec"], granted(pod)
    scored = _effective(spec, _scored_amounts)

    def read(container: Object) -> Amounts:
        return _greater(_amounts(container), amounts(held.get(container["name"], {})))

    taken = _effective(spec, read if held else _amounts)
    return Footprint({**taken, PODS: 1}, (scored.get(CPU, 0), scored.get(MEMORY, 0)), _ports(spec))


def granted(pod: Object) -> dict[str, Mapping[str, str]]:
    """Return what the node says that it has granted containers where that is not what they ask for: those being resized."""
    spec, status = pod["spec"], pod.get("status", {})
    listed = [*status.get("containerStatuses", ()), *status.get("initContainerStatuses", ())]
    found = {s["name"]: s["allocatedResources"] for s in listed if s.get("allocatedResources")}
    if not found:
        return {}
    containers = [*spec.get("containers", ()), *spec.get("initContainers", ())]
    asked = {c["name"]: c.get("resources", {}).get("requests") for c in containers}
    return {name: given for name, given in found.items() if given != asked.get(name)}


def amounts(resources: Mapping[str, str]) -> Amounts:
    """Return quantities as integers: cpu in millicores, the rest rounded up to units."""
    return {name: to_milli(value) if name == CPU else to_int(value) for name, value in resources.items()}


def finished(pod: Object) -> bool:
    """Whether the pod has ended for good and takes nothing any more."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def _effective(spec: Object, read: Callable[[Object], Amounts]) -> Amounts:
    total: Amounts = {}
    for container in spec.get("containers", ()):
        _add(total, read(container))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers", ()):
        need = read(container)
        if container.get("restartPolicy") == "Always":
            _add(sidecars, need)
            _add(total, need)
            need = sidecars
        else:
            need = _sum(sidecars, need)
        peak = _greater(peak, need)
    total = _greater(total, peak)
    total |= amounts(spec.get("resources", {}).get("requests", {}))
    _add(total, amounts(spec.get("overhead", {})))
    return total


def _amounts(container: Object) -> Amounts:
    return amounts(container.get("resources", {}).get("requests", {}))


def _scored_amounts(container: Object) -> Amounts:
    return {CPU: ASSUMED_CPU, MEMORY: ASSUMED_MEMORY} | _amounts(container)


def _add(total: Amounts, more: Mapping[str, int]) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0) + value


def _sum(a: Mapping[str, int], b: Mapping[str, int]) -> Amounts:
    return {name: a.get(name, 0) + b.get(name, 0) for name in a.keys() | b.keys()}


def _greater(a: Mapping[str, int], b: Mapping[str, int]) -> Amounts:
    return {name: max(a.get(name, 0), b.get(name, 0)) for name in a.keys() | b.keys()}


def _ports(spec: Object) -> frozenset[HostPort]:
    sidecars = [c for c in spec.get("initContainers", ()) if c.get("restartPolicy") == "Always"]
    return frozenset(
        (port.get("hostIP") or "0.0.0.0", port.get("protocol", "TCP"), port["hostPort"])
        for container in [*spec.get("containers", ()), *sidecars]
        for port in container.get("ports", ())
        if port.get("hostPort")
    )
