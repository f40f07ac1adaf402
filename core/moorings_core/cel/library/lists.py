"""Lists. Source: apiserver pkg/cel/library/lists.go."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Any

from .declare import ANY, method

LIST = "list dyn"


def _comparable(values: list[Any]) -> list[Any]:
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    if not numbers and len({type(v) for v in values}) > 1:
        raise ValueError("no such overload")
    return values


@method("isSorted", LIST, gives="bool")
def _is_sorted(values: list[Any]) -> bool:
    return all(a <= b for a, b in pairwise(_comparable(values)))


@method("sum", LIST, gives="dyn")
def _sum(values: list[Any]) -> Any:
    if not values:
        return 0
    total = sum(_comparable(values[1:]), values[0])
    if not isinstance(total, int | float | timedelta):
        raise ValueError("no such overload")
    if isinstance(total, int) and not -(2**63) <= total < 2**63:
        raise ValueError("integer overflow")
    return total


@method("min", LIST, gives="dyn")
def _min(values: list[Any]) -> Any:
    if not values:
        raise ValueError("min called on empty list")
    return min(_comparable(values))


@method("max", LIST, gives="dyn")
def _max(values: list[Any]) -> Any:
    if not values:
        raise ValueError("max called on empty list")
    return max(_comparable(values))


def _same(a: Any, b: Any) -> bool:
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


@method("indexOf", LIST, ANY, gives="int")
def _index_of(values: list[Any], wanted: Any) -> int:
    return next((i for i, v in enumerate(values) if _same(v, wanted)), -1)


@method("lastIndexOf", LIST, ANY, gives="int")
def _last_index_of(values: list[Any], wanted: Any) -> int:
    return next((i for i, v in reversed(list(enumerate(values))) if _same(v, wanted)), -1)


@method("includes", LIST, ANY, gives="bool")
def _includes(values: list[Any], wanted: Any) -> bool:
    return any(_same(v, wanted) for v in values)
