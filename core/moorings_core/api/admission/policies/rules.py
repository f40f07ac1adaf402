"""A policy's expressions, compiled, and their evaluation for one write and one parameter."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from moorings_core import cel
from moorings_core.api.admission.expressions import Condition, compiled, conditions
from moorings_core.ports.objects import Object

MOST_REMEMBERED = 512
_MENTIONED = re.compile(r"\bvariables\.([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True, slots=True)
class Rule:
    """One expression; an error where it does not compile. fields: whatever else belongs to it."""

    expression: str
    program: cel.Program | cel.CompileError
    fields: Object

    @property
    def mentioned(self) -> frozenset[str]:
        """The policy's variables that it uses."""
        return frozenset(_MENTIONED.findall(self.expression))


@dataclass(frozen=True, slots=True)
class Rules:
    """All expressions of a policy."""

    conditions: tuple[Condition, ...]
    variables: Mapping[str, Rule]
    main: tuple[Rule, ...]
    messages: Mapping[int, Rule]
    annotations: tuple[Rule, ...]


def rule(expression: str, fields: Object | None = None, *, rewritten: str = "") -> Rule:
    """Return a compiled rule; rewritten: what is compiled in its place."""
    try:
        return Rule(expression, compiled(rewritten or expression), fields or {})
    except cel.CompileError as error:
        return Rule(expression, error, fields or {})


def rules_of(policy: Object, main: list[Rule]) -> Rules:
    """Return a policy's expressions; main: what it validates or mutates by."""
    spec = policy["spec"]
    validations = spec.get("validations") or ()
    return Rules(
        conditions(spec.get("matchConditions")),
        {v["name"]: rule(v["expression"]) for v in spec.get("variables") or ()},
        tuple(main),
        {i: rule(v["messageExpression"]) for i, v in enumerate(validations) if v.get("messageExpression")},
        tuple(rule(entry["valueExpression"], entry) for entry in spec.get("auditAnnotations") or ()),
    )


class Remembered:
    """The rules of policies by uid and version, so that each is compiled once."""

    def __init__(self, main: Callable[[Object], list[Rule]]) -> None:
        self._main = main
        self._known: OrderedDict[str, tuple[str, Rules]] = OrderedDict()

    def of(self, policy: Object) -> Rules:
        """Return the rules of a policy."""
        metadata = policy["metadata"]
        version, rules = self._known.get(metadata["uid"], ("", None))
        if rules is None or version != metadata["resourceVersion"]:
            rules = rules_of(policy, self._main(policy))
            self._known[metadata["uid"]] = (metadata["resourceVersion"], rules)
            if len(self._known) > MOST_REMEMBERED:
                self._known.popitem(last=False)
        return rules


@dataclass(slots=True)
class Evaluation:
    """Evaluates for one write: variables once, when they are first used."""

    variables: Mapping[str, Rule]
    values: dict[str, Any]
    ask: Any
    budget: cel.Budget = field(default_factory=cel.Budget)
    _computed: dict[str, Any] = field(default_factory=dict)
    _failed: dict[str, str] = field(default_factory=dict)

    def value(self, wanted: Rule) -> Any:
        """Return the value of an expression. Raises EvaluationError, worded as upstream's, and OutOfBudget."""
        for name in wanted.mentioned:
            if name in self.variables and self._variable(name) is False:
                why = f'composited variable "{name}" fails to evaluate: {self._failed[name]}'
                raise cel.EvaluationError(f"expression '{wanted.expression.strip()}' resulted in error: {why}")
        try:
            if isinstance(wanted.program, cel.CompileError):
                raise cel.EvaluationError(f"compilation error: compilation failed: {wanted.program}")
            return wanted.program.evaluate({**self.values, "variables": self._computed}, self.ask, self.budget)
        except cel.OutOfBudget:
            raise
        except cel.EvaluationError as error:
            raise cel.EvaluationError(f"expression '{wanted.expression.strip()}' resulted in error: {error}") from error

    def _variable(self, name: str) -> bool:
        """Compute a variable; return whether it has a value."""
        if name in self._computed:
            return True
        if name in self._failed:
            return False
        self._failed[name] = "it is defined by itself"
        try:
            self._computed[name] = self.value(self.variables[name])
        except cel.OutOfBudget:
            raise
        except cel.EvaluationError as error:
            self._failed[name] = str(error).partition("resulted in error: ")[2] or str(error)
            return False
        del self._failed[name]
        return True
