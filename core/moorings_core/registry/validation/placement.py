"""Rules of what steers pods to nodes: node selectors, spread constraints, tolerations, taints; and of label selectors.

The scheduler and the controllers rely on them: what is stored has the fields that they read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from moorings_core.ports.objects import Object

from . import ips, names
from .errors import FieldError, Path, duplicate, forbidden, invalid, not_supported, required
from .formats import named, qualified
from .resource_names import amounts

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
        found += _term(term.get("preference") or {}, place / "preference", any_value=True)
    for kind in ("podAffinity", "podAntiAffinity"):
        found += _beside(given.get(kind) or {}, path / kind)
    return found


def _beside(given: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with how pods are drawn to others, or kept from them."""
    hard, soft, found = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution", []
    for i, term in enumerate(given.get(hard) or ()):
        found += _pod_term(term, (path / hard).at(i))
    for i, term in enumerate(given.get(soft) or ()):
        place = (path / soft).at(i)
        if not 1 <= term.get("weight", 0) <= 100:
            found.append(invalid(place / "weight", term.get("weight", 0), "must be in the range 1-100"))
        found += _pod_term(term.get("podAffinityTerm") or {}, place / "podAffinityTerm")
    return found


def _pod_term(term: Object, path: Path) -> list[FieldError]:
    selector, key = term.get("labelSelector"), term.get("topologyKey", "")
    found = label_selector(selector, path / "labelSelector") + label_selector(term.get("namespaceSelector"), path / "namespaceSelector")
    for space in term.get("namespaces") or ():
        found += named(space, path / "namespace", names.label)
    found += _label_keys(term, path)
    return found + ([] if key else [required(path / "topologyKey", "can not be empty")]) + qualified(key, path / "topologyKey")


def _label_keys(term: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with the labels whose values a pod brings itself."""
    same, other, selector = term.get("matchLabelKeys") or (), term.get("mismatchLabelKeys") or (), term.get("labelSelector")
    found: list[FieldError] = []
    for field, keys in (("matchLabelKeys", same), ("mismatchLabelKeys", other)):
        if keys and selector is None:
            found.append(forbidden(path / field, "must not be specified when labelSelector is not set"))
        elif selector is not None:
            found += [error for i, key in enumerate(keys) for error in qualified(key, (path / field).at(i))]
    text = "exists in both matchLabelKeys and mismatchLabelKeys"
    return found + [invalid((path / "matchLabelKeys").at(i), key, text) for i, key in enumerate(same) if key in other]


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
        found += [*qualified(key, path / "matchLabels"), *named(value, path / "matchLabels", names.label_value)]
    for i, expression in enumerate((selector or {}).get("matchExpressions") or ()):
        place = (path / "matchExpressions").at(i)
        found += _values(expression, place) if expression.get("operator") in _SET_OPERATORS else [_bad_operator(expression, place)]
        found += _key_and_values(expression, place)
    return found


def tolerations(given: Sequence[Object], path: Path) -> list[FieldError]:
    """Return what is wrong with tolerations."""
    return [e for i, toleration in enumerate(given) for e in _toleration(toleration, path.at(i))]


def taints(given: Sequence[Object], path: Path) -> list[FieldError]:
    """Return what is wrong with a node's taints."""
    found: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for i, taint in enumerate(given):
        place, key, value, effect = path.at(i), taint.get("key", ""), taint.get("value", ""), taint.get("effect", "")
        found += [*qualified(key, place / "key"), *named(value, place / "value", names.label_value)]
        found += _effect(effect, place / "effect", optional=False)
        if (key, effect) in seen:
            shown = {"Key": key, "Value": value, "Effect": effect, "TimeAdded": taint.get("timeAdded")}
            found.append(duplicate(place, shown, "taints must be unique by key and effect pair"))
        seen.add((key, effect))
    return found


def spread(constraints: Sequence[Object], path: Path) -> list[FieldError]:
    """Return what is wrong with topologySpreadConstraints."""
    found: list[FieldError] = []
    for i, constraint in enumerate(constraints):
        place, key, when = path.at(i), constraint.get("topologyKey", ""), constraint.get("whenUnsatisfiable", "")
        if constraint.get("maxSkew", 0) <= 0:
            found.append(invalid(place / "maxSkew", constraint.get("maxSkew", 0), "must be greater than zero"))
        if not key:
            found.append(required(place / "topologyKey", "can not be empty"))
        if when not in UNSATISFIABLE:
            found.append(not_supported(place / "whenUnsatisfiable", when, UNSATISFIABLE))
        if any((other.get("topologyKey", ""), other.get("whenUnsatisfiable", "")) == (key, when) for other in constraints[i + 1 :]):
            found.append(duplicate(place / "{topologyKey, whenUnsatisfiable}", f"{{{key}, {when}}}"))
        found += _least_domains(constraint, place / "minDomains")
        for field in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            if constraint.get(field) not in (None, *POLICIES):
                found.append(not_supported(place / field, constraint[field], POLICIES))
        found += _label_keys(constraint, place)
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


def _term(term: Object, path: Path, *, any_value: bool = False) -> list[FieldError]:
    """Return what is wrong with a term; any_value: values that no label can have are let be."""
    found: list[FieldError] = []
    for i, expression in enumerate(term.get("matchExpressions") or ()):
        place = (path / "matchExpressions").at(i)
        wrong = _expression(expression, place)
        found += [error for error in wrong if not (any_value and error.field.startswith(f"{place}.values["))]
    for i, field in enumerate(term.get("matchFields") or ()):
        found += _field(field, (path / "matchFields").at(i))
    return found


def _expression(expression: Object, path: Path) -> list[FieldError]:
    operator, values = expression.get("operator"), expression.get("values") or ()
    if operator in ("Gt", "Lt"):
        text = "must be specified single value when `operator` is 'Lt' or 'Gt'"
        return ([] if len(values) == 1 else [required(path / "values", text)]) + _key_and_values(expression, path)
    found = _values(expression, path) if operator in _SET_OPERATORS else [_bad_operator(expression, path)]
    return found + _key_and_values(expression, path)


def _field(field: Object, path: Path) -> list[FieldError]:
    found: list[FieldError] = []
    if field.get("operator") not in ("In", "NotIn"):
        found.append(_bad_operator(field, path))
    elif len(field.get("values") or ()) != 1:
        found.append(required(path / "values", "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"))
    if field.get("key") not in FIELD_KEYS:
        return [*found, invalid(path / "key", field.get("key", ""), "not a valid field selector key")]
    values = enumerate(field.get("values") or ())
    return found + [error for i, value in values for error in named(value, (path / "values").at(i), names.subdomain)]


_SET_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def _values(expression: Object, path: Path) -> list[FieldError]:
    values, sets = expression.get("values") or (), expression["operator"] in ("In", "NotIn")
    if sets and not values:
        return [required(path / "values", "must be specified when `operator` is 'In' or 'NotIn'")]
    if not sets and values:
        return [forbidden(path / "values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")]
    return []


def _key_and_values(expression: Object, path: Path) -> list[FieldError]:
    found = qualified(expression.get("key", ""), path / "key")
    values = enumerate(expression.get("values") or ())
    return found + [error for i, value in values for error in named(value, (path / "values").at(i), names.label_value)]


def _bad_operator(expression: Object, path: Path) -> FieldError:
    return invalid(path / "operator", expression.get("operator", ""), NOT_AN_OPERATOR)


def _effect(effect: str, path: Path, *, optional: bool) -> list[FieldError]:
    if not effect:
        return [] if optional else [required(path)]
    return [] if effect in EFFECTS else [not_supported(path, effect, ("NoSchedule", "PreferNoSchedule", "NoExecute"))]


def _toleration(toleration: Object, path: Path) -> list[FieldError]:
    operator, key, value, effect = (toleration.get(field, "") for field in ("operator", "key", "value", "effect"))
    found = qualified(key, path / "key") if key else []
    if not key and operator != "Exists":
        text = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        found.append(invalid(path / "operator", operator, text))
    if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
        found.append(invalid(path / "effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"))
    if operator not in OPERATORS:
        numeric = ("Lt", "Gt") if operator in ("Lt", "Gt") else ()
        found.append(not_supported(path / "operator", operator, ("Equal", "Exists", *numeric)))
    elif operator != "Exists":
        found += named(value, path / "operator", names.label_value)
    elif value:
        found.append(invalid(path / "operator", value, "value must be empty when `operator` is 'Exists'"))
    return found + _effect(effect, path / "effect", optional=True)


FEATURE = re.compile(r"[A-Z][a-zA-Z0-9]*(/[a-zA-Z0-9]+)*")
FEATURE_WORDS = (
    "must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), "
    "and contain only alphanumeric characters and slashes"
)
POD_CIDRS = Path("spec.podCIDRs")


def _node(obj: Object) -> list[FieldError]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    found = taints(spec.get("taints") or (), Path("metadata.taints"))
    found += [error for field in ("capacity", "allocatable") for error in amounts(status.get(field), Path("status") / field, keyed=False)]
    found += _features(status.get("declaredFeatures") or (), Path("status.declaredFeatures"))
    return found + _pod_cidrs(spec.get("podCIDRs") or [])


def _features(given: Sequence[str], path: Path) -> list[FieldError]:
    found: list[FieldError] = []
    for i, name in enumerate(given):
        text = f'invalid feature name "{name}": '
        if len(name) > 253:
            found.append(invalid(path.at(i), name, f"{text}must be no more than 253 characters"))
        elif not FEATURE.fullmatch(name):
            found.append(invalid(path.at(i), name, text + FEATURE_WORDS))
        if i + 1 < len(given) and name == given[i + 1]:
            found.append(duplicate(path.at(i + 1), name))
        elif i + 1 < len(given) and name > given[i + 1]:
            found.append(invalid(path.at(i + 1), given[i + 1], "list must be sorted alphabetically"))
    return found


def _pod_cidrs(given: list[str]) -> list[FieldError]:
    found = [error for i, text in enumerate(given) for error in ips.cidr(text, POD_CIDRS.at(i))]
    versions = [network.version for text in given if (network := ips.network(text)) is not None]
    if len(given) > 1 and (len(given) > 2 or len(versions) < 2 or versions[0] == versions[1]):
        found.append(invalid(POD_CIDRS, given, "may specify no more than one CIDR for each IP family"))
    return found


def _node_update(new: Object, old: Object) -> list[FieldError]:
    after, before, status = new.get("spec") or {}, old.get("spec") or {}, new.get("status") or {}
    addresses = status.get("addresses") or []
    found = [duplicate(Path("status.addresses").at(i), _address(a)) for i, a in enumerate(addresses) if a in addresses[:i]]
    text = 'node updates may not change podCIDR except from "" to valid'
    had, has = before.get("podCIDRs") or [], after.get("podCIDRs") or []
    if had and len(had) != len(has):
        found.append(forbidden(POD_CIDRS, text))
    elif had:
        found += [forbidden(POD_CIDRS, text) for was, now in zip(had, has, strict=True) if was != now]
    was, now = before.get("providerID") or "", after.get("providerID") or ""
    if was and was != now:
        what = "modified" if now else "cleared"
        found.append(invalid("spec.providerID", None, f"field cannot be {what} once set"))
    if (before.get("externalID") or "") != (after.get("externalID") or ""):
        found.append(forbidden("spec.externalID", "may not be updated"))
    return found


def _node_status(new: Object, old: Object) -> list[FieldError]:
    return _node(new) + _node_update(new, old)


def _address(given: Object) -> Object:
    return {"Type": given.get("type", ""), "Address": given.get("address", "")}


CREATE = {("", "nodes"): _node}
UPDATE = {("", "nodes"): _node_update}
STATUS = {("", "nodes"): _node_status}
