"""Quantities. Source: apiserver pkg/cel/library/quantity.go.

Comparisons are of quantities and of versions: the evaluator tells functions apart by kinds, and both are messages, so each is declared
once, over anything.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from moorings_core.registry.quantity import parse

from .declare import ANY, QUANTITY, SEMVER, box, function, method, type_of, unbox
from .versions import compare as compare_versions

_LARGEST = 2**63 - 1


def _value(boxed: Any) -> Fraction:
    return Fraction(unbox(boxed))


def _boxed(value: Fraction) -> Any:
    return box(QUANTITY, str(value))


def _compare(a: Any, b: Any) -> int:
    if type_of(a) != type_of(b) or type_of(a) not in (QUANTITY, SEMVER):
        raise ValueError("no such overload")
    if type_of(a) == SEMVER:
        return compare_versions(unbox(a), unbox(b))
    left, right = _value(a), _value(b)
    return (left > right) - (left < right)


@function("quantity", "string", gives=QUANTITY)
def _quantity(text: str) -> Any:
    return _boxed(parse(text))


@function("isQuantity", "string", gives="bool")
def _is_quantity(text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


@function("sign", QUANTITY, gives="int")
def _sign(value: Any) -> int:
    number = _value(value)
    return (number > 0) - (number < 0)


@method("isInteger", QUANTITY, gives="bool")
def _is_integer(value: Any) -> bool:
    number = _value(value)
    return number.denominator == 1 and abs(number) <= _LARGEST


@method("asInteger", QUANTITY, gives="int")
def _as_integer(value: Any) -> int:
    if not _is_integer(value):
        raise ValueError("cannot convert value to integer")
    return int(_value(value))


@method("asApproximateFloat", QUANTITY, gives="double")
def _as_float(value: Any) -> float:
    return float(_value(value))


@method("add", QUANTITY, QUANTITY, gives=QUANTITY)
def _add(a: Any, b: Any) -> Any:
    return _boxed(_value(a) + _value(b))


@method("add", QUANTITY, "int", gives=QUANTITY)
def _add_int(a: Any, b: int) -> Any:
    return _boxed(_value(a) + b)


@method("sub", QUANTITY, QUANTITY, gives=QUANTITY)
def _sub(a: Any, b: Any) -> Any:
    return _boxed(_value(a) - _value(b))


@method("sub", QUANTITY, "int", gives=QUANTITY)
def _sub_int(a: Any, b: int) -> Any:
    return _boxed(_value(a) - b)


@method("compareTo", ANY, ANY, gives="int")
def _compare_to(a: Any, b: Any) -> int:
    return _compare(a, b)


@method("isGreaterThan", ANY, ANY, gives="bool")
def _is_greater(a: Any, b: Any) -> bool:
    return _compare(a, b) > 0


@method("isLessThan", ANY, ANY, gives="bool")
def _is_less(a: Any, b: Any) -> bool:
    return _compare(a, b) < 0
