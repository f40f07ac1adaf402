"""What Kubernetes' functions cost while an expression runs, by the sizes of the values that they are given.

Upstream counts every step of an expression. The evaluator here tells nothing of its own steps but stops after 10,000 rounds of loops;
what is counted are the calls that come out of it, which are those of Kubernetes' functions: above all the questions to the authorizer.
Source: apiserver pkg/apis/cel/config.go (the limits), pkg/cel/library/cost.go.
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable, Sequence
from typing import Any

from . import calls
from .errors import EXCEEDED
from .library.declare import Declared
from .ranges import fixed
from .tree import DYNAMIC, Ident, Type

CALL_MOST, RULES_MOST, CONDITIONS_MOST = 1_000_000, 10_000_000, 2_500_000
"""Of one expression, of all rules for one object, of all match conditions for one object"""
_NODE = Ident(0, "")


class Budget:
    """What expressions may cost that run for one object."""

    def __init__(self, most: int = RULES_MOST) -> None:
        self.left = most

    def take(self, cost: int) -> bool:
        """Take the cost of one expression; return False where less is left."""
        if cost > self.left:
            self.left = -1
            return False
        self.left -= cost
        return True


class Meter:
    """Counts for one evaluation."""

    def __init__(self) -> None:
        self.cost = 0

    @property
    def exceeded(self) -> bool:
        """Whether the evaluation costs more than any may."""
        return self.cost > CALL_MOST


running: contextvars.ContextVar[Meter] = contextvars.ContextVar("running")
"""The meter of the evaluation that runs"""


def metered(declared: Declared) -> Callable[..., Any]:
    """Return a function that counts what it costs before it runs, and does not run once that is too much."""

    @functools.wraps(declared.run)
    def run(*values: Any) -> Any:
        meter = running.get(None)
        if meter is not None:
            meter.cost += cost_of(declared, values)
            if meter.exceeded:
                raise ValueError(EXCEEDED)
        return declared.run(*values)

    return run


def cost_of(declared: Declared, values: Sequence[Any]) -> int:
    """Return what a call with these values costs."""
    given = [_given(value) for value in values]
    target, args = (given[0], given[1:]) if declared.receiver else (None, given)
    found = calls.of(declared.name, declared.id, target, args)
    return found.cost.most if found is not None else 1


def _given(value: Any) -> calls.Given:
    if isinstance(value, list):
        texts = [len(item) for item in value if isinstance(item, str | bytes)]
        kind = Type("list", parameters=(Type("string") if texts else DYNAMIC,))
        return calls.Given(_NODE, kind, fixed(len(value)), fixed(max(texts, default=1)))
    return calls.Given(_NODE, DYNAMIC, fixed(len(value) if isinstance(value, str | bytes | dict) else 1), fixed(1))
