"""What mutating policies make of a write. Source: apiserver policy/mutating."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from moorings_core import cel
from moorings_core.api.admission.attributes import Attributes
from moorings_core.api.admission.expressions import ConditionFailed, conditions_hold
from moorings_core.api.admission.remade import NotTheKind
from moorings_core.api.apply.fields import is_granular
from moorings_core.api.apply.merge import merge
from moorings_core.api.cache import copied
from moorings_core.api.patch import PatchDoesNotFit, PatchError, json_patch
from moorings_core.cel.literals import as_maps
from moorings_core.ports.errors import ApiError
from moorings_core.ports.objects import Object
from moorings_core.registry.schema import Schema

from .dispatch import Invocation, Policies
from .rules import Evaluation, Remembered, Rule, rule

Identity = tuple[str, str, str]


class MutationFailed(ValueError):
    """A mutation can't be done."""


def mutate(policies: Policies, invocations: Sequence[Invocation], a: Attributes, plugins: Callable[[], None]) -> None:
    """Evaluate policies in order; after a change the plugins and those that want it have another turn. Raises the first failure."""
    problems: list[tuple[Invocation, str, str]] = [(i, i.problem, "") for i in invocations if i.problem and i.configured.fails_closed]
    asked: set[Identity] = set()
    before = a.object
    missed = _round(policies, invocations, a, asked, None, problems)
    if a.object != before:
        known = copied(a.object)
        plugins()
        again = asked if a.object != known else missed
        if again:
            _round(policies, invocations, a, set(), again, problems)
    if problems:
        raise _refusal(a, problems)


def _round(
    policies: Policies,
    invocations: Sequence[Invocation],
    a: Attributes,
    asked: set[Identity],
    only: set[Identity] | None,
    problems: list[tuple[Invocation, str, str]],
) -> set[Identity]:
    """Evaluate each policy once; return those that came before another's change and want another turn."""
    missed: set[Identity] = set()
    for invocation in invocations:
        identity = _identity(invocation)
        if invocation.problem or (only is not None and identity not in only):
            continue
        before = a.object
        try:
            _apply(policies, invocation, a)
        except (cel.EvaluationError, MutationFailed, ConditionFailed) as error:
            if invocation.configured.fails_closed:
                problems.append((invocation, str(error), "Invalid"))
        if a.object != before:
            missed |= asked
        if invocation.configured.policy["spec"].get("reinvocationPolicy") == "IfNeeded":
            asked.add(identity)
    return missed


def _apply(policies: Policies, invocation: Invocation, a: Attributes) -> None:
    rules = _remembered.of(invocation.configured.policy)
    values = policies.values(invocation, a)
    if not conditions_hold(rules.conditions, values, policies.asker(a), fail_closed=invocation.configured.fails_closed):
        return
    for mutation in rules.main:
        values["object"] = a.object
        evaluation = Evaluation(rules.variables, values, policies.asker(a))
        result = evaluation.value(mutation)
        if mutation.fields.get("patchType") == "JSONPatch":
            changed = _patched(a.new, result)
        else:
            changed = _configured(a.new, result, policies.schema(a))
        try:
            a.object = policies.remade(a, changed)
        except NotTheKind as error:
            raise MutationFailed(str(error)) from error


def _patched(obj: Object, operations: Any) -> Object:
    if not isinstance(operations, list):
        raise MutationFailed(f"type mismatch: JSONPatch expression should evaluate to array, got {type(operations).__name__}")
    patch = [{k: v for k, v in operation.items() if v is not None or k == "value"} for operation in operations]
    try:
        changed = json_patch(obj, patch)
    except (PatchError, PatchDoesNotFit) as error:
        raise MutationFailed(f"JSON Patch: {error}") from error
    if not isinstance(changed, dict) or not isinstance(changed.get("metadata"), dict):
        raise MutationFailed("JSON Patch: it leaves no object")
    return changed


def _configured(obj: Object, config: Any, schema: Schema | None) -> Object:
    if not isinstance(config, dict):
        raise MutationFailed(f"invalid return type: {type(config).__name__}")
    atomic = list(_atomics(config, schema, ""))
    if atomic:
        text = f"invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {', '.join(atomic)}"
        raise MutationFailed(f"error applying patch: {text}")
    merged: Object = copied(merge(obj, config, schema))
    return merged


def _atomics(value: Any, schema: Schema | None, path: str) -> Iterator[str]:
    """Yield the lists and maps of a configuration that would replace what is there as a whole."""
    if schema is None or not isinstance(value, dict | list):
        return
    if not is_granular(schema):
        yield path or "."
    elif isinstance(value, dict):
        for name, child in value.items():
            below = schema.properties.get(name) if schema.type == "object" else schema.values
            yield from _atomics(child, below, f"{path}.{name}")
    elif schema.list_type != "set":
        for item in value:
            yield from _atomics(item, schema.items, path)


def _identity(invocation: Invocation) -> Identity:
    metadata = (invocation.parameter or {}).get("metadata") or {}
    binding = invocation.binding["metadata"]["name"] if invocation.binding is not None else ""
    return invocation.configured.name, binding, f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"


def _refusal(a: Attributes, problems: Sequence[tuple[Invocation, str, str]]) -> ApiError:
    texts = [_text(invocation, message) for invocation, message, _ in problems]
    refused = a.forbidden("")
    details = {**refused.details, "causes": [{"message": text} for text in texts]}
    return ApiError(texts[0], details=details, code=403, reason=problems[0][2] or "Forbidden")


def _text(invocation: Invocation, message: str) -> str:
    if invocation.binding is None:
        return f'policy "{invocation.configured.name}" denied request: {message}'
    return f"policy '{invocation.configured.name}' with binding '{invocation.binding['metadata']['name']}' denied request: {message}"


def _mutation(mutation: Object) -> Rule:
    field = "jsonPatch" if mutation.get("patchType") == "JSONPatch" else "applyConfiguration"
    expression = (mutation.get(field) or {}).get("expression", "")
    return rule(expression, mutation, rewritten=as_maps(expression))


def _mutations(policy: Object) -> list[Rule]:
    return [_mutation(m) for m in policy["spec"].get("mutations") or ()]


_remembered = Remembered(_mutations)
