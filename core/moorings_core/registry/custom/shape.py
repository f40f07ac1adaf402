"""What an object of a custom kind is stored as: without unknown fields, with defaults.

Source: apiextensions-apiserver pkg/apiserver/schema/pruning, defaulting.
"""

from __future__ import annotations

import copy
from typing import Any

from moorings_core.ports.objects import Object
from moorings_core.registry.schema import find_unknown, named
from moorings_core.registry.schema import prune as prune_built_in

from .schema import METADATA

_OPEN = "x-kubernetes-preserve-unknown-fields"
_ALWAYS = ("apiVersion", "kind", "metadata")


def prune(value: Any, schema: Object, *, path: str = "", resource: bool = False) -> list[str]:
    """Take out of a value, in place, what the schema does not know; return the paths of it. resource: it is a whole object."""
    found: list[str] = []
    embedded = bool(schema.get("x-kubernetes-embedded-resource"))
    if embedded and isinstance(value, dict) and isinstance(value.get("metadata"), dict):
        found += find_unknown(value["metadata"], named(METADATA), f"{path}.metadata")
        value["metadata"] = prune_built_in(value["metadata"], named(METADATA))
    resource = resource or embedded
    if isinstance(value, dict):
        _prune_fields(value, schema, path, resource, found)
    elif isinstance(value, list):
        items = schema.get("items")
        for index, item in enumerate(value):
            found += prune(item, items or {"x-kubernetes-preserve-unknown-fields": _is_open(schema)}, path=f"{path}[{index}]")
    return found


def _is_open(schema: Object) -> bool:
    return bool(schema.get("x-kubernetes-preserve-unknown-fields"))


def _prune_fields(value: Object, schema: Object, path: str, resource: bool, found: list[str]) -> None:
    fields, values = schema.get("properties") or {}, schema.get("additionalProperties")
    for name in list(value):
        if resource and name in _ALWAYS:
            continue
        where = f"{path}.{name}" if path else name
        if name in fields:
            found += prune(value[name], fields[name], path=where)
        elif isinstance(values, dict):
            found += prune(value[name], values, path=where)
        elif not values and not _is_open(schema):
            found.append(where)
            del value[name]


def fill(value: Any, schema: Object) -> None:
    """Put the defaults into a value, in place; a null where none may be is as good as nothing, if there is a default for it."""
    if isinstance(value, dict):
        _drop_nulls(value, schema)
        for name, child in (schema.get("properties") or {}).items():
            missing = name not in value or (value[name] is None and not child.get("nullable"))
            if missing and "default" in child:
                value[name] = copy.deepcopy(child["default"])
            if value.get(name) is not None:
                fill(value[name], child)
        values = schema.get("additionalProperties")
        if isinstance(values, dict):
            for name, child_value in value.items():
                if child_value is None and not values.get("nullable") and "default" in values:
                    value[name] = copy.deepcopy(values["default"])
                if name not in (schema.get("properties") or {}):
                    fill(value[name], values)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for index, item in enumerate(value):
            if item is None and not schema["items"].get("nullable") and "default" in schema["items"]:
                value[index] = copy.deepcopy(schema["items"]["default"])
            fill(value[index], schema["items"])


def _drop_nulls(value: Object, schema: Object) -> None:
    """Take out the nulls that may not be and for which there is no default."""
    fields, values = schema.get("properties") or {}, schema.get("additionalProperties")
    for name in [n for n, v in value.items() if v is None]:
        node = fields.get(name) if name in fields else values
        if isinstance(node, dict) and not node.get("nullable") and "default" not in node and not node.get(_OPEN):
            del value[name]


def has_defaults(schema: Any) -> bool:
    """Whether anything in a schema has a default."""
    if not isinstance(schema, dict):
        return False
    children = [*(schema.get("properties") or {}).values(), schema.get("items"), schema.get("additionalProperties")]
    return "default" in schema or any(has_defaults(child) for child in children)
