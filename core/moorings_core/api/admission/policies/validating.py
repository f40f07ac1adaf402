"""What validating policies say of a write. Source: apiserver policy/validating."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from moorings_core import cel
from moorings_core.api.admission.attributes import Attributes
from moorings_core.api.admission.expressions import ConditionFailed, conditions_hold
from moorings_core.ports.errors import ApiError
from moorings_core.ports.objects import Object

from .dispatch import Invocation, Policies
from .rules import Evaluation, Remembered, Rule, rule

CODES = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413, "Invalid": 422}
MOST_MESSAGE, MOST_ANNOTATION, MOST_FAILURES = 5 << 10, 10 << 10, 50
FAILURES = "validation.policy.admission.k8s.io/validation_failure"


@dataclass(slots=True)
class Verdicts:
    """What was found: refusals as (invocation, message, reason), failures for the audit, annotations by policy and key."""

    denied: list[tuple[Invocation, str, str]] = field(default_factory=list)
    failures: list[Object] = field(default_factory=list)
    annotations: dict[str, list[str]] = field(default_factory=dict)


def validate(policies: Policies, invocations: Sequence[Invocation], a: Attributes) -> None:
    """Evaluate policies; warn and note what they say. Raises the first refusal."""
    verdicts = Verdicts()
    for invocation in invocations:
        if invocation.problem:
            if invocation.configured.fails_closed:
                verdicts.denied.append((invocation, invocation.problem, ""))
        else:
            _evaluate(policies, invocation, a, verdicts)
    for key, values in verdicts.annotations.items():
        a.context.annotate(key, ", ".join(dict.fromkeys(values)))
    if verdicts.failures:
        a.context.annotate(FAILURES, orjson.dumps(verdicts.failures[:MOST_FAILURES]).decode())
    if verdicts.denied:
        raise _refusal(a, *verdicts.denied[0])


def _evaluate(policies: Policies, invocation: Invocation, a: Attributes, verdicts: Verdicts) -> None:
    policy, rules = invocation.configured, _remembered.of(invocation.configured.policy)
    evaluation = Evaluation(rules.variables, policies.values(invocation, a), policies.asker(a))
    try:
        if not conditions_hold(rules.conditions, evaluation.values, evaluation.ask, fail_closed=policy.fails_closed):
            return
    except ConditionFailed as error:
        _decide(invocation, 0, str(error), "", a, verdicts)
        return
    try:
        failures = [(i, *failed) for i, v in enumerate(rules.main) if (failed := _failed(v, evaluation, closed=policy.fails_closed))]
        told = [(i, _message(rules.main[i], rules.messages.get(i), evaluation) if reason else text, reason) for i, text, reason in failures]
    except cel.OutOfBudget as error:
        told = [(0, str(error), "")] if policy.fails_closed else []
    for index, message, reason in told:
        _decide(invocation, index, message, reason, a, verdicts)
    evaluation.budget = cel.Budget()
    for annotation in rules.annotations:
        _annotate(invocation, annotation, evaluation, verdicts)


def _failed(validation: Rule, evaluation: Evaluation, *, closed: bool) -> tuple[str, str] | None:
    """Return (error, reason) of a validation that does not hold, or None. No reason: it has no value; closed: that fails too."""
    try:
        return None if evaluation.value(validation) is True else ("", validation.fields.get("reason") or "Invalid")
    except cel.OutOfBudget:
        raise
    except cel.EvaluationError as error:
        return (str(error), "") if closed else None


def _message(validation: Rule, expression: Rule | None, evaluation: Evaluation) -> str:
    """Return why a validation fails: what its expression says, or its text, or itself."""
    if expression is not None:
        try:
            told = evaluation.value(expression)
        except cel.OutOfBudget:
            raise
        except cel.EvaluationError:
            told = None
        text = told.strip() if isinstance(told, str) else ""
        if text and len(text) <= MOST_MESSAGE and "\n" not in text:
            return text
    return (validation.fields.get("message") or "").strip() or f"failed expression: {validation.expression.strip()}"


def _decide(invocation: Invocation, index: int, message: str, reason: str, a: Attributes, verdicts: Verdicts) -> None:
    binding, name = invocation.binding or {}, invocation.configured.name
    bound, actions = binding["metadata"]["name"], binding["spec"].get("validationActions") or ()
    if "Deny" in actions:
        verdicts.denied.append((invocation, message, reason))
    if "Warn" in actions:
        a.context.warnings.append(f"Validation failed for ValidatingAdmissionPolicy '{name}' with binding '{bound}': {message}")
    if "Audit" in actions:
        failure = {"message": message, "policy": name, "binding": bound, "expressionIndex": index, "validationActions": list(actions)}
        verdicts.failures.append(failure)


def _annotate(invocation: Invocation, annotation: Rule, evaluation: Evaluation, verdicts: Verdicts) -> None:
    name = invocation.configured.name
    try:
        told = evaluation.value(annotation)
    except cel.EvaluationError as error:
        if invocation.configured.fails_closed:
            verdicts.denied.append((invocation, str(error), ""))
        return
    text = told.strip() if isinstance(told, str) else ""
    if text:
        verdicts.annotations.setdefault(f"{name}/{annotation.fields['key']}", []).append(text[:MOST_ANNOTATION])


def _refusal(a: Attributes, invocation: Invocation, message: str, reason: str) -> ApiError:
    bound = f" with binding '{invocation.binding['metadata']['name']}'" if invocation.binding is not None else ""
    text = f"ValidatingAdmissionPolicy '{invocation.configured.name}'{bound} denied request: {message}"
    refused, reason = a.forbidden(text), reason or "Invalid"
    details = {**refused.details, "causes": [{"message": text}]}
    return ApiError(refused.message, details=details, code=CODES.get(reason, 422), reason=reason)


def _validations(policy: Object) -> list[Rule]:
    return [rule(v["expression"], v) for v in policy["spec"].get("validations") or ()]


_remembered = Remembered(_validations)
