"""What is counted while expressions run: the calls of Kubernetes' functions."""

import pytest

from moorings_core import cel
from moorings_core.cel.library.authorization import authorizer
from moorings_core.registry.custom.rules import Outcome, RuleNode

ASKED = "authorizer.path('/x').check('get').allowed()"
EXHAUSTED = "validation failed due to running out of cost budget, no further validation rules will be run"


def evaluate(expression, budget=None):
    program = cel.compile(expression, {"authorizer": cel.AUTHORIZER})
    return program.evaluate({"authorizer": authorizer()}, lambda _: cel.Decision(True), budget)


def test_an_expression_may_ask_twice():
    assert evaluate(f"{ASKED} && {ASKED}") is True


@pytest.mark.parametrize("expression", [" && ".join([ASKED] * 3), f"({' && '.join([ASKED] * 3)}) || true"])
def test_a_third_question_costs_too_much(expression):
    with pytest.raises(cel.EvaluationError, match="operation cancelled: actual cost limit exceeded"):
        evaluate(expression)


def test_a_question_that_is_not_asked_costs_nothing():
    assert evaluate(f"true || {' && '.join([ASKED] * 3)}") is True


def test_expressions_for_one_object_share_what_they_may_cost():
    budget = cel.Budget(cel.CONDITIONS_MOST)
    for _ in range(3):
        evaluate(f"{ASKED} && {ASKED}", budget)
    with pytest.raises(cel.OutOfBudget, match=EXHAUSTED):
        evaluate(f"{ASKED} && {ASKED}", budget)
    assert budget.left < 0


def test_rules_of_an_object_end_when_they_have_cost_too_much():
    text = {"type": "string", "x-kubernetes-validations": [{"rule": "self.find('" + "x" * 100 + "') == ''"}]}
    schema = {"type": "object", "properties": {"list": {"type": "array", "items": text}, "other": text}}
    outcome = Outcome()
    RuleNode(schema).run({"list": ["a" * 3000] * 2000, "other": "x" * 100}, None, "", outcome)
    (error,) = outcome.errors
    assert error.message.endswith(EXHAUSTED)
    assert error.field.startswith("list[")
