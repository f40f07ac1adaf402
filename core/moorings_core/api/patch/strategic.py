"""Strategic merge patch: lists of objects merge by key, as the schema says, and directives say the rest.

Directives: `$patch: replace|delete|merge` in an object or list item, `$retainKeys` in an object, `$setElementOrder/FIELD` and
`$deleteFromPrimitiveList/FIELD` beside a list. Source: kubernetes/community sig-api-machinery/strategic-merge-patch.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from .errors import PatchError

PATCH, RETAIN = "$patch", "$retainKeys"
ORDER, DELETE_FROM = "$setElementOrder/", "$deleteFromPrimitiveList/"


class Node(Protocol):
    """What of a schema a strategic merge goes by (`registry.schema.Schema` has it)."""

    merge_key: str
    patch_strategy: frozenset[str]

    @property
    def properties(self) -> Mapping[str, Any]:
        """The fields of an object."""

    @property
    def items(self) -> Any:
        """The node of a list's items."""

    @property
    def values(self) -> Any:
        """The node of a map's values."""


def apply(document: Any, patch: Any, schema: Node | None) -> Any:
    """Return document with patch merged in as schema says. Raises PatchError."""
    if not isinstance(patch, dict):
        raise PatchError("a strategic merge patch is an object")
    return _object(document if isinstance(document, dict) else {}, patch, schema)


def _object(document: Mapping[str, Any], patch: Mapping[str, Any], schema: Node | None) -> dict[str, Any]:
    match patch.get(PATCH):
        case "replace":
            return {k: v for k, v in patch.items() if k != PATCH}
        case "delete":
            return {}
        case None | "merge":
            pass
        case other:
            raise PatchError(f"unknown patch directive {other!r}")
    result = _retained(document, patch)
    before = dict(result)
    for name, value in patch.items():
        if name in (PATCH, RETAIN) or name.startswith((ORDER, DELETE_FROM)):
            continue
        node = _child(schema, name)
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = _field(result.get(name), value, node)
        elif isinstance(value, list):
            result[name] = _list(result.get(name), value, node)
        else:
            result[name] = value
    _primitive_deletions(result, patch)
    _element_order(result, patch, before, schema)
    return result


def _field(present: Any, value: dict[str, Any], node: Node | None) -> dict[str, Any]:
    replace = node is not None and "replace" in node.patch_strategy
    return _object(present if isinstance(present, dict) and not replace else {}, value, node)


def _retained(document: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    keep = patch.get(RETAIN)
    if keep is None:
        return dict(document)
    if not isinstance(keep, list):
        raise PatchError("$retainKeys is a list of field names")
    return {name: value for name, value in document.items() if name in keep}


def _child(schema: Node | None, name: str) -> Any:
    if schema is None:
        return None
    return schema.properties.get(name) or schema.values


def _list(present: Any, patch: Sequence[Any], node: Node | None) -> list[Any]:
    old = list(present) if isinstance(present, list) else []
    if node is None or "merge" not in node.patch_strategy:
        return _without_directives(patch)
    if not node.merge_key:
        merged = [*old, *(item for item in patch if item not in old)]
        return _ordered(merged, patch, old, "")
    return _keyed(old, patch, node)


def _keyed(old: list[Any], patch: Sequence[Any], node: Node) -> list[Any]:
    key = node.merge_key
    if any(isinstance(item, dict) and item.get(PATCH) == "replace" for item in patch):
        return _without_directives(patch)
    for item in patch:
        if not isinstance(item, dict):
            raise PatchError(f"an item of a list merged by {key!r} is not an object: {item!r}")
        if key not in item:
            raise PatchError(f"an item has no {key!r}, by which its list is merged: {item!r}")
    gone = [item[key] for item in patch if item.get(PATCH) == "delete"]
    given = [item for item in patch if item.get(PATCH) != "delete"]
    old = [o for o in old if o.get(key) not in gone]
    merged = list(old)
    for item in given:
        at = next((i for i, o in enumerate(merged) if o.get(key) == item[key]), None)
        if at is None:
            merged.append(_object({}, item, node.items))
        else:
            merged[at] = _object(merged[at], item, node.items)
    return _ordered(merged, given, old, key)


def _without_directives(patch: Sequence[Any]) -> list[Any]:
    return [item for item in patch if not (isinstance(item, dict) and PATCH in item)]


def _primitive_deletions(result: dict[str, Any], patch: Mapping[str, Any]) -> None:
    for name, gone in patch.items():
        field = name.removeprefix(DELETE_FROM)
        if field != name and isinstance(result.get(field), list):
            result[field] = [item for item in result[field] if item not in gone]


def _element_order(result: dict[str, Any], patch: Mapping[str, Any], before: Mapping[str, Any], schema: Node | None) -> None:
    for name, order in patch.items():
        field = name.removeprefix(ORDER)
        if field == name or not isinstance(result.get(field), list):
            continue
        node = _child(schema, field)
        key = node.merge_key if node is not None else ""
        present = before.get(field)
        result[field] = _ordered(result[field], order, present if isinstance(present, list) else [], key)


def _ordered(items: list[Any], wanted: Sequence[Any], before: Sequence[Any], key: str) -> list[Any]:
    """Put the items that are wanted into that order, and each other one before the first wanted item that it preceded before.

    So what a patch adds to a list comes first, as upstream has it.
    """

    def name(item: Any) -> Any:
        return item.get(key) if key and isinstance(item, dict) else item

    order, known = [name(item) for item in wanted], [name(item) for item in before]
    named = sorted((i for i in items if name(i) in order), key=lambda i: order.index(name(i)))
    others = [i for i in items if name(i) not in order]
    result: list[Any] = []
    while named and others:
        left, right = name(others[0]), name(named[0])
        first = left in known and right in known and known.index(left) < known.index(right)
        result.append((others if first else named).pop(0))
    return [*result, *named, *others]
