"""The status of a definition: which names it gets, and whether it is served. Source: apiextensions controller/status, establish."""

from __future__ import annotations

import copy
from collections.abc import Iterable

from moorings_core.ports.objects import Object

from . import definition, structural
from .definition import SPEC


def judged(crd: Object, others: Iterable[Object], now: str) -> Object:
    """Return the status that a definition should have beside the others of its group; the same object where nothing changes."""
    status = copy.deepcopy(crd.get("status") or {})
    names, trouble = _accepted(crd, others)
    status["acceptedNames"] = names
    conditions: list[Object] = list(status.get("conditions") or ())
    accepted = trouble is None
    reason, message = trouble or ("NoConflicts", "no conflicts found")
    _put(conditions, "NamesAccepted", accepted, reason, message, now)
    if definition.condition(crd, "Established") != "True":
        if accepted:
            _put(conditions, "Established", True, "InitialNamesAccepted", "the initial names have been accepted", now)
        else:
            _put(conditions, "Established", False, "NotAccepted", "not all names are accepted", now)
    _approval(crd, conditions, now)
    _structure(crd, conditions, now)
    status["conditions"] = conditions
    return status


def _accepted(crd: Object, others: Iterable[Object]) -> tuple[Object, tuple[str, str] | None]:
    """Return the names a definition has, and (reason, words) where another holds one that it asks for."""
    taken, kinds = set[str](), set[str]()
    for other in others:
        held = (other.get("status") or {}).get("acceptedNames") or {}
        taken |= {held.get("plural", ""), held.get("singular", ""), *(held.get("shortNames") or ())} - {""}
        kinds |= {held.get("kind", ""), held.get("listKind", "")} - {""}
    asked, had = crd["spec"]["names"], (crd.get("status") or {}).get("acceptedNames") or {}
    names: Object = {k: v for k, v in had.items() if v}
    trouble: tuple[str, str] | None = None
    for field, reason, used in (
        ("plural", "PluralConflict", taken),
        ("singular", "SingularConflict", taken),
        ("shortNames", "ShortNamesConflict", taken),
        ("kind", "KindConflict", kinds),
        ("listKind", "ListKindConflict", kinds),
    ):
        wanted = asked.get(field)
        lost = _lost(wanted, had.get(field), used)
        if lost:
            trouble = (reason, ", ".join(f'"{name}" is already in use' for name in lost))
        elif wanted:
            names[field] = wanted
        else:
            names.pop(field, None)
    if asked.get("categories"):
        names["categories"] = asked["categories"]
    else:
        names.pop("categories", None)
    return {"kind": "", "plural": ""} | names, trouble


def _lost(wanted: object, had: object, used: set[str]) -> list[str]:
    asked = wanted if isinstance(wanted, list) else [wanted]
    known = had if isinstance(had, list) else [had]
    return [name for name in asked if name and name not in known and name in used]


def _approval(crd: Object, conditions: list[Object], now: str) -> None:
    state = definition.approval(crd)
    if state is None:
        return
    kind = "KubernetesAPIApprovalPolicyConformant"
    words = {"missing": "Missing", "invalid": "Invalid", "bypassed": "Unapproved", "approved": "Approved"}
    _put(conditions, kind, state[0] == "approved", f"{words[state[0]]}Annotation", state[1], now)


def _structure(crd: Object, conditions: list[Object], now: str) -> None:
    found = []
    for index, version in enumerate(crd["spec"]["versions"]):
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if isinstance(schema, dict):
            found += structural.violations(schema, (SPEC / "versions").at(index) / "schema" / "openAPIV3Schema")
    if found:
        texts = [str(error) for error in found]
        _put(conditions, "NonStructuralSchema", True, "Violations", texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]", now)
    else:
        conditions[:] = [c for c in conditions if c.get("type") != "NonStructuralSchema"]


def terminating(crd: Object, holds: bool, reason: str, message: str, now: str) -> Object:
    """Return the status of a definition that goes, or is about to."""
    status = copy.deepcopy(crd.get("status") or {})
    conditions = list(status.get("conditions") or ())
    _put(conditions, "Terminating", holds, reason, message, now)
    return {**status, "conditions": conditions}


def _put(conditions: list[Object], kind: str, holds: bool, reason: str, message: str, now: str) -> None:
    new: Object = {"type": kind, "status": "True" if holds else "False", "reason": reason, "message": message}
    for index, old in enumerate(conditions):
        if old.get("type") == kind:
            same = old.get("status") == new["status"] and old.get("lastTransitionTime")
            conditions[index] = {"lastTransitionTime": old["lastTransitionTime"] if same else now, **new}
            return
    conditions.append({"lastTransitionTime": now, **new})
