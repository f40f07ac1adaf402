"""JSON patch. Source: RFC 6902, RFC 6901; upstream's limit of operations."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from .errors import PatchDoesNotFit, PatchError

OPERATIONS_MOST = 10_000
_MISSING = object()


def apply(document: Any, operations: Sequence[Any]) -> Any:
    """Return document with all operations applied in order. Raises PatchError, PatchDoesNotFit."""
    if not isinstance(operations, list):
        raise PatchError("a JSON patch is a list of operations")
    if len(operations) > OPERATIONS_MOST:
        raise PatchError(f"the allowed maximum operations in a JSON patch is {OPERATIONS_MOST}, got {len(operations)}")
    result = copy.deepcopy(document)
    for operation in operations:
        result = _apply_one(result, operation)
    return result


def _apply_one(document: Any, operation: Any) -> Any:
    if not isinstance(operation, dict) or "op" not in operation or not isinstance(operation.get("path"), str):
        raise PatchDoesNotFit(f"not an operation with op and path: {operation!r}")
    path = _pointer(operation["path"])
    match operation["op"]:
        case "add":
            return _add(document, path, _given(operation))
        case "remove":
            return _remove(document, path)[0]
        case "replace":
            return _replace(document, path, _given(operation))
        case "move":
            document, value = _remove(document, _pointer(operation.get("from", "")))
            return _add(document, path, value)
        case "copy":
            return _add(document, path, copy.deepcopy(_get(document, _pointer(operation.get("from", "")))))
        case "test":
            if not _equal(_get(document, path, missing=None), operation.get("value")):
                raise PatchDoesNotFit(f"testing path {operation['path']} value failed")
            return document
    raise PatchDoesNotFit(f"unknown operation {operation['op']!r}")


def _given(operation: Any) -> Any:
    if "value" not in operation:
        raise PatchDoesNotFit(f"{operation['op']} {operation['path']} has no value")
    return copy.deepcopy(operation["value"])


def _pointer(text: str) -> list[str]:
    if text == "":
        return []
    if not text.startswith("/"):
        raise PatchDoesNotFit(f"a path starts with '/', got {text!r}")
    return [part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/")]


def _get(document: Any, path: Sequence[str], missing: Any = _MISSING) -> Any:
    for part in path:
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list):
            document = document[_index(part, len(document) - 1)]
        elif missing is _MISSING:
            raise PatchDoesNotFit(f"there is nothing at /{'/'.join(path)}")
        else:
            return missing
    return document


def _add(document: Any, path: Sequence[str], value: Any) -> Any:
    if not path:
        return value
    parent = _get(document, path[:-1])
    if isinstance(parent, dict):
        parent[path[-1]] = value
    elif isinstance(parent, list):
        parent.insert(len(parent) if path[-1] == "-" else _index(path[-1], len(parent)), value)
    else:
        raise PatchDoesNotFit(f"/{'/'.join(path)} is inside neither an object nor a list")
    return document


def _replace(document: Any, path: Sequence[str], value: Any) -> Any:
    """A field of an object is set, whether it was there or not: not as the RFC has it, but as upstream's library does."""
    inside = bool(path) and isinstance(_get(document, path[:-1]), dict)
    return _add(document if inside else _remove(document, path)[0], path, value)


def _remove(document: Any, path: Sequence[str]) -> tuple[Any, Any]:
    if not path:
        return None, document
    value, parent = _get(document, path), _get(document, path[:-1])
    if isinstance(parent, list):
        del parent[_index(path[-1], len(parent) - 1)]
    else:
        del parent[path[-1]]
    return document, value


def _index(part: str, most: int) -> int:
    if not part.isdigit() or (part != "0" and part.startswith("0")) or int(part) > most:
        raise PatchDoesNotFit(f"{part!r} is no index of a list with {most + 1} places")
    return int(part)


def _equal(a: Any, b: Any) -> bool:
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)
