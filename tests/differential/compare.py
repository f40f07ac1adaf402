"""Compares two answers after dropping what no two servers have in common, and says where they differ."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .peers import Answer

VOLATILE = {"uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "managedFields", "selfLink", "description"}
"""What differs between any two servers, managedFields (which have tests of their own), and prose, which ours leaves out."""
AGE = re.compile(r"\d{1,2}s")


def differences(theirs: Answer, ours: Answer) -> list[str]:
    """Return a line for each place where our answer differs from upstream's."""
    if theirs.code != ours.code:
        return [f"code: upstream {theirs.code} ({_words(theirs.body)}), ours {ours.code} ({_words(ours.body)})"]
    return list(_compare("", normal(theirs.body), normal(ours.body)))


def normal(body: Any) -> Any:
    """Return a body without its volatile parts."""
    if isinstance(body, list):
        return [normal(item) for item in body]
    if not isinstance(body, dict):
        return "AGE" if isinstance(body, str) and AGE.fullmatch(body) else body
    kept = {key: normal(value) for key, value in body.items() if key not in VOLATILE}
    if "details" in kept and "reason" in kept:
        kept["details"] = _details(kept["details"])
    return kept


def _details(details: dict[str, Any]) -> dict[str, Any]:
    causes = details.get("causes")
    return {**details, "causes": sorted(causes, key=str)} if causes else details


def _compare(path: str, theirs: Any, ours: Any) -> Iterator[str]:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in sorted({*theirs, *ours}):
            yield from _compare(f"{path}.{key}".lstrip("."), theirs.get(key, ABSENT), ours.get(key, ABSENT))
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for index, (a, b) in enumerate(zip(theirs, ours, strict=True)):
            yield from _compare(f"{path}[{index}]", a, b)
    elif theirs != ours:
        yield f"{path}: upstream {theirs!r}, ours {ours!r}"


class _Absent:
    def __repr__(self) -> str:
        return "(absent)"


ABSENT = _Absent()


def _words(body: Any) -> str:
    return str(body.get("message", "")) if isinstance(body, dict) else str(body)[:200]
