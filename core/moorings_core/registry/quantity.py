"""Resource quantities: "100m", "1Gi", "2e3". Exact: values are fractions, never floats.

Source: apimachinery's resource.Quantity: decimal suffixes n u m k M G T P E, binary Ki Mi Gi Ti Pi Ei, or a decimal exponent.
"""

from __future__ import annotations

import functools
import re
from fractions import Fraction

_BINARY = {f"{letter}i": Fraction(1 << (10 * power)) for power, letter in enumerate("KMGTPE", 1)}
_DECIMAL = {
    suffix: Fraction(10) ** exponent
    for suffix, exponent in zip(("n", "u", "m", "", "k", "M", "G", "T", "P", "E"), range(-9, 19, 3), strict=True)
}
_SUFFIXES = _BINARY | _DECIMAL
_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|))")


@functools.lru_cache(maxsize=4096)
def parse(text: str) -> Fraction:
    """Return the exact value. Raises ValueError with upstream's rule."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
    number, exponent, suffix = match.groups()
    scale = Fraction(10) ** int(exponent[1:]) if exponent else _SUFFIXES[suffix]
    return Fraction(number) * scale


def to_int(quantity: str | float) -> int:
    """Return the value in whole units, rounded up. Raises ValueError."""
    return _ceil(parse(str(quantity)))


def to_milli(quantity: str | float) -> int:
    """Return the value in thousandths, rounded up. Raises ValueError."""
    return _ceil(parse(str(quantity)) * 1000)


def compare(a: str | float, b: str | float) -> int:
    """Return -1, 0 or 1 as a is less than, equal to or more than b. Raises ValueError."""
    left, right = parse(str(a)), parse(str(b))
    return (left > right) - (left < right)


@functools.lru_cache(maxsize=4096)
def canonical(quantity: str | float) -> str:
    """Return the shortest form with the same kind of suffix: "1000m" is "1", "1024Mi" is "1Gi". Raises ValueError."""
    text = str(quantity)
    value = parse(text)
    if re.search(r"[eE][+-]?\d", text):
        return text
    return render(value, binary=text.endswith("i"))


def render(value: Fraction, *, binary: bool) -> str:
    """Return the shortest form of a value, with binary suffixes if it was given in those and is a whole number."""
    if binary and value.denominator == 1:
        for suffix, scale in reversed(_BINARY.items()):
            if value and value % scale == 0:
                return f"{value // scale}{suffix}"
        return str(value)
    for suffix, scale in reversed(_DECIMAL.items()):
        if value and value % scale == 0:
            return f"{value // scale}{suffix}"
    return "0" if not value else f"{_ceil(value * 10**9)}n"


def _ceil(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)
