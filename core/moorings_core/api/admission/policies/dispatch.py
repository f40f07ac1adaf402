"""Which policies have a word on a write, with which parameters, and in what order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moorings_core.api.admission.attributes import Attributes
from moorings_core.api.admission.matching import Convert, Match, namespace_of, renamed
from moorings_core.api.admission.remade import remade
from moorings_core.api.cache import Cache
from moorings_core.ports.errors import NotFound
from moorings_core.ports.objects import Key, Object
from moorings_core.registry.kinds import Registry

from .configured import Configuration, Configured
from .parameters import NotConfigured, parameter_kind, parameters

if TYPE_CHECKING:
    from moorings_core.cel.library.authorization import Ask


@dataclass(frozen=True, slots=True)
class Invocation:
    """One policy under one binding with one parameter; problem: why it can't be asked."""

    configured: Configured
    binding: Object | None
    match: Match
    parameter: Object | None = None
    problem: str = ""


class Policies:
    """Both kinds. convert: how an object looks in another version; asker: who answers for the authorizer."""

    def __init__(self, cache: Cache, registry: Registry) -> None:
        self._cache, self._registry = cache, registry
        self._mutating, self._validating = Configuration(cache, registry, "mutating"), Configuration(cache, registry, "validating")
        self.convert: Convert = renamed
        self.asker: Callable[[Attributes], Ask | None] = lambda a: None

    def mutate(self, a: Attributes, plugins: Callable[[], None]) -> None:
        """Let mutating policies change the object; `plugins` run again after a change, and then those policies that want it."""
        if a.object is None or not self._mutating.about(a.operation, a.resource, a.subresource):
            return
        from .mutating import mutate  # the evaluator is large, and few clusters have policies

        mutate(self, list(self.invocations(self._mutating, a)), a, plugins)

    def validate(self, a: Attributes) -> None:
        """Let validating policies look at a write. Raises what the first that refuses says."""
        if not self._validating.about(a.operation, a.resource, a.subresource):
            return
        from .validating import validate

        validate(self, list(self.invocations(self._validating, a)), a)

    def invocations(self, configuration: Configuration, a: Attributes) -> Iterator[Invocation]:
        """Yield who is to be asked about a write."""
        nowhere = Match(a.resource, a.group_version_kind)
        for configured in configuration.about(a.operation, a.resource, a.subresource):
            try:
                match = configuration.match(configured.policy["spec"].get("matchConstraints") or {}, a)
                if match is not None:
                    parameter_kind(configured.policy, self._registry)
            except (NotFound, ValueError) as error:
                yield Invocation(configured, None, nowhere, problem=f"failed to configure policy: {error}")
                continue
            if match is not None:
                for binding in configured.bindings:
                    yield from self._bound(configuration, configured, binding, match, a)

    def _bound(
        self, configuration: Configuration, configured: Configured, binding: Object, match: Match, a: Attributes
    ) -> Iterator[Invocation]:
        try:
            resources = binding["spec"].get("matchResources")
            if resources is not None and configuration.match(resources, a) is None:
                return
            home = namespace_of(a)
            for parameter in parameters(configured.policy, binding, home, self._cache, self._registry):
                yield Invocation(configured, binding, match, parameter)
        except (NotConfigured, NotFound, ValueError) as error:
            yield Invocation(configured, binding, match, problem=f"failed to configure binding: {error}")

    def values(self, invocation: Invocation, a: Attributes) -> dict[str, Any]:
        """Return the values of the variables of a policy's expressions."""
        from moorings_core.api.admission.expressions import values_of

        obj, old = (self._as(o, invocation.match, a) for o in (a.object, a.old))
        return values_of(a, invocation.match, obj, old, params=invocation.parameter, namespaceObject=self._namespace(a))

    def schema(self, a: Attributes) -> Any:
        """Return the schema of the objects of a write, or None."""
        group, version, kind = a.group_version_kind
        found = self._registry.by_kind(group, version, kind)
        return found.schema if found is not None else None

    def remade(self, a: Attributes, new: Object) -> Object:
        """Return what a policy has made as an object of its kind. Raises NotTheKind."""
        return remade(self._registry, a, new)

    def _namespace(self, a: Attributes) -> Object | None:
        found = self._cache.collection("", "namespaces").get(Key("", a.key.namespace)) if a.resource.namespaced else None
        return found.object if found is not None else None

    def _as(self, obj: Object | None, match: Match, a: Attributes) -> Object | None:
        if obj is None or (match.kind == a.group_version_kind and "kind" in obj):
            return obj
        return self.convert(obj, match.kind)
