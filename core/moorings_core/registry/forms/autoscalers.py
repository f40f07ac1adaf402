"""HorizontalPodAutoscalers of autoscaling/v2, which are kept, and of v1: it knows one metric, and the rest are annotations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from moorings_core.ports.objects import Object, Resource

from . import behavior, metrics
from .settled import settled

FIRST, SECOND = (Resource("autoscaling", version, "horizontalpodautoscalers", "HorizontalPodAutoscaler", True) for version in ("v1", "v2"))
PREFIX = "autoscaling.alpha.kubernetes.io/"
METRICS, CURRENT, CONDITIONS, BEHAVIOR = (PREFIX + name for name in ("metrics", "current-metrics", "conditions", "behavior"))
ANNOTATIONS = {METRICS, CURRENT, CONDITIONS, BEHAVIOR, PREFIX + "scale-down-tolerance", PREFIX + "scale-up-tolerance"}
DEFAULT_UTILIZATION = 80
_SPEC, _STATUS = (
    ("scaleTargetRef", "minReplicas", "maxReplicas"),
    ("observedGeneration", "lastScaleTime", "currentReplicas", "desiredReplicas"),
)


def from_second(scaler: Object) -> Object:
    """Return an autoscaler of version 2 as one of version 1."""
    spec, status = scaler.get("spec") or {}, scaler.get("status") or {}
    wanted = spec.get("metrics") or ()
    current, conditions = status.get("currentMetrics") or (), status.get("conditions") or ()
    noted: dict[str, Any] = {}
    if others := [metrics.spec_to_first(m) for m in wanted if _utilization(m) is None]:
        noted[METRICS] = others
    if current:
        noted[CURRENT] = [metrics.status_to_first(m) for m in current]
    if spec.get("behavior") is not None:
        noted[BEHAVIOR] = behavior.to_first(spec["behavior"])
    if conditions:
        noted[CONDITIONS] = [_condition(c) for c in conditions]
    made = _made(scaler, FIRST, {name: orjson.dumps(value).decode() for name, value in noted.items()})
    made["spec"] = {k: spec[k] for k in _SPEC if k in spec}
    if utilizations := [u for m in wanted if (u := _utilization(m)) is not None]:
        made["spec"]["targetCPUUtilizationPercentage"] = utilizations[0]
    made["status"] = {k: status[k] for k in _STATUS if k in status}
    for metric in current:
        about = metric.get("resource") or {}
        if metric.get("type") == "Resource" and about.get("name") == "cpu" and "averageUtilization" in (about.get("current") or {}):
            made["status"]["currentCPUUtilizationPercentage"] = about["current"]["averageUtilization"]
    return settled(made, FIRST)


def to_second(scaler: Object) -> Object:
    """Return an autoscaler of version 1 as one of version 2; annotations that are no JSON stand for nothing."""
    spec, status = scaler.get("spec") or {}, scaler.get("status") or {}
    annotations = scaler["metadata"].get("annotations") or {}
    made = _made(scaler, SECOND, {})
    percentage = spec.get("targetCPUUtilizationPercentage")
    own = [] if percentage is None else [_cpu(percentage)]
    wanted = [*(metrics.spec_to_second(m) for m in _objects(annotations, METRICS)), *own]
    made["spec"] = {**{k: spec[k] for k in _SPEC if k in spec}, "metrics": wanted or [_cpu(DEFAULT_UTILIZATION)]}
    if rules := behavior.to_second(_object(annotations, BEHAVIOR)):
        made["spec"]["behavior"] = rules
    made["status"] = {k: status[k] for k in _STATUS if k in status}
    now = status.get("currentCPUUtilizationPercentage")
    current = [] if now is None else [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": now}}}]
    if current := [metrics.status_to_second(m) for m in _objects(annotations, CURRENT)] or current:
        made["status"]["currentMetrics"] = current
    if conditions := [_condition(c) for c in _objects(annotations, CONDITIONS)]:
        made["status"]["conditions"] = conditions
    return settled(made, SECOND)


def _made(scaler: Object, resource: Resource, noted: dict[str, str]) -> Object:
    metadata = dict(scaler["metadata"])
    annotations = {k: v for k, v in (metadata.pop("annotations", None) or {}).items() if k not in ANNOTATIONS} | noted
    if annotations:
        metadata["annotations"] = annotations
    return {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}


def _utilization(metric: Object) -> int | None:
    """Return what version 1 can say of a metric: the utilization of CPU that is wanted."""
    about = metric.get("resource") or {}
    if metric.get("type") != "Resource" or about.get("name") != "cpu":
        return None
    found: int | None = (about.get("target") or {}).get("averageUtilization")
    return found


def _cpu(percentage: int) -> Object:
    return {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percentage}}}


def _condition(condition: Object) -> Object:
    made: Object = {k: condition[k] for k in ("type", "status") if k in condition}
    made["lastTransitionTime"] = condition.get("lastTransitionTime")
    return made | {k: condition[k] for k in ("reason", "message", "observedGeneration") if condition.get(k)}


def _objects(annotations: Object, name: str) -> Iterator[Object]:
    try:
        found = orjson.loads(annotations.get(name) or "null")
    except ValueError:
        return
    if isinstance(found, list):
        yield from (item for item in found if isinstance(item, dict))


def _object(annotations: Object, name: str) -> Object:
    try:
        found = orjson.loads(annotations.get(name) or "null")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
