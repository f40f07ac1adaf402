"""Rules of HorizontalPodAutoscalers. Source: upstream's pkg/apis/autoscaling/validation, and what it declares on the types."""

from __future__ import annotations

from collections.abc import Callable

from moorings_core.ports.objects import Object
from moorings_core.registry.forms.autoscalers import FIRST, to_second
from moorings_core.registry.quantity import parse

from . import names
from .amounts import not_negative
from .errors import FieldError, Path, forbidden, invalid, not_supported, required
from .formats import named, needed
from .resource_names import container_resource

SPEC = Path("spec")
WINDOW_MOST, PERIOD_MOST = 3600, 1800
SELECTIONS, POLICIES = ("Disabled", "Max", "Min"), ("Percent", "Pods")
SOURCES = ("ContainerResource", "External", "Object", "Pods", "Resource")
TARGETS = ("Utilization", "Value", "AverageValue")
WHOLE = "must populate information for the given metric source"


def _autoscaler(obj: Object) -> list[FieldError]:
    """Return what is wrong with an autoscaler, as one of the version that is kept."""
    if obj.get("apiVersion") == FIRST.api_version:
        obj = to_second(obj)
    spec = obj.get("spec") or {}
    least, most = spec.get("minReplicas"), spec.get("maxReplicas", 0)
    found: list[FieldError] = []
    if least is not None and most < least:
        found.append(invalid(SPEC / "maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    found += _target(spec.get("scaleTargetRef") or {}, SPEC / "scaleTargetRef")
    for i, metric in enumerate(spec.get("metrics") or ()):
        found += _metric(metric, (SPEC / "metrics").at(i))
    if least == 0 and not any(metric.get("type") in ("Object", "External") for metric in spec.get("metrics") or ()):
        text = "must specify at least one Object or External metric to support scaling to zero replicas"
        found.append(forbidden(SPEC / "metrics", text))
    for way in ("scaleUp", "scaleDown"):
        rules = (spec.get("behavior") or {}).get(way)
        found += _rules(rules, SPEC / "behavior" / way) if rules is not None else []
    return found + _declared(least, most)


def _declared(least: int | None, most: int) -> list[FieldError]:
    text = "must be greater than or equal to"
    found = [invalid(SPEC / "minReplicas", least, f"{text} 0")] if least is not None and least < 0 else []
    if not most:
        found.append(required(SPEC / "maxReplicas"))
    return found + ([invalid(SPEC / "maxReplicas", most, f"{text} 1")] if most < 0 else [])


def _target(reference: Object, path: Path) -> list[FieldError]:
    found = [error for field in ("kind", "name") for error in needed(reference.get(field), path / field, names.path_segment)]
    version = reference.get("apiVersion", "")
    if version.count("/") > 1:
        return [*found, invalid(path / "apiVersion", version, f"unexpected GroupVersion string: {version}")]
    group = version.partition("/")[0] if "/" in version else ""
    return found if group else [*found, invalid(path / "apiVersion", version, "apiVersion must specify API group")]


def _rules(rules: Object, path: Path) -> list[FieldError]:
    window, choice, where = rules.get("stabilizationWindowSeconds"), rules.get("selectPolicy"), path / "stabilizationWindowSeconds"
    found: list[FieldError] = []
    if window is not None and window < 0:
        found.append(invalid(where, window, "must be greater than or equal to zero"))
    if window is not None and window > WINDOW_MOST:
        found.append(invalid(where, window, f"must be less than or equal to {WINDOW_MOST}"))
    if choice not in (None, *SELECTIONS):
        found.append(not_supported(path / "selectPolicy", choice, SELECTIONS))
    if not rules.get("policies"):
        found.append(required(path / "policies", "must specify at least one Policy"))
    for i, policy in enumerate(rules.get("policies") or ()):
        found += _policy(policy, (path / "policies").at(i))
    return found + (not_negative(rules["tolerance"], path / "tolerance") if rules.get("tolerance") is not None else [])


def _policy(policy: Object, path: Path) -> list[FieldError]:
    kind = policy.get("type", "")
    found = [] if kind in POLICIES else [not_supported(path / "type", kind, POLICIES)]
    for field in ("value", "periodSeconds"):
        if policy.get(field, 0) <= 0:
            found.append(invalid(path / field, policy.get(field, 0), "must be greater than zero"))
    if policy.get("periodSeconds", 0) > PERIOD_MOST:
        found.append(invalid(path / "periodSeconds", policy["periodSeconds"], f"must be less than or equal to {PERIOD_MOST}"))
    return found


def _metric(metric: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with a metric: its source is of its type, and alone; of several the first is looked at."""
    kind = metric.get("type", "")
    unknown = [] if kind in SOURCES else [not_supported(path / "type", kind, SOURCES)]
    found = ([] if kind else [required(path / "type", "must specify a metric source type")]) + unknown
    there = [field for field in METRICS if metric.get(field) is not None]
    if there:
        found += METRICS[there[0]](metric[there[0]], path / there[0])
    own = kind[:1].lower() + kind[1:]
    if kind in SOURCES and own not in there:
        found.append(required(path / own, WHOLE))
    found += unknown
    if len(there) == 1:
        return found
    return found + [forbidden(path / field, "must populate the given metric source only") for field in there if field != own]


def _identified(source: Object, path: Path) -> list[FieldError]:
    name, where = (source.get("metric") or {}).get("name", ""), path / "metric" / "name"
    found = named(name, where, names.path_segment) if name else [required(where, "must specify a metric name")]
    return found + _amount(source.get("target") or {}, path / "target")


def _amount(target: Object, path: Path) -> list[FieldError]:
    kind, share = target.get("type", ""), target.get("averageUtilization")
    found = [] if kind else [required(path / "type", "must specify a metric target type")]
    if kind not in TARGETS:
        found.append(invalid(path / "type", kind, "must be either Utilization, Value, or AverageValue"))
    for field in ("value", "averageValue"):
        if target.get(field) is not None and parse(str(target[field])) <= 0:
            found.append(invalid(path / field, str(target[field]), "must be positive"))
    return found + ([invalid(path / "averageUtilization", share, "must be greater than 0")] if share is not None and share < 1 else [])


def _lacks(source: Object, *fields: str) -> bool:
    return all((source.get("target") or {}).get(field) is None for field in fields)


def _has(source: Object, *fields: str) -> bool:
    return all((source.get("target") or {}).get(field) is not None for field in fields)


def _object(source: Object, path: Path) -> list[FieldError]:
    described, where = source.get("describedObject") or {}, path / "describedObject"
    found = [error for field in ("kind", "name") for error in needed(described.get(field), where / field, names.path_segment)]
    found += _identified(source, path)
    if _lacks(source, "value", "averageValue"):
        found.append(required(path / "target" / "averageValue", "must set either a target value or averageValue"))
    return found


def _external(source: Object, path: Path) -> list[FieldError]:
    found, where = _identified(source, path), path / "target"
    if _lacks(source, "value", "averageValue"):
        found.append(required(where / "averageValue", "must set either a target value for metric or a per-pod target"))
    if _has(source, "value", "averageValue"):
        found.append(forbidden(where / "value", "may not set both a target value for metric and a per-pod target"))
    return found


def _pods(source: Object, path: Path) -> list[FieldError]:
    found = _identified(source, path)
    if _lacks(source, "averageValue"):
        found.append(required(path / "target" / "averageValue", "must specify a positive target averageValue"))
    return found


def _resource(source: Object, path: Path) -> list[FieldError]:
    found = [] if source.get("name") else [required(path / "name", "must specify a resource name")]
    return found + _used(source, path)


def _container(source: Object, path: Path) -> list[FieldError]:
    name, container = source.get("name", ""), source.get("container", "")
    found = container_resource(name, path / "name") if name else [required(path / "name", "must specify a resource name")]
    where = path / "container"
    found += named(container, where, names.label) if container else [required(where, "must specify a container")]
    return found + _used(source, path)


def _used(source: Object, path: Path) -> list[FieldError]:
    found, where = _amount(source.get("target") or {}, path / "target"), path / "target"
    if _lacks(source, "averageUtilization", "averageValue"):
        found.append(required(where / "averageUtilization", "must set either a target raw value or a target utilization"))
    if _has(source, "averageUtilization", "averageValue"):
        found.append(forbidden(where / "averageValue", "may not set both a target raw value and a target utilization"))
    return found


METRICS: dict[str, Callable[[Object, Path], list[FieldError]]] = {
    "object": _object,
    "external": _external,
    "pods": _pods,
    "resource": _resource,
    "containerResource": _container,
}
CREATE = {("autoscaling", "horizontalpodautoscalers"): _autoscaler}
