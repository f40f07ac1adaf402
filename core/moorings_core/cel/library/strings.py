"""Strings and regular expressions.

The library brings cel-go's string functions, but no way to add upstream's `indexOf` of lists beside the one of strings: so they stand
here, all but `format`, which it evaluates itself. Source: cel-go ext/strings.go, apiserver pkg/cel/library/regex.go.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import re2

from .declare import function, method

TEXT, NUMBER, TEXTS = "string", "int", "list string"


def _position(text: str, at: int) -> int:
    if not 0 <= at <= len(text):
        raise ValueError(f"index out of range: {at}")
    return at


@method("charAt", TEXT, NUMBER, gives=TEXT)
def _char_at(text: str, at: int) -> str:
    return text[_position(text, at) : at + 1]


@method("indexOf", TEXT, TEXT, gives=NUMBER)
def _index_of(text: str, wanted: str) -> int:
    return text.find(wanted)


@method("indexOf", TEXT, TEXT, NUMBER, gives=NUMBER)
def _index_of_from(text: str, wanted: str, start: int) -> int:
    return text.find(wanted, _position(text, start))


@method("lastIndexOf", TEXT, TEXT, gives=NUMBER)
def _last_index_of(text: str, wanted: str) -> int:
    return text.rfind(wanted)


@method("lastIndexOf", TEXT, TEXT, NUMBER, gives=NUMBER)
def _last_index_of_before(text: str, wanted: str, end: int) -> int:
    return text.rfind(wanted, 0, _position(text, end) + len(wanted))


@method("join", TEXTS, gives=TEXT)
def _join(parts: list[str]) -> str:
    return "".join(parts)


@method("join", TEXTS, TEXT, gives=TEXT)
def _join_with(parts: list[str], separator: str) -> str:
    return separator.join(parts)


@method("lowerAscii", TEXT, gives=TEXT)
def _lower(text: str) -> str:
    return "".join(c.lower() if c.isascii() else c for c in text)


@method("upperAscii", TEXT, gives=TEXT)
def _upper(text: str) -> str:
    return "".join(c.upper() if c.isascii() else c for c in text)


@method("replace", TEXT, TEXT, TEXT, gives=TEXT)
def _replace(text: str, old: str, new: str) -> str:
    return text.replace(old, new)


@method("replace", TEXT, TEXT, TEXT, NUMBER, gives=TEXT)
def _replace_some(text: str, old: str, new: str, most: int) -> str:
    return text.replace(old, new, most)


@method("split", TEXT, TEXT, gives=TEXTS)
def _split(text: str, separator: str) -> list[str]:
    return text.split(separator) if separator else list(text)


@method("split", TEXT, TEXT, NUMBER, gives=TEXTS)
def _split_some(text: str, separator: str, most: int) -> list[str]:
    if most <= 0:
        return [] if most == 0 else _split(text, separator)
    if separator:
        return text.split(separator, most - 1)
    return [*text[: most - 1], text[most - 1 :]] if len(text) >= most else list(text)


@method("substring", TEXT, NUMBER, gives=TEXT)
def _substring(text: str, start: int) -> str:
    return text[_position(text, start) :]


@method("substring", TEXT, NUMBER, NUMBER, gives=TEXT)
def _substring_to(text: str, start: int, end: int) -> str:
    if start > end:
        raise ValueError(f"invalid substring range. start: {start}, end: {end}")
    return text[_position(text, start) : _position(text, end)]


@method("trim", TEXT, gives=TEXT)
def _trim(text: str) -> str:
    return text.strip()


@function("strings.quote", TEXT, gives=TEXT)
def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


@method("format", TEXT, "list dyn", gives=TEXT)
def _format(text: str, values: list[Any]) -> str:
    return str(_formatter()(text, values))


@functools.cache
def _formatter() -> Callable[[str, list[Any]], str]:
    from cel_expr_python import cel
    from cel_expr_python.ext import ext_strings

    environment = cel.NewEnv(variables={"text": cel.Type.STRING, "values": cel.Type.DYN}, extensions=[ext_strings.ExtStrings()])
    expression = environment.compile("text.format(values)")

    def run(text: str, values: list[Any]) -> str:
        result = expression.eval(data={"text": text, "values": values})
        if result.type() == cel.Type.ERROR:
            raise ValueError(str(result.plain_value()))
        return str(result.plain_value())

    return run


@method("find", TEXT, TEXT, gives=TEXT)
def _find(text: str, pattern: str) -> str:
    found = _compiled(pattern).search(text)
    return found.group(0) if found else ""


@method("findAll", TEXT, TEXT, gives=TEXTS)
def _find_all(text: str, pattern: str) -> list[str]:
    return _find_some(text, pattern, -1)


@method("findAll", TEXT, TEXT, NUMBER, gives=TEXTS)
def _find_some(text: str, pattern: str, most: int) -> list[str]:
    found: list[str] = []
    for match in _compiled(pattern).finditer(text):
        if len(found) == most:
            break
        found.append(match.group(0))
    return found


@functools.lru_cache(maxsize=256)
def _compiled(pattern: str) -> Any:
    return re2.compile(pattern)
