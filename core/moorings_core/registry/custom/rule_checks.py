"""Which CEL rules a schema may have: they compile against its types, see an old value only where there is one, and cost little enough.

Source: apiextensions-apiserver pkg/apis/apiextensions/validation, pkg/apiserver/schema/cel/compilation.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from moorings_core import cel
from moorings_core.cel import bounds, estimate, tree, typed
from moorings_core.cel.bounds import Bound
from moorings_core.ports.objects import Object
from moorings_core.registry.validation.errors import FieldError, Path, invalid

from . import internal
from .budget import Budget, repeated, times_below
from .rules import Rule, with_metadata

_VALIDATIONS = "x-kubernetes-validations"
_WANTED = {
    "rule": ("bool", "cel expression must evaluate to a bool"),
    "messageExpression": ("string", "messageExpression must evaluate to a string"),
}


def check(schema: Object, path: Path, *, lenient: bool = False) -> Iterator[FieldError]:
    """Yield what is wrong with the rules of a version's schema. lenient: it is as it was, so one expression may cost anything."""
    budget = Budget(lenient=lenient)
    yield from _node(schema, path, _Place(1), budget)
    yield from budget.exceeded(path)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a node is. times: how often it can be in one object, None without a limit; uncorrelated: below what no old value is told."""

    times: int | None
    uncorrelated: str = ""
    root: bool = True


def _node(schema: Object, path: Path, place: _Place, budget: Budget) -> Iterator[FieldError]:
    times = times_below(schema, place.times)
    for child, where, is_item in _children(schema, path):
        lost = place.uncorrelated
        if not lost and (schema.get("x-kubernetes-list-type") != "map" if is_item else schema.get("x-kubernetes-map-type") == "atomic"):
            lost = str(path)
        yield from _node(child, where, _Place(times, lost, root=False), budget)
    own = schema.get(_VALIDATIONS) or ()
    if not own:
        return
    judge = _Judge(schema, place, budget)
    for index, rule in enumerate(own):
        yield from judge.rule(rule, (path / _VALIDATIONS).at(index))


def _children(schema: Object, path: Path) -> Iterator[tuple[Object, Path, bool]]:
    """Yield (schema, path, whether it is an item) of the nodes below."""
    if isinstance(schema.get("additionalProperties"), dict):
        yield schema["additionalProperties"], path / "additionalProperties", False
    for name, child in (schema.get("properties") or {}).items():
        yield child, (path / "properties").at(name), False
    if isinstance(schema.get("items"), dict):
        yield schema["items"], path / "items", True


class _Judge:
    """Judges the rules of one node."""

    def __init__(self, schema: Object, place: _Place, budget: Budget) -> None:
        self._schema = with_metadata(schema) if place.root else schema
        self._place, self._budget = place, budget
        self._bound = bounds.bound(schema, root=place.root or bool(schema.get("x-kubernetes-embedded-resource")))

    def rule(self, rule: Object, where: Path) -> Iterator[FieldError]:
        """Yield what is wrong with one rule."""
        compiled = {}
        for name in _WANTED:
            try:
                compiled[name] = self._compiled(rule, name)
            except cel.CelError as error:
                yield invalid(where / name, internal.shown_rule(rule), str(error))
                break
            if compiled[name] is not None:
                yield from self._cost(compiled[name], name, where / name)
        transition = Rule(rule, self._schema).transition
        if transition and self._place.uncorrelated:
            detail = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {self._place.uncorrelated}"
            yield invalid(where / "rule", rule["rule"], detail)
        if not transition and rule.get("optionalOldSelf") is not None:
            yield invalid(where / "optionalOldSelf", rule["optionalOldSelf"], "may not be set if oldSelf is not used in rule")

    def _compiled(self, rule: Object, name: str) -> Any:
        """Return a compiled expression, None where there is none. Raises CelError in upstream's words."""
        text, (kind, otherwise) = rule.get(name), _WANTED[name]
        if not text:
            return None
        optional = ("oldSelf",) if rule.get("optionalOldSelf") else ()
        try:
            compiled = typed.compiled(text, {"self": self._schema, "oldSelf": self._schema}, optional=optional)
        except cel.CompileError as error:
            raise cel.CompileError(f"{'' if name == 'rule' else f'{name} '}compilation failed: {error}") from error
        if typed.type_name(compiled) not in (kind, "dyn"):
            raise cel.CompileError(otherwise)
        return compiled

    def _cost(self, compiled: Any, name: str, where: Path) -> Iterator[FieldError]:
        if self._bound is None:
            return
        most = estimate.cost(tree.read(compiled), {"self": self._bound, "oldSelf": self._bound}).most
        if name == "rule":
            yield from self._budget.take("rule", repeated(most, self._times(self._bound)), where)
        else:  # a message is made once, of the first that fails
            yield from self._budget.take(name, most, where)

    def _times(self, bound: Bound) -> int:
        return bounds.occurrences(bound.least) if self._place.times is None else self._place.times
