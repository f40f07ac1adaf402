"""Rules of what steers others: disruption budgets, leases and runtime classes."""

from __future__ import annotations

from moorings_core.ports.objects import Object

from . import declared, names
from .amounts import resources
from .conditions import conditions
from .errors import FieldError, Path, duplicate, invalid, not_supported, required
from .formats import named, qualified
from .placement import label_selector, tolerations
from .workloads import count_or_share, no_more_than_all

SPEC = Path("spec")
IMMUTABLE = "field is immutable"


EVICTION = ("AlwaysAllow", "IfHealthyBudget")
_BUDGET = (("MinAvailable", "minAvailable"), ("Selector", "selector"), ("MaxUnavailable", "maxUnavailable"))


def _disruption_budget(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    fields, policy = ("minAvailable", "maxUnavailable"), spec.get("unhealthyPodEvictionPolicy")
    found: list[FieldError] = []
    if all(spec.get(field) is not None for field in fields):
        shown = {name: spec.get(field) for name, field in _BUDGET} | {"UnhealthyPodEvictionPolicy": policy}
        found.append(invalid(SPEC, shown, "minAvailable and maxUnavailable cannot be both set"))
    found += [e for f in fields for rule in (count_or_share, no_more_than_all) for e in rule(spec.get(f), SPEC / f)]
    found += label_selector(spec.get("selector"), SPEC / "selector")
    if policy not in (None, *EVICTION):
        found.append(not_supported(SPEC / "unhealthyPodEvictionPolicy", policy, EVICTION))
    return found


def _budget_status(new: Object, old: Object) -> list[FieldError]:
    status, path = new.get("status") or {}, Path("status")
    found = conditions(status.get("conditions"), path / "conditions")
    counts = ((field, status.get(field) or 0) for field in ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"))
    return found + [invalid(path / field, count, "must be greater than or equal to 0") for field, count in counts if count < 0]


def _lease(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    found: list[FieldError] = []
    seconds, changes = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if seconds is not None and seconds <= 0:
        found.append(invalid(SPEC / "leaseDurationSeconds", seconds, "must be greater than 0"))
    if changes is not None and changes < 0:
        found.append(invalid(SPEC / "leaseTransitions", changes, "must be greater than or equal to 0"))
    return found


def _runtime_class(obj: Object) -> list[FieldError]:
    handler, scheduling = obj.get("handler") or "", obj.get("scheduling") or {}
    overhead, found = (obj.get("overhead") or {}).get("podFixed"), list[FieldError]()
    if overhead:
        found += resources({"limits": overhead}, Path("overhead"))
    for key, value in (scheduling.get("nodeSelector") or {}).items():
        found += [*qualified(key, _NODES), *named(value, _NODES, names.label_value)]
    given, path = scheduling.get("tolerations") or (), Path("scheduling.tolerations")
    found += tolerations(given, path)
    keys = [tuple(each.get(field, "") for field in ("key", "operator", "value", "effect")) for each in given]
    found += [duplicate(path.at(i), _toleration_shown(each)) for i, each in enumerate(given) if keys[i] in keys[:i]]
    return found + declared.late(declared.short_name(handler, Path("handler")) if handler else [required("handler")])


_NODES = Path("scheduling.nodeSelector")
_TOLERATION = ("key", "operator", "value", "effect")


def _toleration_shown(given: Object) -> Object:
    """Return a toleration as upstream shows it: under the names of its own structure."""
    return {field.capitalize(): given.get(field, "") for field in _TOLERATION} | {"TolerationSeconds": given.get("tolerationSeconds")}


def _runtime_class_update(new: Object, old: Object) -> list[FieldError]:
    return [] if new.get("handler") == old.get("handler") else declared.late([invalid("handler", None, IMMUTABLE)])


CREATE = {
    ("policy", "poddisruptionbudgets"): _disruption_budget,
    ("coordination.k8s.io", "leases"): _lease,
    ("node.k8s.io", "runtimeclasses"): _runtime_class,
}
UPDATE = {
    ("node.k8s.io", "runtimeclasses"): _runtime_class_update,
}
STATUS = {("policy", "poddisruptionbudgets"): _budget_status}
