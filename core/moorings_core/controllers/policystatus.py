"""The status of validating admission policies: what their expressions get wrong about the kinds that they are for.

Compiling against the schema of a kind takes tens of milliseconds, so it is done in a thread and not in a reconcile.
Source: upstream's validatingadmissionpolicystatus controller and apiserver policy/validating/typechecking.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from moorings_core.client.informer import Informer
from moorings_core.client.resources import VALIDATING_ADMISSION_POLICIES
from moorings_core.log import get_logger
from moorings_core.ports.client import Client
from moorings_core.ports.errors import ApiError
from moorings_core.ports.objects import Object
from moorings_core.registry.kinds import Kind, Registry
from moorings_core.registry.schema import Schema
from moorings_core.registry.validation.errors import FieldError
from moorings_core.registry.validation.expressions import Types, schema_of, type_of

log = get_logger(__name__)
MOST_KINDS = 10
DEEPEST = 12
_SCALARS = {name: {"type": name} for name in ("string", "integer", "number", "boolean")}


class PolicyStatus:
    """Checks each version of each policy once."""

    def __init__(self, client: Client, registry: Registry) -> None:
        self._client, self._registry = client, registry
        self._changed: asyncio.Queue[Object] = asyncio.Queue()

    async def run(self) -> None:
        """Work until cancelled. Raises what ends the informer."""
        informer = Informer(self._client, VALIDATING_ADMISSION_POLICIES)
        informer.on_change(self._note)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(informer.run(), name="informer validatingadmissionpolicies")
            tasks.create_task(self._check_all(), name="policy status")

    def _note(self, old: Object | None, new: Object | None) -> None:
        if new is not None and _is_unseen(new):
            self._changed.put_nowait(new)

    async def _check_all(self) -> None:
        while True:
            policy = await self._changed.get()
            metadata = policy["metadata"]
            try:
                warnings = await asyncio.to_thread(check, policy, self._registry)
                checked: Object = {"expressionWarnings": warnings} if warnings else {}
                status = {**(policy.get("status") or {}), "observedGeneration": metadata["generation"], "typeChecking": checked}
                await self._client.update(VALIDATING_ADMISSION_POLICIES, {**policy, "status": status}, subresource="status")
            except ApiError as error:  # its next change, or the next start, brings it back
                log.debug("policy status not written", policy=metadata["name"], error=str(error))


def check(policy: Object, registry: Registry) -> list[Object]:
    """Return a warning for each expression that can't be right for one of the kinds that the policy is for."""
    spec = policy["spec"]
    kinds = sorted(_kinds(spec, registry), key=lambda k: (k.resource.group, k.resource.version, k.resource.kind))[:MOST_KINDS]
    found: list[Object] = []
    for i, validation in enumerate(spec.get("validations") or ()):
        for field in ("expression", "messageExpression"):
            texts = [text for kind in kinds if validation.get(field) and (text := _wrong(validation[field], spec, kind))]
            if texts:
                found.append({"fieldRef": f"spec.validations[{i}].{field}", "warning": "\n".join(texts)})
    return found


def openapi(kind: Kind) -> Any:
    """Return the schema of a kind as OpenAPI, without references."""
    return kind.custom.raw if kind.custom is not None else _openapi(kind.schema, 0)


def _openapi(schema: Schema | None, depth: int) -> Any:
    if schema is None or depth > DEEPEST:
        return {}
    if schema.type == "object" and schema.properties:
        return {"type": "object", "properties": {name: _openapi(child, depth + 1) for name, child in schema.properties.items()}}
    if schema.type == "array":
        return {"type": "array", "items": _openapi(schema.items, depth + 1)}
    if schema.type == "map":
        return {"type": "object", "additionalProperties": _openapi(schema.values, depth + 1)}
    return _SCALARS.get(schema.type, {})


def _is_unseen(policy: Object) -> bool:
    seen = (policy.get("status") or {}).get("observedGeneration", 0)
    return bool(policy["metadata"].get("generation", 0) > seen)


def _kinds(spec: Object, registry: Registry) -> Iterator[Kind]:
    """Yield the kinds that rules name without wildcards."""
    for rule in (spec.get("matchConstraints") or {}).get("resourceRules") or ():
        for group in _plain(rule.get("apiGroups")):
            for version in _plain(rule.get("apiVersions")):
                for plural in _plain(rule.get("resources")):
                    kind = registry.lookup(group, version, plural)
                    if kind is not None:
                        yield kind


def _plain(names: Sequence[str] | None) -> Sequence[str]:
    return [] if any("*" in name for name in names or ()) else [name for name in names or () if "/" not in name]


def _wrong(expression: str, spec: Object, kind: Kind) -> str:
    objects, params = openapi(kind), spec.get("paramKind") is not None
    types: Types = {}
    for variable in spec.get("variables") or ():
        known = type_of(variable["expression"], "", params=params, variables=types, objects=objects)
        types[variable["name"]] = schema_of("dyn" if isinstance(known, FieldError) else known)
    found = type_of(expression, "", params=params, variables=types, objects=objects)
    if not isinstance(found, FieldError):
        return ""
    problem = found.message[found.message.find("compilation failed") :]
    return f"{kind.resource.api_version}, Kind={kind.resource.kind}: {problem}"
