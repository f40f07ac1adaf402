"""How large a value can be that a schema describes: what the schema says, or what fits into one request.

Source: apiserver pkg/cel/common/schemas.go, pkg/cel/limits.go; apiextensions-apiserver pkg/apiserver/schema/cel/model/schemas.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .typed import Schema, escape

REQUEST_MOST = 3 * 1024 * 1024
"""Bytes of one request"""
_NAME_MOST = 253
_QUOTES = 2
_SCALARS = {"boolean": ("bool", 4), "number": ("double", 1), "integer": ("int", 1)}
_MOMENTS = {"duration": ("duration", 3, 32), "date": ("timestamp", 12, 12), "date-time": ("timestamp", 21, 32)}
"""What a text of a format is, and the least and the most bytes it has in JSON"""


@dataclass(frozen=True, slots=True)
class Bound:
    """A value that a schema describes.

    kind: CEL's word for its type, or the name of one of Kubernetes' own. most: its elements, characters or bytes; 0 of what has none.
    least: its bytes in JSON.
    """

    kind: str
    most: int = 0
    least: int = 2
    fields: Mapping[str, Bound] = field(default_factory=dict)
    keys: Bound | None = None
    values: Bound | None = None
    """Of a map or a list"""
    others: Bound | None = None
    """What every field leads to that has no name here"""

    def below(self, name: str) -> Bound | None:
        """Return what a step of a path leads to: a field by its escaped name, @items, @values or @keys."""
        match name:
            case "@items" | "@values":
                return self.values
            case "@keys":
                return self.keys
        return self.fields.get(name, self.others)


_KEY = Bound("string")


def bound(schema: Schema, *, root: bool = False) -> Bound | None:
    """Return how large a value of a schema can be, or None where expressions do not see it; root: of a whole object."""
    if schema.get("x-kubernetes-int-or-string"):
        return Bound("dyn", _text_most(schema, fallback=REQUEST_MOST - _QUOTES), 1)
    if root:
        schema = _whole(schema)
    match schema.get("type"):
        case "array":
            return _array(schema)
        case "object":
            return _map(schema) if isinstance(schema.get("additionalProperties"), dict) else _object(schema)
        case "string":
            return _text(schema)
        case str(kind) if kind in _SCALARS:
            word, least = _SCALARS[kind]
            return Bound(word, 0, least)
    return None


def occurrences(least: int) -> int:
    """Return how often a value of at least so many bytes fits into one request."""
    return REQUEST_MOST // (least + 1)


def _child(schema: Schema) -> Bound | None:
    return bound(schema, root=bool(schema.get("x-kubernetes-embedded-resource")))


def _array(schema: Schema) -> Bound | None:
    items = _child(schema["items"]) if isinstance(schema.get("items"), dict) else None
    if items is None:
        return None
    most = schema.get("maxItems")
    return Bound("list", max(most, 0) if most is not None else (REQUEST_MOST - 2) // (items.least + 1), values=items)


def _map(schema: Schema) -> Bound | None:
    values = _child(schema["additionalProperties"])
    if values is None:
        return None
    most = schema.get("maxProperties")
    return Bound("map", max(most, 0) if most is not None else (REQUEST_MOST - 2) // (values.least + 6), keys=_KEY, values=values)


def _object(schema: Schema) -> Bound:
    fields: dict[str, Bound] = {}
    least, needed = 2, set(schema.get("required") or ())
    for name, child in (schema.get("properties") or {}).items():
        found, escaped = _child(child), escape(name)
        if found is None:
            continue
        if escaped is not None:
            fields[escaped] = found
        if name in needed and child.get("default") is None:
            least += len(name.encode()) + found.least + 4
    return Bound("struct", 0, least, fields)


def _text(schema: Schema) -> Bound:
    form = schema.get("format", "")
    if form == "byte":
        most = schema.get("maxLength")
        return Bound("bytes", max(most, 0) if most is not None else REQUEST_MOST - _QUOTES)
    if form in _MOMENTS:
        kind, least, longest = _MOMENTS[form]
        return Bound(kind, longest, least)
    listed = schema.get("enum")
    longest = max((len(v.encode()) for v in listed if isinstance(v, str)), default=0) if listed else REQUEST_MOST - _QUOTES
    return Bound("string", _text_most(schema, fallback=longest))


def _text_most(schema: Schema, *, fallback: int) -> int:
    """Return the most bytes of a text: a character may have four."""
    most = schema.get("maxLength")
    return fallback if most is None else max(int(most), 0) * 4


def _whole(schema: Schema) -> Schema:
    """Return the schema of a whole object with what rules may always read, and how long names are at most."""
    fields: dict[str, Any] = dict(schema.get("properties") or {})
    given = (fields.get("metadata") or {}).get("properties") or {}
    if _is_complete(fields, given):
        return schema
    names = {name: _capped(given.get(name) or {}, most) for name, most in (("name", _NAME_MOST), ("generateName", _NAME_MOST - 1))}
    always = {"kind": {"type": "string"}, "apiVersion": {"type": "string"}, "metadata": {"type": "object", "properties": names}}
    return {**schema, "properties": fields | always}


def _is_complete(fields: Mapping[str, Any], names: Mapping[str, Any]) -> bool:
    kinds = {"kind": "string", "apiVersion": "string", "metadata": "object"}
    texts = all((names.get(name) or {}).get("type") == "string" for name in ("name", "generateName"))
    return texts and all((fields.get(name) or {}).get("type") == kind for name, kind in kinds.items())


def _capped(given: Schema, most: int) -> Schema:
    own = given.get("maxLength")
    return {"type": "string", "maxLength": min(most, own) if own is not None else most}
