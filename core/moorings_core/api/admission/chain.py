"""The order in which a write is filled in and checked. Source: upstream's AllOrderedPlugins."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from moorings_core.api.cache import Cache
from moorings_core.api.extension.dialer import Dialer
from moorings_core.ports.cluster import ClusterConfig
from moorings_core.ports.objects import Object, Resource
from moorings_core.ports.store import Store
from moorings_core.registry.kinds import Registry

from . import certificates, classes, limits, namespaces, nodes, pod_security, priority, service_account
from .attributes import Attributes, Operation
from .plugin import Function, Step, World
from .policies import Policies
from .quota import QuotaDesks
from .webhooks import Caller, Webhooks

if TYPE_CHECKING:
    from moorings_core.cel.library.authorization import Ask

T = TypeVar("T")
Asker = Callable[[Attributes], "Ask | None"]
MUTATE: Sequence[Step] = (
    *namespaces.MUTATE,
    *limits.MUTATE,
    *service_account.MUTATE,
    *nodes.TAINTS,
    *priority.MUTATE,
    *nodes.TOLERATIONS,
    *classes.MUTATE_STORAGE,
    *classes.MUTATE,
    *nodes.LABELS,
)
VALIDATE: Sequence[Step] = (
    *limits.VALIDATE,
    *service_account.VALIDATE,
    *pod_security.VALIDATE,
    *priority.VALIDATE,
    *classes.VALIDATE,
    *certificates.VALIDATE,
)


class Admission:
    """The plugins, and those who extend them, in order."""

    def __init__(self, cache: Cache, store: Store, config: ClusterConfig, registry: Registry, dialer: Dialer) -> None:
        self._world, self.quotas = World(cache, config), QuotaDesks(cache, store)
        self.policies = Policies(cache, registry)
        self.webhooks = Webhooks(cache, registry, Caller(dialer))
        self._known: dict[tuple[object, ...], tuple[Function, ...]] = {}

    def authorize_by(self, asker: Asker) -> None:
        """Let expressions ask what users may do."""
        self.policies.asker = self.webhooks.asker = asker

    def concerns(self, operation: Operation, resource: Resource, subresource: str, namespace: str) -> bool:
        """Whether such a write may have to wait for somebody's word."""
        where = (operation, resource, subresource, namespace)
        return self.quotas.concerns(*where) or self.webhooks.concerns(*where)

    async def settle(self, resource: Resource, namespace: str, obj: Object) -> None:
        """Wait, if need be, for what a controller is about to make and a new object needs."""
        if (resource.group, resource.plural) == ("", "pods"):
            await service_account.wait_for_default(self._world.cache, namespace, obj)

    async def mutate(self, a: Attributes) -> None:
        """Fill in what a write leaves open, and refuse what is known to be wrong. Raises Forbidden, NotFound and what webhooks say."""
        self._run(MUTATE, a)
        self.policies.mutate(a, lambda: self._run(MUTATE, a))
        if self.webhooks.concerns(*_place(a)):
            await self.webhooks.mutate(a, lambda: self._again(a))

    async def validate(self, a: Attributes) -> None:
        """Check a write that is complete. Raises Forbidden and what webhooks say."""
        self._run(VALIDATE, a)
        self.policies.validate(a)
        if self.webhooks.concerns(*_place(a)):
            await self.webhooks.validate(a)

    async def connect(self, a: Attributes) -> None:
        """Check a connection that somebody wants to a pod, a service or a node. Raises Forbidden and what webhooks say."""
        await self.mutate(a)
        await self.validate(a)

    def _again(self, a: Attributes) -> None:
        """Let those who came before the webhooks see what these have made of an object."""
        self._run(MUTATE, a)
        self.policies.mutate(a, lambda: self._run(MUTATE, a))

    def _run(self, steps: Sequence[Step], a: Attributes) -> None:
        resource = (a.resource.group, a.resource.plural)
        place = (steps is MUTATE, a.operation, resource, a.subresource)
        found = self._known.get(place)
        if found is None:
            found = self._known[place] = tuple(s.function for s in steps if s.concerns(a.operation, resource, a.subresource))
        for function in found:
            function(self._world, a)


def _place(a: Attributes) -> tuple[Operation, Resource, str, str]:
    return a.operation, a.resource, a.subresource, a.key.namespace


def now(work: Coroutine[Any, Any, T]) -> T:
    """Run what never waits, and return its result: planning is one piece of code for those who can wait and those who need not."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    work.close()
    raise AssertionError("had to wait for what was said not to need it")
