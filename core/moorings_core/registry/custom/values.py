"""Validation of values by their schema. What an update leaves as it was is not judged again (ratcheting).

Source: kube-openapi pkg/validation/validate (JSON Schema with OpenAPI's additions), apiextensions apiserver/validation.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
import re2

from moorings_core.ports.objects import Object
from moorings_core.registry.validation.errors import FieldError, duplicate, invalid, required

from .formats import FORMATS

ABSENT: Any = object()
"""The old value of something that is new"""
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int, float),
    "number": (int, float),
}


def validate(value: Any, schema: Object, path: str = "", old: Any = ABSENT) -> list[FieldError]:
    """Return what is wrong with a value; old is the value it replaces."""
    if old is not ABSENT and type(old) is type(value) and old == value:
        return []
    if value is None:
        allowed = schema.get("nullable") or not (schema.get("type") or schema.get("x-kubernetes-int-or-string"))
        return [] if allowed else [_type_error(value, schema, path)]
    if not _fits(value, schema):
        wrong = [_type_error(value, schema, path)]
        if schema.get("type") == "integer" and isinstance(value, float):
            wrong.append(invalid("<nil>", "", f"Checked value must be of type integer (default format) in {path}"))
        return wrong
    found = _enum(value, schema, path)
    if isinstance(value, str):
        found += _string(value, schema, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        found += _number(value, schema, path)
    elif isinstance(value, list):
        found += _array(value, schema, path, old)
    elif isinstance(value, dict):
        found += _object(value, schema, path, old)
    return found + _combined(value, schema, path)


def _fits(value: Any, schema: Object) -> bool:
    if schema.get("x-kubernetes-int-or-string"):
        return type(value) in (int, str) or (isinstance(value, float) and value.is_integer())
    kind = schema.get("type")
    if not kind:
        return True
    if isinstance(value, bool):
        return bool(kind == "boolean")
    if kind == "integer" and isinstance(value, float) and not value.is_integer():
        return False
    return isinstance(value, _TYPES.get(kind, (object,)))


def _name(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, float):
        return "integer" if value.is_integer() else "number"
    return next((name for name, types in _TYPES.items() if type(value) in types), "object")


def _type_error(value: Any, schema: Object, path: str) -> FieldError:
    wanted = "integer,string" if schema.get("x-kubernetes-int-or-string") else schema.get("type", "")
    given = _name(value)
    return FieldError(
        "FieldValueTypeInvalid", path or "<nil>", f'Invalid value: "{given}": {_in(path)} must be of type {wanted}: "{given}"'
    )


def _in(path: str) -> str:
    return f"{path} in body"


def _wrong(value: Any, path: str, words: str) -> FieldError:
    return invalid(path, value, f"{_in(path)} {words}")


def _enum(value: Any, schema: Object, path: str) -> list[FieldError]:
    allowed = schema.get("enum")
    if not allowed or any(_same(value, a) for a in allowed):
        return []
    listed = ", ".join(f'"{a if isinstance(a, str) else orjson.dumps(a).decode()}"' for a in allowed)
    return [FieldError("FieldValueNotSupported", path, f"Unsupported value: {orjson.dumps(value).decode()}: supported values: {listed}")]


def _same(a: Any, b: Any) -> bool:
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def _string(value: str, schema: Object, path: str) -> list[FieldError]:
    """Return the first rule that a text breaks, and whether it has its format."""
    found = []
    most, least, pattern = schema.get("maxLength"), schema.get("minLength"), schema.get("pattern")
    if most is not None and len(value) > most:
        found.append(FieldError("FieldValueTooLong", path, f"Too long: may not be more than {most} bytes"))
    elif least is not None and len(value) < least:
        found.append(_wrong(value, path, f"should be at least {least} chars long"))
    elif pattern and not compiled(pattern).search(value):
        found.append(_wrong(value, path, f"should match '{pattern}'"))
    test = FORMATS.get(schema.get("format", "").replace("-", ""))
    if test is not None and not test(value):
        text = f'Invalid value: {orjson.dumps(value).decode()}: {_in(path)} must be of type {schema["format"]}: "{value}"'
        found.append(FieldError("FieldValueTypeInvalid", path, text))
    return found


@functools.lru_cache(maxsize=1024)
def compiled(pattern: str) -> Any:
    """Return a pattern of RE2, the dialect of Go. Raises re2.error."""
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def _number(value: float, schema: Object, path: str) -> list[FieldError]:
    found = []
    most, least, step = schema.get("maximum"), schema.get("minimum"), schema.get("multipleOf")
    if most is not None and (value >= most if schema.get("exclusiveMaximum") else value > most):
        found.append(_wrong(value, path, f"should be less than {'' if schema.get('exclusiveMaximum') else 'or equal to '}{plain(most)}"))
    if least is not None and (value <= least if schema.get("exclusiveMinimum") else value < least):
        found.append(
            _wrong(value, path, f"should be greater than {'' if schema.get('exclusiveMinimum') else 'or equal to '}{plain(least)}")
        )
    if step and (value / step) % 1:
        found.append(_wrong(value, path, f"should be a multiple of {plain(step)}"))
    bits = {"int32": 31, "int64": 63}.get(schema.get("format", "")) if schema.get("type") == "integer" else None
    if bits and not -(2**bits) <= value < 2**bits:
        found.append(_wrong(value, path, f"must be of type {schema['format']}"))
    return found


def plain(number: Any) -> str:
    """Return a number as Go prints it."""
    return f"{number:g}" if isinstance(number, float) else str(number)


def _too_many(path: str, count: int, most: int) -> FieldError:
    return FieldError("FieldValueTooMany", path, f"Too many: {count}: must have at most {most} item{'s' if most != 1 else ''}")


def _array(value: list[Any], schema: Object, path: str, old: Any) -> list[FieldError]:
    found = []
    most, least = schema.get("maxItems"), schema.get("minItems")
    if most is not None and len(value) > most:
        found.append(_too_many(path, len(value), most))
    if least is not None and len(value) < least:
        found.append(_wrong(value, path, f"should have at least {least} items"))
    items = schema.get("items")
    if isinstance(items, dict):
        before = correlated(value, schema, old)
        for index, item in enumerate(value):
            found += validate(item, items, f"{path}[{index}]", before[index])
    return found


def correlated(value: Sequence[Any], schema: Object, old: Any) -> list[Any]:
    """Return for each item the one that it replaces: only lists with keys say which that is."""
    if schema.get("x-kubernetes-list-type") != "map" or not isinstance(old, list):
        return [ABSENT] * len(value)
    known = {item_key(item, schema): item for item in old}
    return [known.get(item_key(item, schema), ABSENT) for item in value]


def item_key(item: Any, schema: Object) -> bytes:
    """Return what tells an item of a keyed list from others."""
    if not isinstance(item, dict):
        return b""
    fields = (schema.get("items") or {}).get("properties") or {}
    return orjson.dumps([item.get(k, fields.get(k, {}).get("default")) for k in schema.get("x-kubernetes-list-map-keys") or ()])


def _object(value: Object, schema: Object, path: str, old: Any) -> list[FieldError]:
    found = []
    most, least = schema.get("maxProperties"), schema.get("minProperties")
    if most is not None and len(value) > most:
        found.append(_too_many(path, len(value), most))
    if least is not None and len(value) < least:
        found.append(_wrong(value, path, f"should have at least {least} properties"))
    found += [required(f"{path}.{name}" if path else name) for name in schema.get("required") or () if name not in value]
    fields, values = schema.get("properties") or {}, schema.get("additionalProperties")
    before = old if isinstance(old, dict) and schema.get("x-kubernetes-map-type") != "atomic" else {}
    for name, child in value.items():
        node = fields.get(name) if name in fields else values
        if isinstance(node, dict):
            found += validate(child, node, f"{path}.{name}" if path else name, before.get(name, ABSENT))
    return found


def _combined(value: Any, schema: Object, path: str) -> list[FieldError]:
    """allOf, anyOf, oneOf and not."""
    found = [e for one in schema.get("allOf") or () for e in validate(value, one, path)]
    anyof, oneof = schema.get("anyOf"), schema.get("oneOf")
    if anyof:
        tries = [validate(value, one, path) for one in anyof]
        if all(tries):
            found += [invalid("<nil>", "", f'"{path}" must validate at least one schema (anyOf)'), *_fewest(tries)]
    if oneof:
        tries = [validate(value, one, path) for one in oneof]
        if (count := sum(not errors for errors in tries)) != 1:
            more = "Found none valid" if not count else f"Found {count} valid alternatives"
            found.append(invalid("<nil>", "", f'"{path}" must validate one and only one schema (oneOf). {more}'))
            found += _fewest(tries) if not count else []
    if schema.get("not") is not None and not validate(value, schema["not"], path):
        found.append(invalid("<nil>", "", f'"{path}" must not validate the schema (not)'))
    return found


def _fewest(tries: Sequence[list[FieldError]]) -> list[FieldError]:
    return min(tries, key=len)


def doubles(value: Any, schema: Object, path: str = "") -> Iterable[FieldError]:
    """Yield the items that stand twice in lists that are sets or maps."""
    if isinstance(value, dict):
        fields, values = schema.get("properties") or {}, schema.get("additionalProperties")
        for name, child in value.items():
            node = fields.get(name) if name in fields else values
            if isinstance(node, dict):
                yield from doubles(child, node, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        yield from _doubles_of(value, schema, path)
        for index, item in enumerate(value):
            yield from doubles(item, schema["items"], f"{path}[{index}]")


def _doubles_of(value: list[Any], schema: Object, path: str) -> Iterable[FieldError]:
    kind = schema.get("x-kubernetes-list-type")
    if kind not in ("set", "map"):
        return
    seen: set[bytes] = set()
    told: set[bytes] = set()
    for index, item in enumerate(value):
        key = item_key(item, schema) if kind == "map" else orjson.dumps(item, option=orjson.OPT_SORT_KEYS)
        if key in seen and key not in told:
            told.add(key)
            keys = schema.get("x-kubernetes-list-map-keys") or ()
            yield duplicate(f"{path}[{index}]", {k: item[k] for k in keys if k in item} if kind == "map" else item)
        seen.add(key)
