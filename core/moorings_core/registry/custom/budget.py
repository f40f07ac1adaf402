"""What the rules of a schema may cost, estimated before there is any object: each rule by itself, and all of a version together.

Source: apiextensions-apiserver pkg/apis/apiextensions/validation/cel_validation.go, validation.go (the limits, getCostErrorMessage).
"""

from __future__ import annotations

from collections.abc import Iterator

from moorings_core.cel.ranges import ENDLESS
from moorings_core.ports.objects import Object
from moorings_core.registry.validation.errors import FieldError, Path, forbidden

EXPRESSION_MOST, SCHEMA_MOST = 10_000_000, 100_000_000
_TOLD_MOST = 4
"""How many rules are named where all together cost too much"""
_HINT = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"


class Budget:
    """Adds up the estimates of one version. lenient: single expressions are not limited, since the schema is as it was."""

    def __init__(self, *, lenient: bool) -> None:
        self._lenient = lenient
        self._total = 0
        self._expensive: list[tuple[int, Path]] = []

    def take(self, what: str, cost: int, path: Path) -> Iterator[FieldError]:
        """Count an expression that costs so much, and yield what is wrong with that."""
        if cost > EXPRESSION_MOST and not self._lenient:
            yield forbidden(path, _exceeds(f"estimated {what} cost", cost, EXPRESSION_MOST))
        self._total = min(self._total + cost, ENDLESS)
        if cost >= SCHEMA_MOST // 100:
            self._expensive = sorted([*self._expensive, (cost, path)], key=lambda pair: -pair[0])[:_TOLD_MOST]

    def exceeded(self, path: Path) -> Iterator[FieldError]:
        """Yield what is wrong with all expressions together; path is the schema's."""
        if self._total <= SCHEMA_MOST:
            return
        for _, where in self._expensive:
            yield forbidden(where, "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema")
        what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        yield forbidden(path, _exceeds(what, self._total, SCHEMA_MOST))


def repeated(cost: int, times: int) -> int:
    """Return what an expression costs that runs so often."""
    return min(cost * times, ENDLESS)


def times_below(schema: Object, times: int | None) -> int | None:
    """Return how often what is below a node can be in one object, where the node can be so often; None: no limit is known."""
    kind = schema.get("type")
    if kind == "array":
        most = schema.get("maxItems")
    elif kind == "object" and schema.get("additionalProperties") is not None:
        most = schema.get("maxProperties")
    else:
        most = 1
    return None if times is None or most is None else repeated(times, max(int(most), 0))


def _exceeds(what: str, cost: int, most: int) -> str:
    factor = cost / most
    shown = "more than 100x" if factor > 100 else f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    return f"{what} exceeds budget by factor of {shown} {_HINT}"
