"""The variables that expressions of webhooks and policies are about, and the conditions under which those look at all.

Source: apiserver pkg/admission/plugin/cel and webhook/matchconditions. Import it when there is an expression: the evaluator is large.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moorings_core import cel
from moorings_core.cel.library.authorization import authorizer, resource_check
from moorings_core.ports.objects import Object

from .attributes import Attributes
from .matching import Match
from .request import options_of, request_of

VARIABLES = {
    "object": cel.DYN,
    "oldObject": cel.DYN,
    "request": cel.DYN,
    "namespaceObject": cel.DYN,
    "params": cel.DYN,
    "variables": cel.DYN,
    "authorizer": cel.AUTHORIZER,
    "authorizer.requestResource": cel.RESOURCE_CHECK,
}
Values = Mapping[str, Any]


def compiled(expression: str) -> cel.Program:
    """Return an expression over all variables. Raises CompileError."""
    return cel.compile(expression, VARIABLES)


def values_of(a: Attributes, match: Match, obj: Object | None, old: Object | None, **more: Any) -> dict[str, Any]:
    """Return the values of the variables for a write. more: namespaceObject, params, variables."""
    request = {"uid": "", "name": "", "namespace": "", "subResource": "", **request_of(a, match), "options": options_of(a)}
    subject = cel.Attributes(
        group=a.resource.group,
        resource=a.resource.plural,
        subresource=a.subresource,
        namespace=a.key.namespace,
        name=a.key.name,
    )
    found = {"object": obj, "oldObject": old, "request": request, "namespaceObject": None, "params": None, "variables": {}}
    return found | {"authorizer": authorizer(), "authorizer.requestResource": resource_check(subject)} | more


@dataclass(frozen=True, slots=True)
class Condition:
    """One match condition; an expression that does not compile fails whenever it is asked."""

    name: str
    program: cel.Program | cel.CompileError


def conditions(given: Sequence[Object] | None) -> tuple[Condition, ...]:
    """Return the match conditions of a configuration."""
    found = []
    for entry in given or ():
        try:
            found.append(Condition(entry["name"], compiled(entry["expression"])))
        except cel.CompileError as error:
            found.append(Condition(entry["name"], error))
    return tuple(found)


class ConditionFailed(ValueError):
    """A match condition has no value, and the configuration fails closed."""


def conditions_hold(given: Sequence[Condition], values: Values, ask: Any, *, fail_closed: bool) -> bool:
    """Whether all conditions hold: one that does not hold decides, whatever others can't be told. Raises ConditionFailed.

    All together may cost so much; where they cost more none decides.
    """
    errors: list[str] = []
    budget, holds = cel.Budget(cel.CONDITIONS_MOST), True
    for condition in given:
        try:
            if isinstance(condition.program, cel.CompileError):
                raise condition.program
            holds &= condition.program.evaluate(values, ask, budget) is not False
        except cel.OutOfBudget as error:
            if fail_closed:
                raise ConditionFailed(str(error)) from error
            return False
        except cel.CelError as error:
            errors.append(f"expression '{_text(condition)}' resulted in error: {error}")
    if not holds:
        return False
    if errors and fail_closed:
        raise ConditionFailed(errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]")
    return not errors


def _text(condition: Condition) -> str:
    return condition.program.expression if isinstance(condition.program, cel.Program) else condition.name
