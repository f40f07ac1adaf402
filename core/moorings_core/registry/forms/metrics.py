"""An autoscaler's metrics: as fields of autoscaling/v2, and as version 1 has them in annotations.

What upstream's structures always write stands there with the zero of its type; the order of fields is that of the structures.
"""

from __future__ import annotations

from collections.abc import Callable

from moorings_core.ports.objects import Object

SOURCES = ("object", "pods", "resource", "containerResource", "external")
ZERO = "0"
Convert = Callable[[Object], Object]


def spec_to_first(metric: Object) -> Object:
    """Return a metric that is wanted as version 1 notes it."""
    return _each(metric, _WANTED_FIRST)


def spec_to_second(metric: Object) -> Object:
    """Return a metric that version 1 noted as version 2 has it."""
    return _each(metric, _WANTED_SECOND)


def status_to_first(metric: Object) -> Object:
    """Return a metric's value as version 1 notes it."""
    return _each(metric, _SEEN_FIRST)


def status_to_second(metric: Object) -> Object:
    """Return a metric's value that version 1 noted as version 2 has it."""
    return _each(metric, _SEEN_SECOND)


def _each(metric: Object, rules: dict[str, Convert]) -> Object:
    made: Object = {"type": metric.get("type", "")}
    return made | {source: rules[source](metric[source]) for source in SOURCES if isinstance(metric.get(source), dict)}


def _some(**fields: object) -> Object:
    """Return the fields that are said."""
    return {name: value for name, value in fields.items() if value is not None}


def _named(source: Object) -> tuple[str, Object | None]:
    metric = source.get("metric") or {}
    return metric.get("name", ""), metric.get("selector")


def _metric(name: str, selector: Object | None) -> Object:
    return {"name": name, **_some(selector=selector)}


def _target(source: Object) -> Object:
    """Return an object that is told of, in the order of its structure."""
    return {"kind": source.get("kind", ""), "name": source.get("name", ""), **_some(apiVersion=source.get("apiVersion") or None)}


def _object_first(value: str) -> Convert:
    inner = "target" if value == "targetValue" else "current"

    def convert(source: Object) -> Object:
        name, selector = _named(source)
        given = source.get(inner) or {}
        made = {"target": _target(source.get("describedObject") or {}), "metricName": name, value: given.get("value", ZERO)}
        return made | _some(selector=selector, averageValue=given.get("averageValue"))

    return convert


def _object_wanted(source: Object) -> Object:
    value, average = source.get("targetValue", ZERO), source.get("averageValue")
    kept = value if average is None or value != ZERO else None  # a version that cannot leave a value out writes 0
    target = {"type": "Value" if average is None else "AverageValue", **_some(value=kept, averageValue=average)}
    return _object_second(source, {"target": target})


def _object_seen(source: Object) -> Object:
    current = {"value": source.get("currentValue", ZERO), **_some(averageValue=source.get("averageValue"))}
    return _object_second(source, {"current": current})


def _object_second(source: Object, value: Object) -> Object:
    metric = _metric(source.get("metricName", ""), source.get("selector"))
    return {"describedObject": _target(source.get("target") or {}), **value, "metric": metric}


def _pods_first(field: str) -> Convert:
    inner = "target" if field == "targetAverageValue" else "current"

    def convert(source: Object) -> Object:
        name, selector = _named(source)
        return {"metricName": name, field: (source.get(inner) or {}).get("averageValue", ZERO), **_some(selector=selector)}

    return convert


def _pods_second(field: str) -> Convert:
    def convert(source: Object) -> Object:
        metric, value = _metric(source.get("metricName", ""), source.get("selector")), {"averageValue": source.get(field, ZERO)}
        if field == "targetAverageValue":
            return {"metric": metric, "target": {"type": "AverageValue", **value}}
        return {"metric": metric, "current": value}

    return convert


def _resource_wanted_first(source: Object) -> Object:
    given = source.get("target") or {}
    made = _some(targetAverageUtilization=given.get("averageUtilization"), targetAverageValue=given.get("averageValue"))
    return {"name": source.get("name", ""), **made, **_some(container=source.get("container"))}


def _resource_wanted(source: Object) -> Object:
    utilization, value = source.get("targetAverageUtilization"), source.get("targetAverageValue")
    kind = "AverageValue" if utilization is None else "Utilization"
    target = {"type": kind, **_some(averageValue=value, averageUtilization=utilization)}
    return {"name": source.get("name", ""), "target": target, **_some(container=source.get("container"))}


def _resource_seen_first(source: Object) -> Object:
    given = source.get("current") or {}
    made = {"name": source.get("name", ""), **_some(currentAverageUtilization=given.get("averageUtilization"))}
    return {**made, "currentAverageValue": given.get("averageValue", ZERO), **_some(container=source.get("container"))}


def _resource_seen(source: Object) -> Object:
    value, utilization = source.get("currentAverageValue", ZERO), source.get("currentAverageUtilization")
    current = {"averageValue": value, **_some(averageUtilization=utilization)}
    return {"name": source.get("name", ""), "current": current, **_some(container=source.get("container"))}


def _external_wanted_first(source: Object) -> Object:
    name, selector = _named(source)
    given = source.get("target") or {}
    more = _some(metricSelector=selector, targetValue=given.get("value"), targetAverageValue=given.get("averageValue"))
    return {"metricName": name, **more}


def _external_wanted(source: Object) -> Object:
    value, average = source.get("targetValue"), source.get("targetAverageValue")
    target = {"type": "AverageValue" if value is None else "Value", **_some(value=value, averageValue=average)}
    return {"metric": _metric(source.get("metricName", ""), source.get("metricSelector")), "target": target}


def _external_seen_first(source: Object) -> Object:
    name, selector = _named(source)
    given = source.get("current") or {}
    made = {"metricName": name, **_some(metricSelector=selector), "currentValue": given.get("value", ZERO)}
    return made | _some(currentAverageValue=given.get("averageValue"))


def _external_seen(source: Object) -> Object:
    current = {"value": source.get("currentValue", ZERO), **_some(averageValue=source.get("currentAverageValue"))}
    return {"metric": _metric(source.get("metricName", ""), source.get("metricSelector")), "current": current}


_WANTED_FIRST: dict[str, Convert] = {
    "object": _object_first("targetValue"),
    "pods": _pods_first("targetAverageValue"),
    "resource": _resource_wanted_first,
    "containerResource": _resource_wanted_first,
    "external": _external_wanted_first,
}
_WANTED_SECOND: dict[str, Convert] = {
    "object": _object_wanted,
    "pods": _pods_second("targetAverageValue"),
    "resource": _resource_wanted,
    "containerResource": _resource_wanted,
    "external": _external_wanted,
}
_SEEN_FIRST: dict[str, Convert] = {
    "object": _object_first("currentValue"),
    "pods": _pods_first("currentAverageValue"),
    "resource": _resource_seen_first,
    "containerResource": _resource_seen_first,
    "external": _external_seen_first,
}
_SEEN_SECOND: dict[str, Convert] = {
    "object": _object_seen,
    "pods": _pods_second("currentAverageValue"),
    "resource": _resource_seen,
    "containerResource": _resource_seen,
    "external": _external_seen,
}
