"""Compiled expressions and their evaluation."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from cel_expr_python import cel

from .environment import environment
from .errors import EXCEEDED, EXHAUSTED, EvaluationError, OutOfBudget, compile_error, evaluation_error
from .library.authorization import Ask, asking
from .library.declare import AUTHORIZER, RESOURCE_CHECK
from .meter import Budget, Meter, running

DYN, BOOL, INT, STRING = "dyn", "bool", "int", "string"
MOST_CHARACTERS = 50_000


class Program:
    """One compiled expression; `type` is CEL's name of what it gives, "dyn" where that shows only in evaluation."""

    def __init__(self, expression: str, compiled: Any) -> None:
        self.expression = expression
        self._compiled = compiled
        self.type: str = _type_name(compiled.return_type())

    def evaluate(self, values: Mapping[str, Any], ask: Ask | None = None, budget: Budget | None = None) -> Any:
        """Return the value for these variables as plain data; an empty optional is None.

        Values are JSON-like, with protobuf's Timestamp and Duration for moments and durations (`as_values` makes them of what a schema
        calls so). ask answers checks of the authorizer. Loops are bounded: 10,000 steps in one evaluation; so is what Kubernetes' functions
        cost (see meter), which is taken from the budget. Raises EvaluationError, OutOfBudget.
        """
        meter = Meter()
        metering = running.set(meter)
        try:
            value, failed = self._evaluate(values, ask), None
        except EvaluationError as error:
            value, failed = None, error
        finally:
            running.reset(metering)
        if budget is not None and not budget.take(meter.cost):
            raise OutOfBudget(EXHAUSTED)
        if meter.exceeded:  # whatever the value: `true || ...` hides what failed beside it
            raise EvaluationError(EXCEEDED)
        if failed is not None:
            raise failed
        return value

    def _evaluate(self, values: Mapping[str, Any], ask: Ask | None) -> Any:
        token = asking.set(ask) if ask is not None else None
        try:
            result = self._compiled.eval(data=values)
            kind = result.type()
            if kind == cel.Type.ERROR:
                raise evaluation_error(str(result.plain_value()))
            return result.plain_value()
        except (RuntimeError, TypeError) as error:
            raise evaluation_error(str(error)) from error
        finally:
            if token is not None:
                asking.reset(token)


def compile(expression: str, variables: Mapping[str, str]) -> Program:
    """Compile an expression over variables of the given types. Raises CompileError."""
    return _compile(expression, tuple(sorted(variables.items())))


@functools.lru_cache(maxsize=4096)
def _compile(expression: str, variables: tuple[tuple[str, str], ...]) -> Program:
    known = environment(variables)
    try:
        compiled = known.compile(expression)
        if _type_name(compiled.return_type()).startswith("optional"):  # such a value does not come out of the evaluator
            compiled = known.compile(f"({expression}).optMap(value, dyn(value)).orValue(dyn(null))")
    except RuntimeError as error:
        raise compile_error(error) from error
    return Program(expression, compiled)


def _type_name(found: Any) -> str:
    return str(found.name()).lower()


__all__ = ["AUTHORIZER", "BOOL", "DYN", "INT", "RESOURCE_CHECK", "STRING", "Program", "compile"]
