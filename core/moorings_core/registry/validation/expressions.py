"""Expressions in objects: do they compile, and do they give what is wanted. Source: apiserver pkg/admission/plugin/cel compile.go."""

from __future__ import annotations

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


def check_expression(
    expression: str, path: str, wanted: str, *, params: bool = False, variables: bool = False, authorizer: bool = True
) -> list[FieldError]:
    """Return what is wrong with an expression. wanted: bool, string, text (or nothing), any."""
    from moorings_core import cel  # large, and few objects have expressions

    schemas: dict[str, Any] = {"request": REQUEST} | {name: {} for name in OBJECTS}
    if params:
        schemas["params"] = {}
    if variables:
        schemas["variables"] = {}
    known = {"authorizer": cel.AUTHORIZER, "authorizer.requestResource": cel.RESOURCE_CHECK} if authorizer else {}
    try:
        found = cel.check(expression, schemas, known)
    except cel.CompileError as error:
        return [invalid(path, expression, f"compilation failed: {_framed(str(error))}")]
    allowed = WANTED[wanted]
    if not allowed or found in (*allowed, "dyn"):
        return []
    words = f"must evaluate to {allowed[0]}" if len(allowed) == 1 else f"must evaluate to one of [{' '.join(allowed)}]"
    return [invalid(path, expression, f"{words} but got {found}" if len(allowed) == 1 else words)]


def _framed(text: str) -> str:
    return text if text.startswith("ERROR") else f"ERROR: {text}"
