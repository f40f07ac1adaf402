"""Rules of what steers pods to nodes: node selectors, spread constraints, tolerations, taints; and of label selectors.

The scheduler and the controllers rely on them: what is stored has the fields that they read.
"""

from __future__ import annotations

from collections.abc import Sequence

from moorings_core.ports.objects import Object

from . import names
from .errors import FieldError, Path, duplicate, forbidden, invalid, not_supported, required

EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")
UNSATISFIABLE = ("DoNotSchedule", "ScheduleAnyway")
POLICIES = ("Honor", "Ignore")
FIELD_KEYS = ("metadata.name",)
OPERATORS = ("Equal", "Exists", "")
NOT_AN_OPERATOR = "not a valid selector operator"


def affinity(given: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with an Affinity."""
    node, where = given.get("nodeAffinity") or {}, path / "nodeAffinity"
    found: list[FieldError] = []
    hard = node.get("requiredDuringSchedulingIgnoredDuringExecution")
    if hard is not None:
        found += node_selector(hard, where / "requiredDuringSchedulingIgnoredDuringExecution")
    for i, term in enumerate(node.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
        place = (where / "preferredDuringSchedulingIgnoredDuringExecution").at(i)
        if not 1 <= term.get("weight", 0) <= 100:
            found.append(invalid(place / "weight", term.get("weight", 0), "must be in the range 1-100"))
        found += _term(term.get("preference") or {}, place / "preference")
    return found


def node_selector(selector: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with a NodeSelector."""
    terms = selector.get("nodeSelectorTerms") or ()
    if not terms:
        return [required(path / "nodeSelectorTerms", "must have at least one node selector term")]
    return [e for i, term in enumerate(terms) for e in _term(term, (path / "nodeSelectorTerms").at(i))]


def label_selector(selector: Object | None, path: Path) -> list[FieldError]:
    """Return what is wrong with a LabelSelector; None selects nothing and is right."""
    found: list[FieldError] = []
    for key, value in ((selector or {}).get("matchLabels") or {}).items():
        found += [invalid(path / "matchLabels", k, c) for k, c in ((key, names.label_key(key)), (value, names.label_value(value))) if c]
    for i, expression in enumerate((selector or {}).get("matchExpressions") or ()):
        place = (path / "matchExpressions").at(i)
        found += _values(expression, place) if expression.get("operator") in _SET_OPERATORS else [_bad_operator(expression, place)]
        found += _key(expression, place)
    return found


def tolerations(given: Sequence[Object], path: Path) -> list[FieldError]:
    """Return what is wrong with tolerations."""
    return [e for i, toleration in enumerate(given) for e in _toleration(toleration, path.at(i))]


def taints(given: Sequence[Object], path: Path) -> list[FieldError]:
    """Return what is wrong with a node's taints."""
    found: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for i, taint in enumerate(given):
        place, key, effect = path.at(i), taint.get("key", ""), taint.get("effect", "")
        if complaint := names.label_key(key):
            found.append(invalid(place / "key", key, complaint))
        if complaint := names.label_value(taint.get("value", "")):
            found.append(invalid(place / "value", taint["value"], complaint))
        found += _effect(effect, place / "effect", optional=False)
        if (key, effect) in seen:
            found.append(duplicate(place, taint))
        seen.add((key, effect))
    return found


def spread(constraints: Sequence[Object], path: Path) -> list[FieldError]:
    """Return what is wrong with topologySpreadConstraints."""
    found: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for i, constraint in enumerate(constraints):
        place, key, when = path.at(i), constraint.get("topologyKey", ""), constraint.get("whenUnsatisfiable", "")
        if constraint.get("maxSkew", 0) <= 0:
            found.append(invalid(place / "maxSkew", constraint.get("maxSkew", 0), "must be greater than zero"))
        if not key:
            found.append(required(place / "topologyKey", "can not be empty"))
        if when not in UNSATISFIABLE:
            found.append(not_supported(place / "whenUnsatisfiable", when, UNSATISFIABLE))
        if (key, when) in seen:
            found.append(duplicate(place / "{topologyKey, whenUnsatisfiable}", f"{{{key}, {when}}}"))
        seen.add((key, when))
        found += _least_domains(constraint, place / "minDomains")
        for field in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            if constraint.get(field) not in (None, *POLICIES):
                found.append(not_supported(place / field, constraint[field], POLICIES))
        found += label_selector(constraint.get("labelSelector"), place / "labelSelector")
    return found


def _least_domains(constraint: Object, path: Path) -> list[FieldError]:
    least, when = constraint.get("minDomains"), constraint.get("whenUnsatisfiable")
    if least is None:
        return []
    found = [] if least > 0 else [invalid(path, least, "must be greater than zero")]
    if when != "DoNotSchedule":
        found.append(invalid(path, least, f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}"))
    return found


def _term(term: Object, path: Path) -> list[FieldError]:
    found: list[FieldError] = []
    for i, expression in enumerate(term.get("matchExpressions") or ()):
        found += _expression(expression, (path / "matchExpressions").at(i))
    for i, field in enumerate(term.get("matchFields") or ()):
        found += _field(field, (path / "matchFields").at(i))
    return found


def _expression(expression: Object, path: Path) -> list[FieldError]:
    operator, values = expression.get("operator"), expression.get("values") or ()
    if operator in ("Gt", "Lt"):
        text = "must be specified single value when `operator` is 'Lt' or 'Gt'"
        return ([] if len(values) == 1 else [required(path / "values", text)]) + _key(expression, path)
    found = _values(expression, path) if operator in _SET_OPERATORS else [_bad_operator(expression, path)]
    return found + _key(expression, path)


def _field(field: Object, path: Path) -> list[FieldError]:
    found: list[FieldError] = []
    if field.get("operator") not in ("In", "NotIn"):
        found.append(_bad_operator(field, path))
    elif len(field.get("values") or ()) != 1:
        found.append(required(path / "values", "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"))
    if field.get("key") not in FIELD_KEYS:
        found.append(invalid(path / "key", field.get("key", ""), "not a valid field selector key"))
    return found


_SET_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def _values(expression: Object, path: Path) -> list[FieldError]:
    values, sets = expression.get("values") or (), expression["operator"] in ("In", "NotIn")
    if sets and not values:
        return [required(path / "values", "must be specified when `operator` is 'In' or 'NotIn'")]
    if not sets and values:
        return [forbidden(path / "values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")]
    return []


def _key(expression: Object, path: Path) -> list[FieldError]:
    key = expression.get("key", "")
    complaint = names.label_key(key)
    return [invalid(path / "key", key, complaint)] if complaint else []


def _bad_operator(expression: Object, path: Path) -> FieldError:
    return invalid(path / "operator", expression.get("operator", ""), NOT_AN_OPERATOR)


def _effect(effect: str, path: Path, *, optional: bool) -> list[FieldError]:
    if not effect:
        return [] if optional else [required(path)]
    return [] if effect in EFFECTS else [not_supported(path, effect, ("NoSchedule", "PreferNoSchedule", "NoExecute"))]


def _toleration(toleration: Object, path: Path) -> list[FieldError]:
    operator, key = toleration.get("operator", "Equal"), toleration.get("key", "")
    found = [invalid(path / "key", key, complaint)] if key and (complaint := names.label_key(key)) else []
    if operator not in OPERATORS:
        return [*found, not_supported(path / "operator", operator, ("Equal", "Exists"))]
    if not key and operator != "Exists":
        text = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        found.append(invalid(path / "operator", operator, text))
    if operator == "Exists" and toleration.get("value"):
        found.append(invalid(path / "operator", toleration, "value must be empty when `operator` is 'Exists'"))
    effect = toleration.get("effect", "")
    if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
        found.append(invalid(path / "effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"))
    return found + _effect(effect, path / "effect", optional=True)


def _node(obj: Object) -> list[FieldError]:
    return taints((obj.get("spec") or {}).get("taints") or (), Path("metadata.taints"))


def _node_update(new: Object, old: Object) -> list[FieldError]:
    before = old.get("spec", {}).get("podCIDRs") or []
    if before and new.get("spec", {}).get("podCIDRs") != before:
        return [forbidden(Path("spec") / "podCIDRs", 'node updates may not change podCIDR except from "" to valid')]
    return []


CREATE = {("", "nodes"): _node}
UPDATE = {("", "nodes"): _node_update}
