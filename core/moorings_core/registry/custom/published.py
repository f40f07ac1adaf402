"""The schema of a custom kind as OpenAPI documents show it. Source: apiextensions-apiserver pkg/controller/openapi/builder."""

from __future__ import annotations

from typing import Any

from moorings_core.ports.objects import Object
from moorings_core.registry import explained

from .schema import METADATA

LIST_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"
_CHILDREN = ("properties",)
_RULES = "x-kubernetes-validations"

TYPE_FIELDS = {
    "apiVersion": "APIVersion defines by which group and version of the kind's schema this object is written.",
    "kind": "Kind is the name of what this object represents, as the API knows it.",
}


def name_of(group: str, version: str, kind: str) -> str:
    """Return the name of the definition: the group's domain turned round, as upstream names it."""
    return ".".join([*reversed(group.split(".")), version, kind])


def published(raw: Object, gvk: Object, prefix: str, *, old: bool = False) -> Object:
    """Return the schema of an object; prefix: how references begin. old: for OpenAPI v2, which says less."""
    if old and raw.get("x-kubernetes-preserve-unknown-fields"):  # kubectl would take the fields that are named for all there are
        return {"type": "object", "x-kubernetes-group-version-kind": [gvk]}
    made: Object = _node(raw, old)
    reference = prefix + METADATA
    metadata: Object = {"$ref": reference} if old else {"allOf": [{"$ref": reference}], "description": explained.METADATA}
    texts = {name: {"type": "string", "description": text} for name, text in TYPE_FIELDS.items()}
    fields = {**texts, "metadata": metadata}
    made["type"] = "object"
    if "properties" in made or not raw.get("x-kubernetes-preserve-unknown-fields"):
        made["properties"] = {**(made.get("properties") or {}), **fields}
    else:
        made["properties"] = fields
    made["x-kubernetes-group-version-kind"] = [gvk]
    return made


def published_list(reference: str, gvk: Object, list_kind: str, prefix: str, *, old: bool = False) -> Object:
    """Return the schema of a list."""
    meta: Object = {"$ref": prefix + LIST_META} if old else {"allOf": [{"$ref": prefix + LIST_META}]}
    item: Object = {"$ref": reference} if old else {"allOf": [{"$ref": reference}]}
    fields = {
        "apiVersion": {"type": "string"},
        "items": {"type": "array", "items": item},
        "kind": {"type": "string"},
        "metadata": meta,
    }
    return {"type": "object", "required": ["items"], "properties": fields, "x-kubernetes-group-version-kind": [{**gvk, "kind": list_kind}]}


def _node(raw: Any, old: bool) -> Any:
    if not isinstance(raw, dict):
        return raw
    made: Object = {}
    for key, value in raw.items():
        if key == "properties" and isinstance(value, dict):
            made[key] = {name: _node(child, old) for name, child in value.items()}
        elif key in ("items", "additionalProperties", "not"):
            made[key] = _node(value, old)
        elif key in ("allOf", "anyOf", "oneOf"):
            made[key] = [_node(child, old) for child in value]
        else:
            made[key] = value
    if old:
        _lessen(made, raw)
    elif raw.get("x-kubernetes-int-or-string"):
        made.setdefault("anyOf", [{"type": "integer"}, {"type": "string"}])
    return made


def _lessen(made: Object, raw: Object) -> None:
    """Take away what OpenAPI v2 can't say: what is left must not refuse what the server takes."""
    for key in ("anyOf", "oneOf", "not", "allOf", "nullable", "default", _RULES):
        made.pop(key, None)
    if raw.get("nullable") or raw.get("x-kubernetes-preserve-unknown-fields"):
        for key in ("type", "properties", "items", "additionalProperties", "required"):
            if key != "type" or raw.get("nullable"):
                made.pop(key, None)
    if raw.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
