"""Which OpenAPI v3 schemas a CustomResourceDefinition may have: structural ones, whose every node says what it is.

Source: apiextensions-apiserver pkg/apiserver/schema/validation.go, pkg/apis/apiextensions/validation.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator
from typing import Any

import re2

from moorings_core.ports.objects import Object
from moorings_core.registry.validation.errors import FieldError, Path, forbidden, invalid, not_supported, required

from . import shape, values

TYPES = ("array", "boolean", "integer", "number", "object", "string")
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_UNSUPPORTED = ("additionalItems", "patternProperties", "definitions", "dependencies", "$ref")
_META = ("apiVersion", "kind", "metadata")
_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_NESTED = (
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
)
_EMPTY_WHAT = {0: "must not be empty at the root", 1: "must not be empty for specified array items"}


def check(schema: Object, path: Path, *, lenient: bool = False) -> list[FieldError]:
    """Return what is wrong with the schema of a version. lenient: it is as it was, so one CEL expression may cost anything."""
    found = sorted([*_structural(schema, path, 0), *_completeness(schema, path)], key=str)
    if not found:
        found += _defaults(schema, path, root=True)
    found += _standard(schema, path, root=True, meta=False)
    if found or not has_rules(schema):
        return found
    from . import rule_checks  # the evaluator is large

    return list(rule_checks.check(schema, path, lenient=lenient))


def has_rules(schema: object) -> bool:
    """Whether any node of a schema has CEL rules: only then is the evaluator loaded."""
    if isinstance(schema, dict):
        return bool(schema.get("x-kubernetes-validations")) or any(has_rules(child) for child in schema.values())
    return isinstance(schema, list) and any(has_rules(child) for child in schema)


def violations(schema: Object, path: Path) -> list[FieldError]:
    """Return why a schema is not structural."""
    return sorted([*_structural(schema, path, 0), *_completeness(schema, path)], key=str)


def _children(schema: Object, path: Path) -> Iterator[tuple[Object, Path, int, str]]:
    """Yield (schema, path, level, name) of the nodes below: level 1 is an item, 2 a field."""
    if isinstance(schema.get("items"), dict):
        yield schema["items"], path / "items", 1, ""
    for name, child in (schema.get("properties") or {}).items():
        yield child, (path / "properties").at(name), 2, name
    if isinstance(schema.get("additionalProperties"), dict):
        yield schema["additionalProperties"], path / "additionalProperties", 2, ""


def _structural(schema: Object, path: Path, level: int) -> Iterator[FieldError]:
    kind = schema.get("type", "")
    if kind == "array" and not isinstance(schema.get("items"), dict):
        yield required(path / "items", "must be specified")
    for child, where, below, _ in _children(schema, path):
        yield from _structural(child, where, below)
    if level == 0 and schema.get("additionalProperties") is not None:
        yield forbidden(path / "additionalProperties", "must not be used at the root")
    yield from _extensions(schema, path, kind, level)
    skip_any = schema.get("anyOf") == _INT_OR_STRING and bool(schema.get("x-kubernetes-int-or-string"))
    yield from _value_rules(schema, path, level, skip_any)
    if level == 0 and kind and kind != "object":
        yield invalid(path / "type", kind, "must be object at the root")
    if level == 0 or schema.get("x-kubernetes-embedded-resource"):
        yield from _metadata(schema, path, level)


def _extensions(schema: Object, path: Path, kind: str, level: int) -> Iterator[FieldError]:
    embedded, is_open, either = (
        bool(schema.get(f"x-kubernetes-{n}")) for n in ("embedded-resource", "preserve-unknown-fields", "int-or-string")
    )
    if either and is_open:
        yield invalid(path / "x-kubernetes-preserve-unknown-fields", True, "must be false if x-kubernetes-int-or-string is true")
    if either and embedded:
        yield invalid(path / "x-kubernetes-embedded-resource", True, "must be false if x-kubernetes-int-or-string is true")
    if embedded and kind != "object":
        detail = "must be object if x-kubernetes-embedded-resource is true"
        yield invalid(path / "type", kind, detail) if kind else required(path / "type", detail)
    elif not kind and not either and not is_open:
        yield required(path / "type", _EMPTY_WHAT.get(level, "must not be empty for specified object fields"))
    if embedded and schema.get("additionalProperties") is not None:
        yield forbidden(path / "additionalProperties", "must not be used if x-kubernetes-embedded-resource is set")
    if embedded and not is_open and not schema.get("properties"):
        detail = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
        yield required(path / "properties", detail)


def _metadata(schema: Object, path: Path, level: int) -> Iterator[FieldError]:
    fields = schema.get("properties") or {}
    for name in ("kind", "apiVersion"):
        if name in fields and fields[name].get("type") != "string":
            yield invalid((path / "properties").at(name) / "type", fields[name].get("type", ""), "must be string")
    meta = fields.get("metadata")
    if meta is None:
        return
    where = (path / "properties").at("metadata")
    if meta.get("type") != "object":
        yield invalid(where / "type", meta.get("type", ""), "must be object")
    if level == 0 and (set(meta) - {"type", "properties"} or set(meta.get("properties") or {}) - {"name", "generateName"}):
        yield forbidden(where, "must not specify anything other than name and generateName, but metadata is implicitly specified")


def _value_rules(schema: Object, path: Path, level: int, skip_any: bool = False) -> Iterator[FieldError]:
    """What may stand in allOf, anyOf, oneOf and not: rules about values, nothing that says what a value is."""
    for word in ("anyOf", "allOf", "oneOf"):
        if word == "anyOf" and skip_any:
            continue
        for index, one in enumerate(schema.get(word) or ()):
            first = word == "allOf" and index == 0 and bool(schema.get("x-kubernetes-int-or-string"))
            yield from _nested(one, (path / word).at(index), level, first and one.get("anyOf") == _INT_OR_STRING)
    if isinstance(schema.get("not"), dict):
        yield from _nested(schema["not"], path / "not", level)
    pattern = schema.get("pattern")
    if pattern:
        try:
            values.compiled(pattern)
        except re2.error as error:
            detail = f"must be a valid regular expression, but isn't: error parsing regexp: {_text(error)}"
            yield invalid(path / "pattern", pattern, detail)


def _text(error: Exception) -> str:
    """Return what is wrong with a pattern, in Go's words where they are other ones."""
    first = error.args[0] if error.args else str(error)
    text = first.decode() if isinstance(first, bytes) else str(first)
    what, _, which = text.rpartition(": ")
    return f"{what.replace('missing ', 'missing closing ') if what in ('missing )', 'missing ]') else what}: `{which}`"


def _nested(schema: Object, path: Path, level: int, skip_any: bool = False) -> Iterator[FieldError]:
    yield from _value_rules(schema, path, level, skip_any)
    if isinstance(schema.get("items"), dict):
        yield from _nested(schema["items"], path / "items", level)
    for name, child in (schema.get("properties") or {}).items():
        yield from _nested(child, (path / "properties").at(name), 2)
    for name, detail in _NESTED:
        if schema.get(name):
            yield forbidden(path / name, detail)
    if "metadata" in (schema.get("properties") or {}):
        yield forbidden((path / "properties").at("metadata"), "must not be specified in a nested context")


def _completeness(schema: Object, path: Path) -> Iterator[FieldError]:
    """Every node that a rule about values names must be one that the schema itself says something of."""
    for one, place in _alternatives(schema, path):
        yield from _complete(one, place, schema, path)
    for child, where, _, _ in _children(schema, path):
        yield from _completeness(child, where)


def _alternatives(schema: Object, path: Path) -> Iterator[tuple[Object, Path]]:
    for word in ("allOf", "anyOf", "oneOf"):
        for index, one in enumerate(schema.get(word) or ()):
            yield one, (path / word).at(index)
    if isinstance(schema.get("not"), dict):
        yield schema["not"], path / "not"


def _complete(one: Object, place: Path, schema: Object, path: Path) -> Iterator[FieldError]:
    """Yield what one, which stands at place, says of nodes that the schema at path does not have."""
    fields = schema.get("properties") or {}
    for name, child in (one.get("properties") or {}).items():
        where, named = (path / "properties").at(name), (place / "properties").at(name)
        if name in fields:
            yield from _complete(child, named, fields[name], where)
        else:
            yield required(where, f"because it is defined in {named}")
    if isinstance(one.get("items"), dict):
        if isinstance(schema.get("items"), dict):
            yield from _complete(one["items"], place / "items", schema["items"], path / "items")
        else:
            yield required(path / "items", f"because it is defined in {place / 'items'}")
    for deeper, below in _alternatives(one, place):
        yield from _complete(deeper, below, schema, path)


def _defaults(schema: Object, path: Path, *, root: bool) -> Iterator[FieldError]:
    """Defaults must be values that the schema itself would take."""
    for child, where, _, name in _children(schema, path):
        if root and name in _META:
            continue
        if "default" in child and child["default"] is not None:
            value = copy.deepcopy(child["default"])
            if shape.prune(value, child):
                yield invalid(where / "default", child["default"], "must not have unknown fields")
            shape.fill(value, child)
            for error in values.validate(value, child):
                place = where / "default"
                yield FieldError(error.reason, place / error.field if error.field not in ("", "<nil>") else place, error.message)
        yield from _defaults(child, where, root=False)


def _standard(schema: Object, path: Path, *, root: bool, meta: bool) -> Iterator[FieldError]:
    kind = schema.get("type", "")
    if kind == "null":
        yield forbidden(path / "type", "type cannot be set to null, use nullable as an alternative")
    if kind and kind not in TYPES:
        yield not_supported(path / "type", kind, TYPES)
    for name in _UNSUPPORTED:
        if schema.get(name):
            yield forbidden(path / name, f"{name} is not supported")
    if isinstance(schema.get("items"), list):
        yield forbidden(path / "items", "items must be a schema object and not an array")
    if meta and schema.get("x-kubernetes-embedded-resource"):
        yield forbidden(path / "x-kubernetes-embedded-resource", "must not be used inside of resource meta")
    if schema.get("uniqueItems"):
        yield forbidden(path / "uniqueItems", "uniqueItems cannot be set to true since the runtime complexity becomes quadratic")
    if schema.get("additionalProperties") not in (None, True) and schema.get("properties"):
        yield forbidden(path / "additionalProperties", "additionalProperties and properties are mutual exclusive")
    for child, where, _, name in _children(schema, path):
        inside = meta or ((root or bool(schema.get("x-kubernetes-embedded-resource"))) and name in _META)
        if root and name in _META and "default" in child:
            yield forbidden(where / "default", f"must not be set in top-level {name}")
        yield from _standard(child, where, root=False, meta=inside)
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        yield invalid(path / "x-kubernetes-preserve-unknown-fields", False, "must be true or undefined")
    yield from _map_type(schema, path, kind)
    yield from _list_type(schema, path, kind)
    for index, rule in enumerate(schema.get("x-kubernetes-validations") or ()):
        yield from _rule_fields(rule, (path / "x-kubernetes-validations").at(index), schema)


def _map_type(schema: Object, path: Path, kind: str) -> Iterator[FieldError]:
    given = schema.get("x-kubernetes-map-type")
    if given is None:
        return
    if kind != "object":
        detail = "must be object if x-kubernetes-map-type is specified"
        yield invalid(path / "type", kind, detail) if kind else required(path / "type", detail)
    if given not in ("atomic", "granular"):
        yield not_supported(path / "x-kubernetes-map-type", given, ("atomic", "granular"))


def _list_type(schema: Object, path: Path, kind: str) -> Iterator[FieldError]:
    given, keys, items = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or (), schema.get("items")
    if given is not None and kind != "array":
        detail = "must be array if x-kubernetes-list-type is specified"
        yield invalid(path / "type", kind, detail) if kind else required(path / "type", detail)
    elif given == "set" and isinstance(items, dict):
        yield from _set_items(items, path)
    if given is not None and given not in ("atomic", "set", "map"):
        yield not_supported(path / "x-kubernetes-list-type", given, ("atomic", "set", "map"))
    if keys and given != "map":
        detail = "must be map if x-kubernetes-list-map-keys is non-empty"
        where = path / "x-kubernetes-list-type"
        yield required(where, detail) if given is None else invalid(where, given, detail)
    if given == "map":
        yield from _map_items(schema, path, keys, items)
    if given in ("set", "map") and isinstance(items, dict) and items.get("nullable"):
        yield forbidden(path / "items" / "nullable", f"cannot be nullable when x-kubernetes-list-type is {given}")


def _set_items(items: Object, path: Path) -> Iterator[FieldError]:
    detail = "must be atomic as item of a list with x-kubernetes-list-type=set"
    if items.get("type") == "array" and items.get("x-kubernetes-list-type", "atomic") != "atomic":
        yield invalid(path / "items" / "x-kubernetes-list-type", items["x-kubernetes-list-type"], detail)
    if items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
        yield invalid(path / "items" / "x-kubernetes-map-type", None, detail)


def _map_items(schema: Object, path: Path, keys: Iterable[str], items: Any) -> Iterator[FieldError]:
    listed = list(keys)
    if not listed:
        yield required(path / "x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map")
    if items is None:
        yield required(path / "items", "must have a schema if x-kubernetes-list-type is map")
    if not isinstance(items, dict):
        return
    if items.get("type") != "object":
        detail = "must be object if parent array's x-kubernetes-list-type is map"
        yield invalid(path / "items" / "type", items.get("type", ""), detail)
        return
    fields = items.get("properties") or {}
    for key in listed:
        where = (path / "items" / "properties").at(key)
        if key not in fields:
            yield invalid(path / "x-kubernetes-list-map-keys", listed, "entries must all be names of item properties")
            continue
        if fields[key].get("type") in ("array", "object"):
            yield invalid(where / "type", items["type"], "must be a scalar type if parent array's x-kubernetes-list-type is map")
        about = "this property is in x-kubernetes-list-map-keys, so it"
        if key not in (items.get("required") or ()) and "default" not in fields[key]:
            yield required(where / "default", f"{about} must have a default or be a required property")
        if fields[key].get("nullable"):
            yield forbidden(where / "nullable", f"{about} cannot be nullable")
    if len(set(listed)) < len(listed):
        yield invalid(path / "x-kubernetes-list-map-keys", listed, "must not contain duplicate entries")


def _rule_fields(rule: Object, path: Path, schema: Object) -> Iterator[FieldError]:
    text, message = str(rule.get("rule", "")).strip(), str(rule.get("message", ""))
    if not text:
        yield required(path / "rule", "rule is not specified")
    elif message and not message.strip():
        yield invalid(path / "message", message, "must be non-empty if specified")
    elif "\n" in message.strip():
        yield invalid(path / "message", message, "must not contain line breaks")
    elif "\n" in text and not message.strip():
        yield required(path / "message", "message must be specified if rule contains line breaks")
    if rule.get("messageExpression") and not rule["messageExpression"].strip():
        yield required(path / "messageExpression", "messageExpression must be non-empty if specified")
    if rule.get("reason") is not None and rule["reason"] not in _REASONS:
        yield not_supported(path / "reason", rule["reason"], _REASONS)
    given = rule.get("fieldPath")
    if given and not given.strip():
        yield invalid(path / "fieldPath", given, "must be non-empty if specified")
    if given and not names_field(given, schema):
        yield invalid(path / "fieldPath", given, "must be a valid path")


def names_field(text: str, schema: Object) -> Object | None:
    """Return the schema of the field that a path of fields and map keys names, or None."""
    found: Any = schema
    rest = text
    while rest:
        match = re.match(r"\.([^.\[\]]+)|\['((?:[^'\\]|\\.)*)'\]", rest)
        if match is None or not isinstance(found, dict):
            return None
        name = match[1] if match[1] is not None else match[2]
        found = (found.get("properties") or {}).get(name) if found.get("properties") else found.get("additionalProperties")
        rest = rest[match.end() :]
    return found if isinstance(found, dict) else None
