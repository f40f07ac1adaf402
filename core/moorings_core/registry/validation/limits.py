"""Rules of LimitRanges and ResourceQuotas. Source: upstream's ValidateLimitRange, ValidateResourceQuotaSpec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from moorings_core.ports.objects import Object
from moorings_core.registry.quantity import parse

from . import names
from .errors import FieldError, Path, duplicate, forbidden, invalid, required
from .resource_names import amounts, container_resource, is_of_quotas, may_be_overcommitted, quota_resource, resource

LIMITS, SPEC = Path("spec.limits"), Path("spec")
TYPES = ("Pod", "Container", "PersistentVolumeClaim")
BOUNDS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")
RATIO = "maxLimitRequestRatio"
OF_PODS = ("pods", "cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory")
OF_CLAIMS = ("persistentvolumeclaims", "requests.storage")
SCOPES: Mapping[str, Sequence[str]] = {
    "Terminating": OF_PODS,
    "NotTerminating": OF_PODS,
    "BestEffort": ("pods",),
    "NotBestEffort": OF_PODS,
    "PriorityClass": OF_PODS,
    "CrossNamespacePodAffinity": OF_PODS,
    "VolumeAttributesClass": OF_CLAIMS,
}
"""Scopes of quotas, each with what they can narrow"""
PRESENT = ("BestEffort", "NotBestEffort", "Terminating", "NotTerminating", "CrossNamespacePodAffinity")
EXCLUSIVE = ({"BestEffort", "NotBestEffort"}, {"Terminating", "NotTerminating"})
EXISTS_WORDS = (
    "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
    "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
)
Amounts = Mapping[str, Mapping[str, str]]


def _limit_range(obj: Object) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for i, limit in enumerate((obj.get("spec") or {}).get("limits") or ()):
        path, kind = LIMITS.at(i), limit.get("type", "")
        found += _type(kind, path / "type")
        if kind in seen:
            found.append(duplicate(path / "type", kind))
        seen.add(kind)
        found += _limit(limit, kind, path)
    return found


def _type(kind: str, path: Path) -> list[FieldError]:
    found = [invalid(path, kind, complaint) for complaint in names.label_key_complaints(kind)]
    if not found and "/" not in kind and kind not in TYPES:
        found.append(invalid(path, kind, "must be a standard limit type or fully qualified"))
    return found


def _limit(limit: Object, kind: str, path: Path) -> list[FieldError]:
    rule = container_resource if kind in ("Pod", "Container") else resource
    given: dict[str, Mapping[str, str]] = {bound: limit.get(bound) or {} for bound in BOUNDS}
    found = [error for bound in ("max", "min") for name in given[bound] for error in rule(name, (path / bound).at(name))]
    for bound in ("default", "defaultRequest"):
        if kind == "Pod" and given[bound]:
            found.append(forbidden(path / bound, "may not be specified when `type` is 'Pod'"))
            given[bound] = {}
        found += [error for name in given[bound] for error in rule(name, (path / bound).at(name))]
    if kind == "PersistentVolumeClaim" and not any("storage" in given[bound] for bound in ("min", "max")):
        text = "either minimum or maximum storage value is required, but neither was provided"
        found.append(required(path / "limits", text))
    found += [error for name in given[RATIO] for error in rule(name, (path / RATIO).at(name))]
    every = dict.fromkeys(name for bound in given.values() for name in bound)
    return found + [error for name in every for error in _order(name, given, path)]


_ORDER = (
    ("min", "max", "min", "min value {0} is greater than max value {1}"),
    ("min", "defaultRequest", "defaultRequest", "min value {0} is greater than default request value {1}"),
    ("defaultRequest", "max", "defaultRequest", "default request value {0} is greater than max value {1}"),
    ("defaultRequest", "default", "defaultRequest", "default request value {0} is greater than default limit value {1}"),
    ("min", "default", "default", "min value {0} is greater than default value {1}"),
    ("default", "max", "default", "default value {0} is greater than max value {1}"),
)
"""Which bound is at most which, where that is told, and how; of the last two, upstream shows the other bound's value."""


def _order(name: str, given: Amounts, path: Path) -> list[FieldError]:
    found: list[FieldError] = []
    for less, more, told, text in _ORDER:
        low, high = given[less].get(name), given[more].get(name)
        if low is not None and high is not None and parse(str(low)) > parse(str(high)):
            shown = high if told == "default" and less == "default" else low if told == "default" else given[told][name]
            found.append(invalid((path / told).at(name), str(shown), text.format(low, high)))
    found += _ratio(name, given, path)
    default, request = given["default"].get(name), given["defaultRequest"].get(name)
    if default is not None and request is not None and not may_be_overcommitted(name) and parse(str(default)) != parse(str(request)):
        text = f"default value {default} must equal to defaultRequest value {request} in {name}"
        found.append(invalid((path / "defaultRequest").at(name), str(request), text))
    return found


def _ratio(name: str, given: Amounts, path: Path) -> list[FieldError]:
    ratio, low, high = (given[bound].get(name) for bound in (RATIO, "min", "max"))
    if ratio is None:
        return []
    found: list[FieldError] = []
    where, value = (path / RATIO).at(name), parse(str(ratio))
    if value < 1:
        found.append(invalid(where, str(ratio), f"ratio {ratio} is less than 1"))
    if low is not None and high is not None:
        most = parse(str(high)) / parse(str(low)) if parse(str(low)) else Fraction(1 << 63)
        if value > most:
            found.append(invalid(where, str(ratio), f"ratio {ratio} is greater than max/min = {float(most):f}"))
    return found


def _quota(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    hard = spec.get("hard") or {}
    found = _amounts(hard, SPEC / "hard")
    found += _scopes(spec.get("scopes") or [], hard)
    selector = spec.get("scopeSelector")
    return found if selector is None else found + _selector(selector, spec)


def _amounts(given: Object, path: Path) -> list[FieldError]:
    return [e for name, value in given.items() for e in (*quota_resource(name, path.at(name)), *amounts({name: value}, path))]


def _quota_status(new: Object, old: Object) -> list[FieldError]:
    status = new.get("status") or {}
    return [error for field in ("hard", "used") for error in _amounts(status.get(field) or {}, Path("status") / field)]


def _scopes(scopes: list[str], hard: Object) -> list[FieldError]:
    path, found = SPEC / "scopes", []
    for scope in scopes:
        if scope not in SCOPES:
            found.append(invalid(path, scopes, "unsupported scope"))
        found += [invalid(path, scopes, "unsupported scope applied to resource") for _ in _out_of(scope, hard)]
    return found + _conflicts(scopes, scopes)


def _out_of(scope: str, hard: Object) -> list[str]:
    """Return the limited resources that a scope says nothing about."""
    return [name for name in sorted(hard) if scope in SCOPES and is_of_quotas(name) and name not in SCOPES[scope]]


def _conflicts(scopes: Sequence[str], shown: Sequence[str] | None) -> list[FieldError]:
    return [invalid(SPEC / "scopes", shown or None, "conflicting scopes") for pair in EXCLUSIVE if pair <= set(scopes)]


def _selector(selector: Object, spec: Object) -> list[FieldError]:
    path, found = SPEC / "scopeSelector" / "matchExpressions", []
    expressions: Sequence[Object] = selector.get("matchExpressions") or ()
    for expression in expressions:
        scope, operator, values = (expression.get(name) for name in ("scopeName", "operator", "values"))
        if scope not in SCOPES:
            found.append(invalid(path / "scopeName", scope or "", "unsupported scope"))
        shown = {"MatchExpressions": [_shown(each) for each in expressions]}
        outside = _out_of(scope or "", spec.get("hard") or {})
        found += [invalid(path, shown, "unsupported scope applied to resource") for _ in outside]
        if scope in PRESENT and operator != "Exists":
            found.append(invalid(path / "operator", operator or "", EXISTS_WORDS))
        found += _operator(operator or "", values or [], path)
    return found + _conflicts([each.get("scopeName", "") for each in expressions], spec.get("scopes"))


def _operator(operator: str, values: list[str], path: Path) -> list[FieldError]:
    if operator in ("In", "NotIn"):
        text = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
        return [] if values else [required(path / "values", text)]
    if operator in ("Exists", "DoesNotExist"):
        text = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
        return [invalid(path / "values", values, text)] if values else []
    return [invalid(path / "operator", operator, "not a valid selector operator")]


def _shown(expression: Object) -> Object:
    return {"ScopeName": expression.get("scopeName", ""), "Operator": expression.get("operator", ""), "Values": expression.get("values")}


def _quota_update(new: Object, old: Object) -> list[FieldError]:
    after, before = (o.get("spec", {}).get("scopes") or [] for o in (new, old))
    return [] if set(after) == set(before) else [invalid(SPEC / "scopes", after or None, "field is immutable")]


CREATE = {("", "limitranges"): _limit_range, ("", "resourcequotas"): _quota}
UPDATE = {("", "resourcequotas"): _quota_update}
STATUS = {("", "resourcequotas"): _quota_status}
