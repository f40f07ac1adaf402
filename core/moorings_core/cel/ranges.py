"""Sizes and costs that are known as a least and a most; numbers end at 2**64 - 1, which stands for no bound.

Source: cel-go checker/cost.go (SizeEstimate, CostEstimate), common/cost.go.
"""

from __future__ import annotations

import math
from typing import NamedTuple

ENDLESS = 2**64 - 1
SELECT, LIST, MAP, MESSAGE = 1, 10, 30, 40
"""What it costs to read a variable or field, and to make a list, a map, a message; literals are free"""
TRAVERSAL, PATTERN = 0.1, 0.25
"""What it costs to walk over one character of a text, and by how much each character of a regular expression multiplies that"""


class Range(NamedTuple):
    """A size (elements, characters or bytes) or a cost, at least and at most."""

    least: int = 0
    most: int = 0

    def plus(self, other: Range) -> Range:
        """Return the sum."""
        return Range(min(self.least + other.least, ENDLESS), min(self.most + other.most, ENDLESS))

    def times(self, other: Range) -> Range:
        """Return the product."""
        return Range(min(self.least * other.least, ENDLESS), min(self.most * other.most, ENDLESS))

    def by(self, factor: float) -> Range:
        """Return the product with a factor, rounded up."""
        return Range(_scaled(self.least, factor), _scaled(self.most, factor))

    def union(self, other: Range) -> Range:
        """Return the range that holds both."""
        return Range(min(self.least, other.least), max(self.most, other.most))


UNKNOWN = Range(0, ENDLESS)
NOTHING = Range(ENDLESS, 0)
"""What a union starts with"""


def fixed(number: int) -> Range:
    """Return the range of one number."""
    return Range(number, number)


def _scaled(number: int, factor: float) -> int:
    scaled = math.ceil(float(number) * factor)
    return ENDLESS if scaled >= 2**64 else scaled
