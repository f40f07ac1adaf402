"""What counts against a ResourceQuota: which of its resources an object takes, how much, and whether the quota's scopes hold for it.

Source: upstream's quota evaluators (pods, services, persistentvolumeclaims, resourceclaims, plain counts).
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from moorings_core.ports.objects import Object

from .amounts import ONE, ZERO, Amount, Amounts, add, amount, amounts, greater, pod_total
from .quality import qos_class
from .selectors import LabelSelector, Requirement

Kind = tuple[str, str]
"""(group, plural)"""
ALIASES = {"configmaps", "resourcequotas", "replicationcontrollers", "secrets"}
IGNORED: frozenset[Kind] = frozenset({("", "bindings"), ("", "events"), ("events.k8s.io", "events")})
COMPUTE = ("cpu", "memory", "ephemeral-storage")
MUST_ASK = frozenset({"cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"})
BY_CLASS = ".storageclass.storage.k8s.io/"
BY_DEVICE = ".deviceclass.resource.k8s.io/devices"
ALL_DEVICES = 32
POD_NAMES = frozenset({"count/pods", "pods", *COMPUTE, *(f"{kind}.{name}" for kind in ("requests", "limits") for name in COMPUTE)})


@dataclass(frozen=True, slots=True)
class Measure:
    """How objects of one resource count."""

    names: Callable[[str], bool]
    usage: Callable[[Object], Amounts]
    in_scope: Callable[[Object, Object], bool]
    updates: bool = False
    """Whether an update may change what an object takes"""


def measure(kind: Kind) -> Measure:
    """Return how objects of a resource count."""
    return _MEASURES.get(kind) or _counting(kind)


def count_name(kind: Kind) -> str:
    """Return the name under which objects of a resource are counted."""
    return f"count/{kind[1]}.{kind[0]}" if kind[0] else f"count/{kind[1]}"


def matching(kind: Kind, names: Iterable[str]) -> list[str]:
    """Return those of a quota's resources that objects of a kind take."""
    fits = measure(kind).names
    return [name for name in names if fits(name)]


def scopes(spec: Object) -> Iterator[Object]:
    """Yield the conditions under which an object counts, all of which must hold."""
    for name in spec.get("scopes") or ():
        yield {"scopeName": name, "operator": "Exists"}
    yield from (spec.get("scopeSelector") or {}).get("matchExpressions") or ()


def in_scopes(kind: Kind, spec: Object, obj: Object) -> bool:
    """Whether all conditions of a quota hold for an object."""
    holds = measure(kind).in_scope
    return all(holds(condition, obj) for condition in scopes(spec))


def counted_kinds(names: Iterable[str], known: Iterable[Kind]) -> list[Kind]:
    """Return the kinds, of those known, that a quota with these resources is about."""
    wanted = list(names)
    return [kind for kind in known if kind not in IGNORED and matching(kind, wanted)]


def recount(spec: Object, objects: Mapping[Kind, Iterable[Object]]) -> Amounts:
    """Return what all objects of a namespace take of a quota's resources."""
    hard, used = list(spec.get("hard") or ()), dict[str, Amount]()
    for kind, found in objects.items():
        names = matching(kind, hard)
        used = add(dict.fromkeys(names, ZERO), used)
        usage = measure(kind).usage
        for obj in found:
            if in_scopes(kind, spec, obj):
                taken = usage(obj)
                used = add(used, {name: taken[name] for name in names if name in taken})
    return used


def missing(pod: Object, names: Iterable[str]) -> str:
    """Return what the containers of a pod must say because a quota counts it, or ""."""
    wanted = sorted(MUST_ASK.intersection(names))
    if not wanted or (pod["spec"].get("resources") or {}).get("requests") or (pod["spec"].get("resources") or {}).get("limits"):
        return ""
    silent: dict[str, set[str]] = {}
    for container in [*(pod["spec"].get("containers") or ()), *(pod["spec"].get("initContainers") or ())]:
        resources = container.get("resources") or {}
        given = _compute(amounts(resources.get("requests")), amounts(resources.get("limits")))
        for name in wanted:
            if name not in given:
                silent.setdefault(name, set()).add(container["name"])
    listed = [f"{name} for: {','.join(sorted(containers))}" for name, containers in sorted(silent.items())]
    return f"must specify {'; '.join(listed)}" if listed else ""


def is_terminating(pod: Object) -> bool:
    """Whether a pod has a deadline: what the scopes Terminating and NotTerminating mean."""
    deadline = pod["spec"].get("activeDeadlineSeconds")
    return deadline is not None and deadline >= 0


def _pod(pod: Object) -> Amounts:
    counted = {"count/pods": ONE}
    if pod.get("status", {}).get("phase") in ("Failed", "Succeeded") or _is_overdue(pod["metadata"]):
        return counted
    requests, limits = (pod_total(pod, field, overhead=True, actual=True) for field in ("requests", "limits"))
    return counted | {"pods": ONE} | _compute(requests, limits)


def _is_overdue(metadata: Object) -> bool:
    """Whether a pod should be gone: one that hangs on a lost node does not keep others from being made."""
    grace, marked = metadata.get("deletionGracePeriodSeconds"), metadata.get("deletionTimestamp")
    if not marked or grace is None:
        return False
    end = datetime.datetime.fromisoformat(marked) + datetime.timedelta(seconds=grace)
    return datetime.datetime.now(datetime.UTC) > end


def _compute(requests: Amounts, limits: Amounts) -> Amounts:
    found: Amounts = {}
    for name, value in requests.items():
        if name in COMPUTE or name.startswith("hugepages-"):
            found |= {name: value, f"requests.{name}": value}
        elif _is_extended(name):
            found[f"requests.{name}"] = value
    return found | {f"limits.{name}": limits[name] for name in COMPUTE if name in limits}


def _is_extended(name: str) -> bool:
    return "/" in name and "kubernetes.io/" not in name


def _pod_name(name: str) -> bool:
    if name in POD_NAMES or name.startswith(("hugepages-", "requests.hugepages-")):
        return True
    return name.startswith("requests.") and _is_extended(name)


def _pod_in_scope(condition: Object, pod: Object) -> bool:
    spec, name = pod["spec"], condition["scopeName"]
    match name:
        case "Terminating":
            return is_terminating(pod)
        case "NotTerminating":
            return not is_terminating(pod)
        case "BestEffort":
            return qos_class(pod) == "BestEffort"
        case "NotBestEffort":
            return qos_class(pod) != "BestEffort"
        case "PriorityClass":
            given = spec.get("priorityClassName")
            return _selected(condition, [given] if given else [])
        case "CrossNamespacePodAffinity":
            return _crosses_namespaces(spec.get("affinity") or {})
    return False


def _selected(condition: Object, values: list[str]) -> bool:
    if condition["operator"] == "Exists":
        return bool(values)
    key = condition["scopeName"]
    selector = LabelSelector((Requirement(key, condition["operator"], frozenset(condition.get("values") or ())),))
    return any(selector.matches({key: value}) for value in values) if values else selector.matches({})


def _crosses_namespaces(affinity: Object) -> bool:
    for kind in ("podAffinity", "podAntiAffinity"):
        given = affinity.get(kind) or {}
        terms = [*(given.get("requiredDuringSchedulingIgnoredDuringExecution") or ())]
        terms += [t.get("podAffinityTerm") or {} for t in given.get("preferredDuringSchedulingIgnoredDuringExecution") or ()]
        if any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in terms):
            return True
    return False


def _service(service: Object) -> Amounts:
    spec = service["spec"]
    ports, kind = spec.get("ports") or (), spec.get("type")
    opened = len(ports) if kind in ("NodePort", "LoadBalancer") else 0
    if kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is False:
        opened = sum(1 for port in ports if port.get("nodePort"))
    balancers = ONE if kind == "LoadBalancer" else ZERO
    counts = {"services.loadbalancers": balancers, "services.nodeports": Amount(Fraction(opened))}
    return {"count/services": ONE, "services": ONE, **counts}


def _claim(claim: Object) -> Amounts:
    found = {"persistentvolumeclaims": ONE, "count/persistentvolumeclaims": ONE}
    asked = ((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage")
    if asked is not None:
        held = ((claim.get("status") or {}).get("allocatedResources") or {}).get("storage")
        wanted = [amount(text) for text in (asked, held) if text is not None]
        most = max(wanted, key=lambda a: a.value)
        found["requests.storage"] = Amount(Fraction(-(-most.value.numerator // most.value.denominator)), most.binary)
    annotated = (claim["metadata"].get("annotations") or {}).get("volume.beta.kubernetes.io/storage-class")
    storage_class = annotated or claim["spec"].get("storageClassName")
    if storage_class:
        by_class = ("persistentvolumeclaims", "requests.storage")
        found |= {f"{storage_class}{BY_CLASS}{name}": found[name] for name in by_class if name in found}
    return found


def _claim_name(name: str) -> bool:
    known = ("persistentvolumeclaims", "requests.storage")
    return name == "count/persistentvolumeclaims" or name in known or name.endswith(tuple(f"{BY_CLASS}{n}" for n in known))


def _claim_in_scope(condition: Object, claim: Object) -> bool:
    if condition["scopeName"] != "VolumeAttributesClass":
        return False
    status = claim.get("status") or {}
    names = [claim["spec"].get("volumeAttributesClassName"), status.get("currentVolumeAttributesClassName")]
    names.append((status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName"))
    return _selected(condition, [name for name in dict.fromkeys(names) if name])


def _devices(claim: Object) -> Amounts:
    found = {count_name(("resource.k8s.io", "resourceclaims")): ONE}
    for request in ((claim.get("spec") or {}).get("devices") or {}).get("requests") or ():
        choices = request.get("firstAvailable") or ([request["exactly"]] if request.get("exactly") else [])
        most: Amounts = {}
        for choice in choices:
            number = ALL_DEVICES if choice.get("allocationMode") == "All" else choice.get("count", 0)
            most = greater(most, {f"{choice['deviceClassName']}{BY_DEVICE}": Amount(Fraction(number))})
        found = add(found, most)
    return found


def _counting(kind: Kind) -> Measure:
    group, plural = kind
    names = {count_name(kind)} | ({plural} if not group and plural in ALIASES else set())
    return Measure(names.__contains__, lambda obj: dict.fromkeys(names, ONE), _never)


def _never(condition: Object, obj: Object) -> bool:
    return False


_SERVICES = frozenset({"count/services", "services", "services.loadbalancers", "services.nodeports"})
_DEVICES = count_name(("resource.k8s.io", "resourceclaims"))
_MEASURES: dict[Kind, Measure] = {
    ("", "pods"): Measure(_pod_name, _pod, _pod_in_scope),
    ("", "services"): Measure(_SERVICES.__contains__, _service, _never, updates=True),
    ("", "persistentvolumeclaims"): Measure(_claim_name, _claim, _claim_in_scope, updates=True),
    ("resource.k8s.io", "resourceclaims"): Measure(lambda n: n == _DEVICES or n.endswith(BY_DEVICE), _devices, _never, updates=True),
}
