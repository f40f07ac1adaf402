"""Rules of validating and mutating admission policies and their bindings.

Source: upstream's pkg/apis/admissionregistration/validation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from moorings_core.ports.objects import Object

from . import names
from .conditions import conditions
from .errors import FieldError, Path, duplicate, forbidden, invalid, not_supported, required
from .expressions import Types, check_expression, schema_of, type_of
from .placement import label_selector
from .registrations import FAILURE, GROUP, MATCH, REINVOCATION, check_conditions, check_rule

SPEC = Path("spec")
REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge")
ACTIONS = ("Audit", "Deny", "Warn")
MUTABLE = ("*", "CONNECT", "CREATE", "UPDATE")
PATCHES = ("ApplyConfiguration", "JSONPatch")
MOST_ANNOTATIONS = 20
NEITHER = "validations or auditAnnotations must contain at least one item"
_IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")


def _common(spec: Object) -> list[FieldError]:
    """Return what is wrong with what both kinds of policies have."""
    found: list[FieldError] = []
    if spec.get("failurePolicy") not in FAILURE:
        found.append(not_supported(SPEC / "failurePolicy", spec.get("failurePolicy"), FAILURE))
    if spec.get("paramKind") is not None:
        found += _param_kind(spec["paramKind"], SPEC / "paramKind")
    constraints = spec.get("matchConstraints")
    if constraints is None:
        found.append(required(SPEC / "matchConstraints"))
    else:
        found += _match(constraints, SPEC / "matchConstraints")
        if not constraints.get("resourceRules"):
            found.append(required(SPEC / "matchConstraints" / "resourceRules"))
    return found


def _conditions_and_variables(spec: Object) -> tuple[list[FieldError], Types]:
    """Return what is wrong with conditions and variables, and the variables' types for the expressions that use them."""
    params = spec.get("paramKind") is not None
    found = check_conditions(spec.get("matchConditions") or (), SPEC / "matchConditions", params=params)
    types: Types = {}
    for i, variable in enumerate(spec.get("variables") or ()):
        here, name = (SPEC / "variables").at(i), variable.get("name") or ""
        if not name.strip():
            found.append(required(here / "name", "name is not specified"))
        elif not _IDENTIFIER.fullmatch(name):
            found.append(invalid(here / "name", name, "must be a valid CEL identifier"))
        if not (variable.get("expression") or "").strip():
            found.append(required(here / "expression", "expression is not specified"))
            continue
        known = type_of(variable["expression"], here / "expression", params=params, variables=types)
        if isinstance(known, FieldError):
            found.append(known)
        types[name] = schema_of("dyn" if isinstance(known, FieldError) else known)
    return found, types


def _expression(text: str | None, path: Path, wanted: str, spec: Object, types: Types, *, authorizer: bool = True) -> list[FieldError]:
    if not (text or "").strip():
        return [required(path, "expression is not specified")]
    params = spec.get("paramKind") is not None
    return check_expression(text or "", path, wanted, params=params, variables=types, authorizer=authorizer)


def _validating(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    wrong, types = _conditions_and_variables(spec)
    found = _common(spec) + wrong
    validations, annotations = spec.get("validations") or (), spec.get("auditAnnotations") or ()
    if not validations and not annotations:
        return [*found, required(SPEC / "validations", NEITHER), required(SPEC / "auditAnnotations", NEITHER)]
    for i, validation in enumerate(validations):
        found += _validation(validation, (SPEC / "validations").at(i), spec, types)
    if len(annotations) > MOST_ANNOTATIONS:
        found.append(invalid(SPEC / "auditAnnotations", annotations, f"must not have more than {MOST_ANNOTATIONS} auditAnnotations"))
    return found + _annotations(annotations, obj["metadata"].get("name") or "", spec, types)


def _validation(validation: Object, path: Path, spec: Object, types: Types) -> list[FieldError]:
    found = _expression(validation.get("expression"), path / "expression", "bool", spec, types)
    told, message = validation.get("messageExpression") or "", validation.get("message") or ""
    if told and not told.strip():
        found.append(invalid(path / "messageExpression", told, "must be non-empty if specified"))
    elif told:
        found += _expression(told, path / "messageExpression", "string", spec, types, authorizer=False)
    if message and not message.strip():
        found.append(invalid(path / "message", message, "must be non-empty if specified"))
    elif re.search(r"[\n\r]", message.strip()):
        found.append(invalid(path / "message", message, "must not contain line breaks"))
    if validation.get("reason") is not None and validation["reason"] not in REASONS:
        found.append(not_supported(path / "reason", validation["reason"], REASONS))
    return found


def _annotations(annotations: Sequence[Object], policy: str, spec: Object, types: Types) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for i, annotation in enumerate(annotations):
        here, key = (SPEC / "auditAnnotations").at(i), annotation.get("key") or ""
        if not policy:
            found.append(invalid(here / "key", key, "requires metadata.name be non-empty"))
        elif problem := names.label_key(f"{policy}/{key}"):
            found.append(invalid(here / "key", f"{policy}/{key}", problem))
        if not (annotation.get("valueExpression") or "").strip():
            found.append(required(here / "valueExpression", "valueExpression is not specified"))
        else:
            found += _expression(annotation["valueExpression"], here / "valueExpression", "text", spec, types)
        if key in seen:
            found.append(duplicate(here / "key", key))
        seen.add(key)
    return found


def _mutating(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    found = _common(spec)
    constraints = spec.get("matchConstraints") or {}
    wrong, types = _conditions_and_variables(spec)
    found += _mutable(constraints, SPEC / "matchConstraints") + wrong
    mutations = spec.get("mutations") or ()
    if not mutations:
        found.append(required(SPEC / "mutations", "mutations must contain at least one item"))
    for i, mutation in enumerate(mutations):
        found += _mutation(mutation, (SPEC / "mutations").at(i), spec, types)
    policy = spec.get("reinvocationPolicy")
    if not policy:
        found.append(required(SPEC / "reinvocationPolicy"))
    elif policy not in REINVOCATION:
        found.append(not_supported(SPEC / "reinvocationPolicy", policy, REINVOCATION))
    return found


def _mutable(constraints: Object, path: Path) -> list[FieldError]:
    operations = [o for rule in constraints.get("resourceRules") or () for o in rule.get("operations") or ()]
    return [not_supported(path / "resourceRules" / "operations", o, MUTABLE) for o in operations if o not in MUTABLE]


def _mutation(mutation: Object, path: Path, spec: Object, types: Types) -> list[FieldError]:
    kind = mutation.get("patchType") or ""
    if not kind:
        return [required(path / "patchType")]
    if kind not in PATCHES:
        return [not_supported(path / "patchType", kind, PATCHES)]
    mine, other = ("jsonPatch", "applyConfiguration") if kind == "JSONPatch" else ("applyConfiguration", "jsonPatch")
    found: list[FieldError] = []
    if mutation.get(mine) is None:
        found.append(required(path / mine, f"must be specified when patchType is {kind}"))
    else:
        found += _patch((mutation[mine].get("expression") or "").strip(), path / mine / "expression", spec, types)
    if mutation.get(other) is not None:
        found.append(invalid(path / other, f"{{{other}}}", f"must not be specified when patchType is {kind}"))
    return found


def _patch(expression: str, path: Path, spec: Object, types: Types) -> list[FieldError]:
    from moorings_core.cel.literals import as_maps  # see expressions

    if not expression:
        return [required(path)]
    found = _expression(as_maps(expression), path, "any", spec, types)
    return [invalid(path, expression, error.message.partition('": ')[2] or error.message) for error in found]


def _binding(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    name = spec.get("policyName") or ""
    problem = names.subdomain(name) if name else ""
    found = [required(SPEC / "policyName")] if not name else [invalid(SPEC / "policyName", name, problem)] if problem else []
    found += _param_ref(spec.get("paramRef"), SPEC / "paramRef")
    return found + (_match(spec["matchResources"], SPEC / "matchResources") if spec.get("matchResources") is not None else [])


def _validating_binding(obj: Object) -> list[FieldError]:
    found, path = _binding(obj), SPEC / "validationActions"
    actions = (obj.get("spec") or {}).get("validationActions") or []
    for i, action in enumerate(actions):
        if action not in ACTIONS:
            found.append(not_supported(path.at(i), action, ACTIONS))
        if action in actions[:i]:
            found.append(duplicate(path.at(i), action))
    if "Deny" in actions and "Warn" in actions:
        why = "repeating the same validation failure information in the API response and headers serves no purpose"
        found.append(invalid(path, actions, f"must not contain both Deny and Warn ({why})"))
    if not actions:
        found.append(required(path))
    return found


def _mutating_binding(obj: Object) -> list[FieldError]:
    return _binding(obj) + _mutable((obj.get("spec") or {}).get("matchResources") or {}, SPEC / "matchResources")


def _match(resources: Object, path: Path) -> list[FieldError]:
    found: list[FieldError] = []
    if resources.get("matchPolicy") not in MATCH:
        found.append(not_supported(path / "matchPolicy", resources.get("matchPolicy"), MATCH))
    for field in ("namespaceSelector", "objectSelector"):
        found += label_selector(resources.get(field), path / field)
    for field in ("resourceRules", "excludeResourceRules"):
        for i, rule in enumerate(resources.get(field) or ()):
            here = (path / field).at(i)
            given = rule.get("resourceNames") or []
            for n, name in enumerate(given):
                if problem := names.path_segment(name):
                    found.append(invalid((here / "resourceNames").at(n), name, problem))
                if name in given[:n]:
                    found.append(duplicate((here / "resourceNames").at(n), name))
            found += check_rule(rule, here)
    return found


def _param_kind(kind: Object, path: Path) -> list[FieldError]:
    found: list[FieldError] = []
    version = kind.get("apiVersion") or ""
    if not version:
        found.append(required(path / "apiVersion"))
    elif version.count("/") > 1:
        found.append(invalid(path / "apiVersion", version, f"unexpected GroupVersion string: {version}"))
    elif problem := names.label_1035(version.rpartition("/")[2]):
        found.append(invalid(path / "apiVersion", version.rpartition("/")[2], problem))
    name = kind.get("kind") or ""
    if not name:
        found.append(required(path / "kind"))
    elif problem := names.label_1035(name.lower()):
        found.append(invalid(path / "kind", name, f"may have mixed case, but should otherwise match: {problem}"))
    return found


def _param_ref(reference: Any, path: Path) -> list[FieldError]:
    if reference is None:
        return []
    found: list[FieldError] = []
    name, selector = reference.get("name") or "", reference.get("selector")
    if name:
        if problem := names.path_segment(name):
            found.append(invalid(path / "name", name, problem))
        if selector is not None:
            found.append(forbidden(path / "name", "name and selector are mutually exclusive"))
    if selector is not None:
        found += label_selector(selector, path / "selector")
        if name:
            found.append(forbidden(path / "selector", "name and selector are mutually exclusive"))
    if not name and selector is None:
        found.append(required(path, "one of name or selector must be specified"))
    action = reference.get("parameterNotFoundAction")
    if not action:
        found.append(required(path / "parameterNotFoundAction"))
    elif action not in ("Deny", "Allow"):
        found.append(not_supported(path / "parameterNotFoundAction", action, ("Deny", "Allow")))
    return found


CREATE = {
    (GROUP, "validatingadmissionpolicies"): _validating,
    (GROUP, "mutatingadmissionpolicies"): _mutating,
    (GROUP, "validatingadmissionpolicybindings"): _validating_binding,
    (GROUP, "mutatingadmissionpolicybindings"): _mutating_binding,
}


def _status(new: Object, old: Object) -> list[FieldError]:
    return conditions((new.get("status") or {}).get("conditions"), Path("status.conditions"))


STATUS = {("admissionregistration.k8s.io", "validatingadmissionpolicies"): _status}
