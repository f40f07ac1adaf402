"""x-kubernetes-validations: CEL rules at the nodes of a schema.

A rule over oldSelf runs where there is an old value; any other rule that fails on a value which an update leaves as it was only
warns (ratcheting). Source: apiextensions-apiserver pkg/apiserver/schema/cel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from moorings_core import cel
from moorings_core.cel.errors import EXCEEDED, EXHAUSTED
from moorings_core.ports.objects import Object
from moorings_core.registry.validation.errors import FieldError, duplicate, forbidden, invalid, required

from .values import ABSENT, correlated

EVALUATIONS_MOST = 20_000
"""How many rules one write may run: together with the bound on loops this bounds its time"""
_OLD = re.compile(r"\boldSelf\b")
_META = {"type": "object", "properties": {"name": {"type": "string"}, "generateName": {"type": "string"}}}


@dataclass
class Outcome:
    """What the rules say: errors, and warnings about what was wrong already."""

    errors: list[FieldError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    left: int = EVALUATIONS_MOST
    budget: cel.Budget = field(default_factory=cel.Budget)

    @property
    def spent(self) -> bool:
        """Whether no further rule may run."""
        return self.budget.left < 0


class RuleNode:
    """The rules of one node of a schema and of what is below; `empty` without any."""

    empty: bool

    def __init__(self, schema: Object, *, root: bool = False) -> None:
        self.schema = with_metadata(schema) if root else schema
        self.rules = [Rule(raw, self.schema) for raw in schema.get("x-kubernetes-validations") or ()]
        self.rules += [Rule(raw, self.schema) for one in schema.get("allOf") or () for raw in one.get("x-kubernetes-validations") or ()]
        self.fields = {n: node for n, s in (schema.get("properties") or {}).items() if not (node := RuleNode(s)).empty}
        self.items = _child(schema.get("items"))
        self.values = _child(schema.get("additionalProperties"))
        self.empty = not (self.rules or self.fields or self.items or self.values)

    def run(self, value: Any, old: Any, path: str, outcome: Outcome) -> None:
        """Run the rules on a value and on what it holds; old is ABSENT for what is new."""
        if value is None or outcome.spent:
            return
        if self.rules:
            self._run_own(value, old, path, outcome)
        if isinstance(value, dict):
            before = old if isinstance(old, dict) and self.schema.get("x-kubernetes-map-type") != "atomic" else {}
            for name, child in value.items():
                node = self.fields.get(name) if name in (self.schema.get("properties") or {}) else self.values
                if node is not None:
                    node.run(child, before.get(name, ABSENT), f"{path}.{name}" if path else name, outcome)
        elif isinstance(value, list) and self.items is not None:
            for index, (item, was) in enumerate(zip(value, correlated(value, self.schema, old), strict=True)):
                self.items.run(item, was, f"{path}[{index}]", outcome)

    def _run_own(self, value: Any, old: Any, path: str, outcome: Outcome) -> None:
        known = old is not ABSENT and old is not None
        now = cel.as_values(value, self.schema)
        before = cel.as_values(old, self.schema) if known else None
        for rule in self.rules:
            if outcome.left <= 0 or outcome.budget.left <= 0:
                outcome.budget.left = -1
                outcome.errors.append(invalid(path or "<nil>", self.schema.get("type", ""), EXHAUSTED))
                return
            outcome.left -= 1
            error = rule.judge(value, now, before, known, path, outcome.budget)
            if outcome.spent and error is not None:
                outcome.errors.append(error)
                return
            if error is None:
                continue
            if known and old == value and not rule.transition:
                outcome.warnings.append(str(error))
            else:
                outcome.errors.append(error)


class Rule:
    """One rule, compiled when first run."""

    def __init__(self, raw: Object, schema: Object) -> None:
        self.raw, self.schema = raw, schema
        self.text: str = raw["rule"]
        self.optional = bool(raw.get("optionalOldSelf"))
        self.transition = bool(_OLD.search(self.text))

    def judge(self, value: Any, now: Any, before: Any, known: bool, path: str, budget: cel.Budget) -> FieldError | None:
        """Return what is wrong, or None where the rule holds or does not apply."""
        if self.transition and not known and not self.optional:
            return None
        values = {"self": now, "oldSelf": [before] if known else []} if self.optional else {"self": now, "oldSelf": before}
        try:
            if cel.compile(self._source(self.text), {"self": cel.DYN, "oldSelf": cel.DYN}).evaluate(values, budget=budget) is True:
                return None
        except cel.OutOfBudget as error:
            return invalid(path or "<nil>", self.schema.get("type", ""), str(error))
        except cel.CelError as error:
            if str(error) == EXCEEDED:
                budget.left = -1
            return invalid(path or "<nil>", self.schema.get("type", ""), self._failed(str(error)))
        return self._error(value, path, self._message(values, budget))

    def _source(self, text: str) -> str:
        """Return the expression; an optional oldSelf comes as a list of none or one, which the evaluator takes as it takes any data."""
        return f"cel.bind(oldSelf, oldSelf.size() > 0 ? optional.of(oldSelf[0]) : optional.none(), {text})" if self.optional else text

    def _failed(self, error: str) -> str:
        about = self.raw.get("message") or self.text.strip()
        if error.startswith("no such overload"):
            return f"'{error}': call arguments did not match a supported operator, function or macro signature for rule: {about}"
        if error == EXCEEDED:
            return f"'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {about}"
        return f"{error} evaluating rule: {about}"

    def _message(self, values: Object, budget: cel.Budget) -> str:
        expression = self.raw.get("messageExpression")
        if expression:
            try:
                text = cel.compile(self._source(expression), {"self": cel.DYN, "oldSelf": cel.DYN}).evaluate(values, budget=budget)
            except cel.CelError:
                text = ""
            if isinstance(text, str) and text.strip() and "\n" not in text:
                return text.strip()
        return str(self.raw.get("message") or "").strip() or f"failed rule: {self.text.strip()}"

    def _error(self, value: Any, path: str, detail: str) -> FieldError:
        place = f"{path}{self.raw.get('fieldPath', '')}".lstrip(".") or "<nil>"
        match self.raw.get("reason"):
            case "FieldValueForbidden":
                return forbidden(place, detail)
            case "FieldValueRequired":
                return required(place, detail)
            case "FieldValueDuplicate":
                return duplicate(place, value)
        if isinstance(value, dict | list):
            return FieldError("FieldValueInvalid", place, f"Invalid value: {detail}")
        return invalid(place, value, detail)


def with_metadata(schema: Object) -> Object:
    """Return the schema of a whole object with what rules may always read."""
    always = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": _META}
    return {**schema, "properties": {**(schema.get("properties") or {}), **always}}


def _child(schema: Any) -> RuleNode | None:
    if not isinstance(schema, dict):
        return None
    node = RuleNode(schema)
    return None if node.empty else node
