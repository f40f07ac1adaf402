"""Expressions in objects: do they compile, and do they give what is wanted. Source: apiserver pkg/admission/plugin/cel compile.go."""

from __future__ import annotations

import re
from typing import Any

from .errors import FieldError, invalid

_TEXT: dict[str, Any] = {"type": "string"}
_KIND = {"type": "object", "properties": {"group": _TEXT, "version": _TEXT, "kind": _TEXT}}
_RESOURCE = {"type": "object", "properties": {"group": _TEXT, "version": _TEXT, "resource": _TEXT}}
_TEXTS = {"type": "array", "items": _TEXT}
_USER = {"username": _TEXT, "uid": _TEXT, "groups": _TEXTS, "extra": {"type": "object", "additionalProperties": _TEXTS}}
_ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
REQUEST = {
    "type": "object",
    "properties": {
        **dict.fromkeys(("kind", "requestKind"), _KIND),
        **dict.fromkeys(("resource", "requestResource"), _RESOURCE),
        **dict.fromkeys(("name", "namespace", "operation", "subResource", "requestSubResource"), _TEXT),
        "userInfo": {"type": "object", "properties": _USER},
        "dryRun": {"type": "boolean"},
        "options": _ANYTHING,
    },
}
OBJECTS = ("object", "oldObject", "namespaceObject")
WANTED: dict[str, tuple[str, ...]] = {"bool": ("bool",), "string": ("string",), "text": ("string", "null_type"), "any": ()}


_HOME = re.compile(r"\brequest\.namespace\b")
"""A field that schemas call otherwise, as its name is a word of the language; in a request it is called what it is"""


Types = dict[str, Any]
"""Schemas of a policy's variables by name"""
_SCHEMAS = {"bool": {"type": "boolean"}, "int": {"type": "integer"}, "double": {"type": "number"}, "string": {"type": "string"}}


def schema_of(type_name: str) -> Any:
    """Return the schema of what an expression of a type gives; of lists and maps nothing is said."""
    return _SCHEMAS.get(type_name, {})


def check_expression(
    expression: str, path: str, wanted: str, *, params: bool = False, variables: Types | None = None, authorizer: bool = True
) -> list[FieldError]:
    """Return what is wrong with an expression. wanted: bool, string, text (or nothing), any."""
    found = type_of(expression, path, params=params, variables=variables, authorizer=authorizer)
    if isinstance(found, FieldError):
        return [found]
    allowed = WANTED[wanted]
    if not allowed or found in allowed:
        return []
    words = allowed[0] if len(allowed) == 1 else f"one of [{' '.join(allowed)}]"
    return [invalid(path, expression, f"must evaluate to {words} but got {found}")]


def type_of(
    expression: str, path: str, *, params: bool = False, variables: Types | None = None, authorizer: bool = True, objects: Any = None
) -> str | FieldError:
    """Return the type of what an expression gives, or what is wrong with it. objects: the schema of the objects, if that is known."""
    from moorings_core import cel  # large, and few objects have expressions

    schemas: dict[str, Any] = {"request": REQUEST} | {name: {} for name in OBJECTS}
    if objects:
        schemas["object"] = schemas["oldObject"] = objects
    if params:
        schemas["params"] = {}
    if variables:
        schemas["variables"] = {"type": "object", "properties": variables}
    known = {"authorizer": cel.AUTHORIZER, "authorizer.requestResource": cel.RESOURCE_CHECK} if authorizer else {}
    try:
        return cel.check(_HOME.sub("request.__namespace__", expression), schemas, known)
    except cel.CompileError as error:
        return invalid(path, expression, f"compilation failed: {_framed(str(error))}")


def _framed(text: str) -> str:
    return text if text.startswith("ERROR") else f"ERROR: {text}"
