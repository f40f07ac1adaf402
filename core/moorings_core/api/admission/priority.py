"""Priority: a pod's class as a number, and one default class at most."""

from __future__ import annotations

from moorings_core.ports.objects import Key, Object

from .attributes import Attributes
from .plugin import Step, World


def resolve(world: World, a: Attributes) -> None:
    """Give a new pod the number and the preemption policy of its class. Raises Forbidden."""
    spec = a.new["spec"]
    chosen = _chosen(world, a, spec.get("priorityClassName") or "")
    if chosen is not None:
        spec["priorityClassName"] = chosen["metadata"]["name"]
    value = chosen["value"] if chosen else 0
    policy = chosen.get("preemptionPolicy", "PreemptLowerPriority") if chosen else "PreemptLowerPriority"
    computed = "must not be provided in pod spec; priority admission controller computed"
    if spec.get("priority", value) != value:
        raise a.forbidden(f"the integer value of priority ({spec['priority']}) {computed} {value} from the given PriorityClass name")
    if spec.get("preemptionPolicy", policy) != policy:
        text = f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) {computed} {policy} from the given PriorityClass name"
        raise a.forbidden(text)
    spec["priority"], spec["preemptionPolicy"] = value, policy


def keep(world: World, a: Attributes) -> None:
    """Put back what an update left out."""
    spec, old = a.new["spec"], (a.old or {}).get("spec", {})
    for field in ("priority", "preemptionPolicy"):
        if spec.get(field) is None and old.get(field) is not None:
            spec[field] = old[field]


def one_default(world: World, a: Attributes) -> None:
    """Refuse a second class that is the default of all pods."""
    default = _default(world) if a.new.get("globalDefault") else None
    if default is not None and (a.operation == "CREATE" or default["metadata"]["name"] != a.key.name):
        raise a.forbidden(f"PriorityClass {default['metadata']['name']} is already marked as default. Only one default can exist")


def _chosen(world: World, a: Attributes, name: str) -> Object | None:
    if not name:
        return _default(world)
    found = world.cache.collection("scheduling.k8s.io", "priorityclasses").get(Key("", name))
    if found is None:
        raise a.forbidden(f"no PriorityClass with name {name} was found")
    return found.object


def _default(world: World) -> Object | None:
    classes = world.cache.collection("scheduling.k8s.io", "priorityclasses").select()
    return min((s.object for s in classes if s.object.get("globalDefault")), key=lambda c: c["value"], default=None)


MUTATE = (Step(resolve, ("CREATE",), ("", "pods")), Step(keep, ("UPDATE",), ("", "pods")))
VALIDATE = (Step(one_default, ("CREATE", "UPDATE"), ("scheduling.k8s.io", "priorityclasses")),)
