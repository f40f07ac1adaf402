"""How fast an autoscaler scales, as version 1 has it in an annotation: upstream's internal structure, with its Go names."""

from __future__ import annotations

from moorings_core.ports.objects import Object

_RULES = {
    "StabilizationWindowSeconds": "stabilizationWindowSeconds",
    "SelectPolicy": "selectPolicy",
    "Policies": "policies",
    "Tolerance": "tolerance",
}
_POLICY = {"Type": "type", "Value": "value", "PeriodSeconds": "periodSeconds"}
_SIDES = {"ScaleUp": "scaleUp", "ScaleDown": "scaleDown"}


def to_first(given: Object) -> Object:
    """Return the structure of the annotation: what is not said is null."""
    return {theirs: _rules(given.get(ours)) for theirs, ours in _SIDES.items()}


def to_second(noted: Object) -> Object:
    """Return the field of version 2, {} where nothing is said."""
    return {ours: _said(noted[theirs]) for theirs, ours in _SIDES.items() if isinstance(noted.get(theirs), dict)}


def _rules(given: Object | None) -> Object | None:
    if given is None:
        return None
    made: Object = {theirs: given.get(ours) for theirs, ours in _RULES.items()}
    if made["Policies"] is not None:
        made["Policies"] = [{theirs: policy.get(ours) for theirs, ours in _POLICY.items()} for policy in made["Policies"]]
    return made


def _said(noted: Object) -> Object:
    made = {ours: noted[theirs] for theirs, ours in _RULES.items() if noted.get(theirs) is not None}
    if "policies" in made:
        made["policies"] = [{ours: policy.get(theirs) for theirs, ours in _POLICY.items()} for policy in made["policies"]]
    return made
