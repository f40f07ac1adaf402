"""Mutating webhooks one after the other, validating ones at once; failures as each one's policy says.

Source: apiserver pkg/admission/plugin/webhook/{mutating,validating}/dispatcher.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import orjson

from moorings_core.api import problems
from moorings_core.api.admission.attributes import Attributes, Operation
from moorings_core.api.admission.matching import Convert, Match, namespace_fits, object_fits, renamed
from moorings_core.api.admission.remade import NotTheKind, remade
from moorings_core.api.cache import Cache
from moorings_core.api.patch import PatchDoesNotFit, PatchError, json_patch
from moorings_core.log import get_logger
from moorings_core.ports.errors import ApiError, BadRequest
from moorings_core.ports.objects import Object, Resource
from moorings_core.registry.kinds import Registry

from .caller import Caller
from .hooks import Hook, Hooks
from .review import Answer, CallFailed, ask, refusal, understand

if TYPE_CHECKING:
    from moorings_core.cel.library.authorization import Ask

log = get_logger(__name__)
HARMLESS = ("None", "NoneOnDryRun")
MUTATION = "mutation.webhook.admission.k8s.io/"
PATCH = "patch.webhook.admission.k8s.io/"
FAILED_OPEN = "failed-open."
VALIDATION = "validating.webhook.admission.k8s.io/"


class Webhooks:
    """Both kinds. converter: how an object looks in another version; asker: who answers for the authorizer."""

    def __init__(self, cache: Cache, registry: Registry, caller: Caller) -> None:
        self._cache, self._registry, self.caller = cache, registry, caller
        self._mutating, self._validating = Hooks(cache, registry, "mutating"), Hooks(cache, registry, "validating")
        self.convert: Convert = renamed
        self.asker: Callable[[Attributes], Ask | None] = lambda a: None

    def concerns(self, operation: Operation, resource: Resource, subresource: str, namespace: str) -> bool:
        """Whether the rules of a webhook name such a write."""
        if not (self._mutating or self._validating):
            return False
        kind = (resource.group, resource.version, resource.kind)
        return bool(
            self._mutating.about(operation, resource, subresource, kind) or self._validating.about(operation, resource, subresource, kind)
        )

    async def mutate(self, a: Attributes, plugins: Callable[[], None]) -> None:
        """Let mutating webhooks change the object; when one has, `plugins` run again, and those who want it are asked again."""
        again: set[tuple[str, str, int]] = set()
        before = a.object
        changed_after = await self._round(a, 0, again, None)
        if a.object == before:
            return
        known = a.object
        plugins()
        asked = again if a.object != known else changed_after
        if asked:
            await self._round(a, 1, set(), asked)

    async def _round(
        self, a: Attributes, number: int, asked: set[tuple[str, str, int]], only: set[tuple[str, str, int]] | None
    ) -> set[tuple[str, str, int]]:
        """Ask each webhook once; return those that were asked before another's change and want to be asked again."""
        missed: set[tuple[str, str, int]] = set()
        for index, (hook, match) in enumerate(self._mutating.about(a.operation, a.resource, a.subresource, a.group_version_kind)):
            if (only is not None and hook.identity not in only) or not self._looks(hook, match, a):
                continue
            before = a.object
            await self._mutation(hook, match, a, number, index)
            if a.object != before:
                missed |= asked
            if hook.reinvoked:
                asked.add(hook.identity)
        return missed

    async def _mutation(self, hook: Hook, match: Match, a: Attributes, number: int, index: int) -> None:
        place, changed = f"round_{number}_index_{index}", False
        try:
            answer = await self._ask(hook, match, a, mutating=True)
            if answer.patch:
                changed = self._patch(hook, match, a, answer, place)
        except CallFailed as error:
            _failed(hook, a, error, f"{FAILED_OPEN}{MUTATION}{place}")
        finally:
            said = {"configuration": hook.configuration, "webhook": hook.name, "mutated": changed}
            a.context.annotate(f"{MUTATION}{place}", orjson.dumps(said).decode())

    def _patch(self, hook: Hook, match: Match, a: Attributes, answer: Answer, place: str) -> bool:
        """Apply a webhook's patch; return whether it changed anything."""
        if a.object is None:
            text = f'admission webhook "{hook.name}" attempted to modify the object, which is not supported for this operation'
            raise internal(text)
        seen = self._as(a.object, match, a)
        try:
            patched = json_patch(seen, list(answer.patch))
        except (PatchError, PatchDoesNotFit) as error:
            raise internal(str(error)) from error
        if not isinstance(patched, dict) or not isinstance(patched.get("metadata", {}), dict):
            raise internal("the patch leaves no object")
        said = {"configuration": hook.configuration, "webhook": hook.name, "patch": answer.patch, "patchType": "JSONPatch"}
        a.context.annotate(f"{PATCH}{place}", orjson.dumps(said).decode())
        changed = patched != seen
        new = patched if match.kind == a.group_version_kind else self.convert(patched, a.group_version_kind)
        try:
            a.object = remade(self._registry, a, new)
        except NotTheKind as error:
            raise internal(str(error)) from error
        return changed

    async def validate(self, a: Attributes) -> None:
        """Ask all validating webhooks at once. Raises what the first that refuses says."""
        found = [
            (index, hook, match)
            for index, (hook, match) in enumerate(self._validating.about(a.operation, a.resource, a.subresource, a.group_version_kind))
            if self._looks(hook, match, a)
        ]
        if not found:
            return
        answers = await asyncio.gather(*(self._validation(hook, match, a, index) for index, hook, match in found), return_exceptions=True)
        for answer in answers:
            if answer is not None:
                raise answer

    async def _validation(self, hook: Hook, match: Match, a: Attributes, index: int) -> None:
        try:
            await self._ask(hook, match, a, mutating=False)
        except CallFailed as error:
            _failed(hook, a, error, f"{FAILED_OPEN}{VALIDATION}round_0_index_{index}")

    def _looks(self, hook: Hook, match: Match, a: Attributes) -> bool:
        """Whether a webhook whose rules name a write is to be asked. Raises NotFound, Forbidden."""
        if not namespace_fits(hook.namespaces, a, self._cache) or not object_fits(hook.objects, a):
            return False
        if not hook.conditions:
            return True
        from moorings_core.api.admission.expressions import ConditionFailed, conditions_hold, values_of  # see Hooks

        values = values_of(a, match, self._as(a.object, match, a), self._as(a.old, match, a))
        try:
            return conditions_hold(hook.conditions, values, self.asker(a), fail_closed=hook.fails_closed)
        except ConditionFailed as error:
            raise problems.forbidden(a.resource, a.key.name, str(error)) from error

    async def _ask(self, hook: Hook, match: Match, a: Attributes, *, mutating: bool) -> Answer:
        """Return the answer of a webhook that allows. Raises CallFailed, and the refusal of one that does not."""
        if a.context.options.dry_run and hook.side_effects not in HARMLESS:
            raise BadRequest(f'admission webhook "{hook.name}" does not support dry run')
        uid, review = ask(a, match, self._as(a.object, match, a), self._as(a.old, match, a), hook.versions)
        body = await self.caller.call(hook.client, review, hook.timeout)
        answer = understand(body, uid, review["apiVersion"], mutating=mutating)
        for key, value in answer.annotations.items():
            a.context.annotate(f"{hook.name}/{key}", str(value))
        a.context.warnings.extend(answer.warnings)
        if not answer.allowed:
            raise refusal(hook.name, answer.result)
        return answer

    def _as(self, obj: Object | None, match: Match, a: Attributes) -> Object | None:
        if obj is None:
            return None
        if match.kind != a.group_version_kind:
            return self.convert(obj, match.kind)
        return obj if "kind" in obj and "apiVersion" in obj else renamed(obj, match.kind)


def _failed(hook: Hook, a: Attributes, error: CallFailed, key: str) -> None:
    """Let a write pass, or raise, as the webhook's failurePolicy says."""
    text = f'failed calling webhook "{hook.name}": {error}'
    log.warning("webhook failed", webhook=hook.name, configuration=hook.configuration, error=str(error), closed=hook.fails_closed)
    if hook.fails_closed:
        raise internal(text) from error
    a.context.annotate(key, hook.name)


def internal(text: str) -> ApiError:
    """Return an error that is nobody's fault who asked."""
    return ApiError(f"Internal error occurred: {text}", details={"causes": [{"message": text}]})
