"""Columns of custom kinds: fields by JSONPath. Source: apiextensions tableconvertor; kubectl's JSONPath."""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from moorings_core.log import get_logger
from moorings_core.ports.objects import Object
from moorings_core.registry.columns.column import NAME, Column, age

log = get_logger(__name__)
_STEP = re.compile(
    r"""\.?(?P<name>(?:\\.|[\w\-$])+)"""
    r"""|\.?\['(?P<quoted>(?:[^'\\]|\\.)*)'\]"""
    r"""|\[(?P<index>-?\d+)\]"""
    r"""|\.?(?P<all>\[\*\]|\*)"""
    r"""|\[\?\(\s*@(?P<field>[^=<>!]+?)\s*(?P<operator>==|!=|<=|>=|<|>)\s*(?P<value>[^)]+?)\s*\)\]"""
)
Path = Callable[[Any], list[Any]]


@functools.lru_cache(maxsize=1024)
def path(text: str) -> Path:
    """Return the function that finds what a JSONPath names, in order. Raises ValueError."""
    steps: list[Path] = []
    at = 0
    while at < len(text) and text[at:] != ".":
        match = _STEP.match(text, at)
        if match is None:
            raise ValueError(f"unrecognized JSONPath {text!r} at {at}")
        steps.append(_step(match))
        at = match.end()

    def find(obj: Any) -> list[Any]:
        found = [obj]
        for step in steps:
            found = [value for one in found for value in step(one)]
        return found

    return find


def _step(match: re.Match[str]) -> Path:
    parts = match.groupdict()
    if parts["index"] is not None:
        index = int(parts["index"])
        return lambda value: [value[index]] if isinstance(value, list) and -len(value) <= index < len(value) else []
    if parts["all"]:
        return lambda value: list(value.values() if isinstance(value, dict) else value) if isinstance(value, dict | list) else []
    if parts["field"]:
        return _filter(path(parts["field"]), parts["operator"], parts["value"])
    name = re.sub(r"\\(.)", r"\1", parts["name"] if parts["name"] is not None else parts["quoted"])
    return lambda value: [value[name]] if isinstance(value, dict) and name in value else []


def _filter(read: Path, operator: str, literal: str) -> Path:
    wanted = literal[1:-1] if literal[0] in "'\"" else _literal(literal)
    tests: dict[str, Callable[[Any], bool]] = {
        "==": lambda v: bool(v == wanted),
        "!=": lambda v: bool(v != wanted),
        "<": lambda v: bool(v < wanted),
        "<=": lambda v: bool(v <= wanted),
        ">": lambda v: bool(v > wanted),
        ">=": lambda v: bool(v >= wanted),
    }
    test = tests[operator]

    def passes(item: Any) -> bool:
        try:
            return any(test(v) for v in read(item))
        except TypeError:
            return False

    return lambda value: [item for item in value if passes(item)] if isinstance(value, list) else []


def _literal(text: str) -> Any:
    try:
        return orjson.loads(text)
    except ValueError:
        return text


def columns_of(given: Sequence[Object]) -> tuple[Column, ...]:
    """Return the columns of a version: the name first, and the age where the definition names none.

    The columns end before one whose path can't be read, as upstream's do.
    """
    made = [NAME]
    try:
        for raw in given or ({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},):
            made.append(_column(raw))
    except ValueError as error:
        log.warning("columns end before one that can't be read", column=raw["name"], error=str(error))
    return tuple(made)


def _column(raw: Object) -> Column:
    find, kind = path(raw["jsonPath"]), raw["type"]

    def cell(obj: Object, now: datetime.datetime) -> Any:
        found = find(obj)
        return _shown(found[0], kind, now) if found else None

    about = raw.get("description") or f"Custom resource definition column (in JSONPath format): {raw['jsonPath']}"
    return Column(raw["name"], cell, kind, raw.get("priority", 0), raw.get("format", ""), about)


def _shown(value: Any, kind: str, now: datetime.datetime) -> Any:
    if value is None:
        return None if kind != "string" else "<nil>"
    match kind:
        case "string":
            return _printed(value)
        case "date":
            return _age(value, now) if isinstance(value, str) else None
        case "boolean":
            return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if kind == "integer" else float(value)


def _printed(value: Any) -> str:
    if isinstance(value, str):
        return value
    return orjson.dumps(value).decode()


def _age(text: str, now: datetime.datetime) -> str:
    try:
        return age(text, now)
    except ValueError:
        return "<invalid>"
