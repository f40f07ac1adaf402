"""Semantic versions. Source: semver.org 2.0.0; apiserver pkg/cel/library/semverlib.go."""

from __future__ import annotations

import re
from typing import Any

from .declare import SEMVER, box, function, method, unbox

_FORM = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
    r"(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?"
)
Order = tuple[tuple[int, int, int], tuple[Any, ...]]


def _order(text: str) -> Order:
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(f"No Major.Minor.Patch elements found in {text!r}")
    major, minor, patch, pre, _ = match.groups()
    numbers = (int(major), int(minor), int(patch))
    if pre is None:
        return numbers, ((1,),)
    return numbers, ((0,), *(((0, int(p), "") if p.isdigit() else (1, 0, p)) for p in pre.split(".")))


def compare(a: str, b: str) -> int:
    """Return -1, 0 or 1. Raises ValueError."""
    left, right = _order(a), _order(b)
    return (left > right) - (left < right)


def _normal(text: str) -> str:
    core, mark, rest = re.fullmatch(r"v?([^-+]*)([-+]?)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    parts = core.split(".")
    parts += ["0"] * (3 - len(parts))
    return ".".join(p.lstrip("0") or "0" if p.isdigit() else p for p in parts) + mark + rest


@function("semver", "string", gives=SEMVER)
def _semver(text: str) -> Any:
    _order(text)
    return box(SEMVER, text)


@function("semver", "string", "bool", gives=SEMVER)
def _semver_normal(text: str, normal: bool) -> Any:
    return _semver(_normal(text) if normal else text)


@function("isSemver", "string", gives="bool")
def _is_semver(text: str) -> bool:
    return _FORM.fullmatch(text) is not None


@function("isSemver", "string", "bool", gives="bool")
def _is_semver_normal(text: str, normal: bool) -> bool:
    return _is_semver(_normal(text) if normal else text)


@method("major", SEMVER, gives="int")
def _major(value: Any) -> int:
    return _order(unbox(value))[0][0]


@method("minor", SEMVER, gives="int")
def _minor(value: Any) -> int:
    return _order(unbox(value))[0][1]


@method("patch", SEMVER, gives="int")
def _patch(value: Any) -> int:
    return _order(unbox(value))[0][2]
