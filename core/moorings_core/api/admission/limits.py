"""LimitRanger: what containers, pods and claims of a namespace take by default, at least and at most.

Source: upstream's plugin LimitRanger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from moorings_core.ports.objects import Object
from moorings_core.registry.amounts import ZERO, Amount, Amounts, amounts, pod_total

from .attributes import Attributes
from .plugin import Step, World

ANNOTATION = "kubernetes.io/limit-ranger"
Rule = Callable[[str, str, Amount, Amounts, Amounts], str]


def fill_in(world: World, a: Attributes) -> None:
    """Give containers the defaults of the namespace."""
    for limit_range in _ranges(world, a):
        defaults: dict[str, dict[str, str]] = {"limits": {}, "requests": {}}
        for limit in limit_range["spec"].get("limits") or ():
            if limit.get("type") == "Container":
                defaults["limits"] |= limit.get("default") or {}
                defaults["requests"] |= limit.get("defaultRequest") or {}
        _apply(a.new, defaults)


def check(world: World, a: Attributes) -> None:
    """Refuse what takes less or more than the namespace allows. Raises Forbidden."""
    if a.old is not None and "deletionTimestamp" in a.old["metadata"]:
        return
    for limit_range in _ranges(world, a):
        problems = list(dict.fromkeys(_problems(limit_range, a.new)))
        if problems:
            raise a.forbidden(problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]")


def _ranges(world: World, a: Attributes) -> Iterator[Object]:
    found = world.cache.collection("", "limitranges")
    if found.items:
        yield from (s.object for s in found.select(a.key.namespace))


def _apply(pod: Object, defaults: Mapping[str, Mapping[str, str]]) -> None:
    said: list[str] = []
    for field, word in (("containers", "container"), ("initContainers", "init container")):
        for container in pod["spec"].get(field) or ():
            for kind in ("requests", "limits"):
                given = (container.get("resources") or {}).get(kind) or {}
                added = {k: v for k, v in defaults[kind].items() if k not in given}
                if added:
                    container["resources"] = {**(container.get("resources") or {}), kind: {**given, **added}}
                    said.append(f"{', '.join(sorted(added))} {kind.removesuffix('s')} for {word} {container['name']}")
    if said:
        metadata = pod["metadata"]
        metadata["annotations"] = {**(metadata.get("annotations") or {}), ANNOTATION: f"LimitRanger plugin set: {'; '.join(said)}"}


def _problems(limit_range: Object, obj: Object) -> Iterator[str]:
    for limit in limit_range["spec"].get("limits") or ():
        for requests, limits in _measured(limit["type"], obj):
            rules: tuple[tuple[str, Rule], ...] = (("min", _too_little), ("max", _too_much), ("maxLimitRequestRatio", _too_wide))
            if limit["type"] == "PersistentVolumeClaim":
                rules = (("min", _too_little), ("max", _too_much_asked))
            for field, rule in rules:
                for name, bound in sorted(amounts(limit.get(field)).items()):
                    if problem := rule(limit["type"], name, bound, requests, limits):
                        yield problem


def _measured(kind: str, obj: Object) -> Iterator[tuple[Amounts, Amounts]]:
    """Yield (requests, limits) of everything in an object that a limit of this type measures."""
    spec = obj["spec"]
    if kind == "Container" and "containers" in spec:
        for container in [*spec["containers"], *(spec.get("initContainers") or ())]:
            resources = container.get("resources") or {}
            yield amounts(resources.get("requests")), amounts(resources.get("limits"))
    elif kind == "Pod" and "containers" in spec:
        yield pod_total(obj, "requests"), pod_total(obj, "limits")
    elif kind == "PersistentVolumeClaim" and "containers" not in spec:
        yield amounts((spec.get("resources") or {}).get("requests")), {}


def _too_little(kind: str, name: str, bound: Amount, requests: Amounts, limits: Amounts) -> str:
    head = f"minimum {name} usage per {kind} is {bound}"
    if name not in requests:
        return f"{head}.  No request is specified"
    if requests[name].value < bound.value:
        return f"{head}, but request is {requests[name]}"
    return f"{head}, but limit is {limits[name]}" if name in limits and limits[name].value < bound.value else ""


def _too_much(kind: str, name: str, bound: Amount, requests: Amounts, limits: Amounts) -> str:
    head = f"maximum {name} usage per {kind} is {bound}"
    if name not in limits:
        return f"{head}.  No limit is specified"
    if limits[name].value > bound.value:
        return f"{head}, but limit is {limits[name]}"
    return f"{head}, but request is {requests[name]}" if name in requests and requests[name].value > bound.value else ""


def _too_much_asked(kind: str, name: str, bound: Amount, requests: Amounts, limits: Amounts) -> str:
    head = f"maximum {name} usage per {kind} is {bound}"
    if name not in requests:
        return f"{head}.  No request is specified"
    return f"{head}, but request is {requests[name]}" if requests[name].value > bound.value else ""


def _too_wide(kind: str, name: str, bound: Amount, requests: Amounts, limits: Amounts) -> str:
    head = f"{name} max limit to request ratio per {kind} is {bound}"
    request, limit = requests.get(name, ZERO).value, limits.get(name, ZERO).value
    if not request:
        return f"{head}, but no request is specified or request is 0"
    if not limit:
        return f"{head}, but no limit is specified or limit is 0"
    return f"{head}, but provided ratio is {float(limit / request):.6f}" if limit / request > bound.value else ""


PODS, CLAIMS = ("", "pods"), ("", "persistentvolumeclaims")
MUTATE = (Step(fill_in, ("CREATE",), PODS),)
VALIDATE = (
    Step(check, ("CREATE",), PODS),
    Step(check, ("UPDATE",), PODS, ("resize",)),
    Step(check, ("CREATE", "UPDATE"), CLAIMS),
)
