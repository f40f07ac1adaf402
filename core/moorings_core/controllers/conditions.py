"""The conditions of a status: lists of {type, status, reason, message, times}, one per type."""

from __future__ import annotations

from collections.abc import Sequence

from moorings_core.ports.objects import Object


def find(obj: Object, kind: str) -> Object | None:
    """Return the condition of that type from an object's status, or None."""
    return pick(obj.get("status", {}).get("conditions") or (), kind)


def pick(conditions: Sequence[Object], kind: str) -> Object | None:
    """Return the condition of that type, or None."""
    for condition in conditions:
        if condition.get("type") == kind:
            return condition
    return None


def is_true(obj: Object, kind: str) -> bool:
    """Whether the object has the condition with status True."""
    condition = find(obj, kind)
    return condition is not None and condition.get("status") == "True"


def put(conditions: Sequence[Object], new: Object) -> list[Object]:
    """Return the conditions with `new` in them; unchanged when one of its type has its status and reason already.

    The time of transition is kept while the status stays the same.
    """
    old = pick(conditions, new["type"])
    if old is None:
        return [*conditions, new]
    if old.get("status") == new["status"] and old.get("reason") == new.get("reason"):
        return list(conditions)
    if old.get("status") == new["status"] and "lastTransitionTime" in old:
        new = {**new, "lastTransitionTime": old["lastTransitionTime"]}
    return [*without(conditions, new["type"]), new]


def without(conditions: Sequence[Object], kind: str) -> list[Object]:
    """Return the conditions but the one of that type."""
    return [condition for condition in conditions if condition.get("type") != kind]
