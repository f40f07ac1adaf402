"""Rules of requests and limits: of containers, of whole pods, and of how they may be resized.

Source: upstream's validateResourceRequirements, validatePodResourceConsistency, validateResizePolicy.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from moorings_core.ports.objects import Object
from moorings_core.registry.amounts import HUGE_PAGES, POD_LEVEL, amount, container_total, is_of_pods
from moorings_core.registry.quantity import compare, parse

from . import formats, names
from .errors import FieldError, Path, duplicate, forbidden, invalid, not_found, not_supported, required
from .resource_names import amounts, container_resource, resource

Rule = Callable[[str, Path], list[FieldError]]
RESTARTS = ("NotRequired", "RestartContainer")


def resources(given: Object, path: Path, claims: Collection[str] = (), *, named: Rule = container_resource) -> list[FieldError]:
    """Return which requests and limits are no quantities, negative, or the wrong way round, and which claims are not the pod's.

    named: what may be asked for.
    """
    found: list[FieldError] = []
    limits, requests = given.get("limits") or {}, given.get("requests") or {}
    for field, listed in (("limits", limits), ("requests", requests)):
        for name, value in listed.items():
            where = (path / field).at(name)
            wrong = named(name, where) + (not_negative(value, where) or amounts({name: value}, path / field))
            found += wrong
            if field == "requests" and not wrong:
                found += _against_limit(name, value, limits, path)
    names = {*limits, *requests}
    if any(n.startswith(HUGE_PAGES) for n in names) and not names.intersection(POD_LEVEL):
        found.append(forbidden(path, "HugePages require cpu or memory"))
    asked: Sequence[Object] = given.get("claims") or ()
    return found + _claims(asked, claims, path / "claims")


def resize_policies(container: Object, path: Path, restart_policy: str) -> list[FieldError]:
    """Return what is wrong with how a container says it may be resized; `restart_policy` is its pod's."""
    found: list[FieldError] = []
    where, seen = path / "resizePolicy", set()
    for i, policy in enumerate(container.get("resizePolicy") or ()):
        name, restart = policy.get("resourceName", ""), policy.get("restartPolicy", "")
        if name in seen:
            found.append(duplicate(where.at(i), name))
        seen.add(name)
        for value, known in ((name, POD_LEVEL), (restart, RESTARTS)):
            if value not in known:
                found.append(not_supported(where, value, known) if value else required(where))
        if restart_policy == "Never" and restart != "NotRequired":
            found.append(invalid(where, restart, "must be 'NotRequired' when pod `restartPolicy` is 'Never'"))
        if ".initContainers[" in path and container.get("restartPolicy") != "Always" and restart == "RestartContainer":
            text = "must not be set to 'RestartContainer' for non-sidecar initContainers"
            found.append(invalid(where.at(i) / "restartPolicy", restart, text))
    return found


def whole_pod(spec: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with the resources of a pod as a whole: they hold what its containers ask for."""
    given = spec.get("resources")
    if not given:
        return []
    found = [forbidden(path / "claims", "claims may not be set for Resources at pod-level")] if given.get("claims") else []
    if (spec.get("os") or {}).get("name") == "windows":
        return [forbidden(path, "may not be set for a windows pod")]
    claims = {claim["name"] for claim in spec.get("resourceClaims") or () if claim.get("name")}
    wrong = resources(given, path, claims, named=_pod_resource)
    return found + wrong + (_sums(spec, given, path) if not wrong else [])


def _pod_resource(name: str, path: Path) -> list[FieldError]:
    wrong = resource(name, path)
    if wrong or is_of_pods(name):
        return wrong
    return [not_supported(path, name, (*POD_LEVEL[:1], HUGE_PAGES, *POD_LEVEL[1:]))]


def _sums(spec: Object, given: Object, path: Path) -> list[FieldError]:
    found: list[FieldError] = []
    pod, requests, limits = {"spec": spec}, given.get("requests") or {}, given.get("limits") or {}
    for name, total in container_total(pod, "requests").items():
        if name in requests and total.value > amount(requests[name]).value:
            text = f"must be greater than or equal to aggregate container requests of {total}"
            found.append(invalid((path / "requests").at(name), str(requests[name]), text))
    for name, total in container_total(pod, "limits").items():
        if name.startswith(HUGE_PAGES) and name in limits and total.value > amount(limits[name]).value:
            text = f"must be greater than or equal to aggregate container limits of {total}"
            found.append(invalid((path / "limits").at(name), str(limits[name]), text))
    for i, container in enumerate(spec.get("containers") or ()):
        for name, value in ((container.get("resources") or {}).get("limits") or {}).items():
            if name in limits and _more(value, limits[name]):
                where = (path / "containers").at(i).at(name) / "limits"
                found.append(invalid(where, str(value), f"must be less than or equal to pod limits of {limits[name]}"))
    return found


def not_negative(value: str, where: Path) -> list[FieldError]:
    """Return whether an amount is no quantity, or less than nothing."""
    try:
        return [invalid(where, str(value), "must be greater than or equal to 0")] if parse(str(value)) < 0 else []
    except ValueError as error:
        return [invalid(where, str(value), str(error))]


def _against_limit(name: str, value: str, limits: Mapping[str, str], path: Path) -> list[FieldError]:
    """A request is at most the limit; of what can't be shared, as extended resources and huge pages, it is the limit."""
    exact = name.startswith(HUGE_PAGES) or ("/" in name and "kubernetes.io/" not in name)
    if name not in limits:
        return [required(path / "limits", "Limit must be set for non overcommitable resources")] if exact else []
    if exact and str(value) != str(limits[name]):
        return [invalid(path / "requests", str(value), f"must be equal to {name} limit of {limits[name]}")]
    if _more(value, limits[name]):
        return [invalid(path / "requests", str(value), f"must be less than or equal to {name} limit of {limits[name]}")]
    return []


def _claims(given: Sequence[Object], known: Collection[str], path: Path) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for i, claim in enumerate(given):
        name, request, where = claim.get("name", ""), claim.get("request", ""), path.at(i)
        if not name:
            found.append(required(where))
            continue
        key = f"{name}/{request}" if request else name
        if request and name not in seen:
            found += formats.named(request, where / "request", names.label)
        again = {name, key} & seen or (not request and any(other.partition("/")[0] == name for other in seen))
        if again:
            found.append(duplicate(where, name if name in seen else key))
        seen.add(key)
        if name not in known:
            which = f": {', '.join(sorted(known))}" if known else " which is empty"
            found.append(not_found(where, name, f"must be one of the names in pod.spec.resourceClaims{which}"))
    return found


def _more(a: str, b: str) -> bool:
    try:
        return compare(a, b) > 0
    except ValueError:
        return False
