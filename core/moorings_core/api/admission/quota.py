"""ResourceQuota: a write that takes of a quota is stored together with what the quota has left, in one commit, or not at all.

So no number of clients, and no number of servers on one store, ever take more than there is, and what a quota says it has used is
true of the objects at that very revision. Writes of one namespace that come at the same time go through one desk and share commits.
Source: upstream's plugin ResourceQuota (it reserves first and writes then, which loses what is reserved when the write fails).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from moorings_core.api import managing
from moorings_core.api.cache import Cache, Stored, encode, store_key
from moorings_core.ports.errors import ApiError, Conflict, Forbidden
from moorings_core.ports.objects import Object, Resource, key_of
from moorings_core.ports.store import Operation, PreconditionFailed, PutRecord, Store, StoreError
from moorings_core.registry import quota
from moorings_core.registry.amounts import ZERO, Amounts, add, amounts, written
from moorings_core.registry.schema import named

from .attributes import Attributes

RESOURCE = Resource("", "v1", "resourcequotas", "ResourceQuota", True)
TRIES = 20


@dataclass(frozen=True, slots=True)
class Taking:
    """One quota that an object counts against, and what it takes of it."""

    name: str
    delta: Amounts


@dataclass(slots=True)
class Waiting:
    """A write at the desk."""

    attributes: Attributes
    operation: Operation
    done: asyncio.Future[int]
    beside: Sequence[Operation] = ()


@dataclass(slots=True)
class Desk:
    """The writes of one namespace that wait, and whoever serves them."""

    waiting: list[Waiting] = field(default_factory=list)
    clerk: asyncio.Task[None] | None = None


class QuotaDesks:
    """Commits what counts against quotas."""

    def __init__(self, cache: Cache, store: Store) -> None:
        self._cache, self._store = cache, store
        self._desks: dict[str, Desk] = {}

    def concerns(self, operation: str, resource: Resource, subresource: str, namespace: str) -> bool:
        """Whether such a write may take of a quota that is there."""
        if not self._cache.collection("", "resourcequotas").items or not namespace or not resource.namespaced:
            return False
        kind = (resource.group, resource.plural)
        if kind in quota.IGNORED or not _handles(kind, operation, subresource):
            return False
        return any(quota.matching(kind, _hard(q.object)) for q in self._quotas(namespace))

    def charge(self, a: Attributes) -> Attributes | None:
        """Return what is to be counted of a write, or None. Raises Forbidden at once for what no retry can mend."""
        if not self.concerns(a.operation, a.resource, a.subresource, a.key.namespace):
            return None
        if a.context.options.dry_run:
            self._take(a, {})
            return None
        return a

    async def commit(self, a: Attributes, operation: Operation, beside: Sequence[Operation] = ()) -> int:
        """Store a write with what it takes; return its revision. Raises Forbidden, PreconditionFailed for the write itself."""
        desk = self._desks.setdefault(a.key.namespace, Desk())
        waiting = Waiting(a, operation, asyncio.get_running_loop().create_future(), beside)
        desk.waiting.append(waiting)
        if desk.clerk is None:
            desk.clerk = asyncio.create_task(self._serve(a.key.namespace, desk))
        return await waiting.done

    async def _serve(self, namespace: str, desk: Desk) -> None:
        try:
            while desk.waiting:
                batch, desk.waiting = _one_of_each(desk.waiting)
                try:
                    await self._commit_all(batch)
                except (StoreError, ApiError, TimeoutError) as error:
                    _fail(batch, error)
        finally:
            self._desks.pop(namespace, None)
            _fail(desk.waiting, ApiError("the server is being closed"))

    async def _commit_all(self, batch: Sequence[Waiting]) -> None:
        """Commit all that fits; who loses to somebody faster is told or counted anew."""
        for _ in range(TRIES):
            running: dict[str, tuple[Stored, Amounts]] = {}
            fitting: list[Waiting] = []
            for waiting in (w for w in batch if not w.done.done()):
                try:
                    self._take(waiting.attributes, running)
                    fitting.append(waiting)
                except Forbidden as error:
                    _fail([waiting], error)
            if not fitting or await self._try(fitting, running):
                return
        raise Conflict(f"the quota of the namespace was changed {TRIES} times meanwhile; please try again")

    async def _try(self, fitting: Sequence[Waiting], running: Mapping[str, tuple[Stored, Amounts]]) -> bool:
        """Commit writes, and after them the quotas: whoever sees a quota sees what it counts."""
        quotas = [_with_used(stored, used) for stored, used in running.values()]
        try:
            beside = [each for w in fitting for each in w.beside]
            revisions = await self._store.commit([*(w.operation for w in fitting), *beside, *quotas])
        except PreconditionFailed as error:
            lost = [w for w in fitting if error.key in (w.operation.key, *(each.key for each in w.beside))]
            if lost:
                _fail(lost, error)
            else:
                await self._cache.wait_for(error.have or self._store.revision)
            return False
        await self._cache.wait_for(max(revisions))
        for waiting, revision in zip(fitting, revisions, strict=False):
            if not waiting.done.done():
                waiting.done.set_result(revision)
        return True

    def _take(self, a: Attributes, running: dict[str, tuple[Stored, Amounts]]) -> None:
        """Take what a write needs from quotas, of which `running` knows those that others have taken from. Raises Forbidden."""
        takings, used_by_name = [], {name: used for name, (_, used) in running.items()}
        for stored in self._quotas(a.key.namespace):
            taking = _taking(a, stored.object, used_by_name.get(stored.object["metadata"]["name"]))
            if taking is not None:
                takings.append((stored, taking))
        for stored, taking in takings:
            used = used_by_name.get(taking.name)
            used = amounts((stored.object.get("status") or {}).get("used")) if used is None else used
            running[taking.name] = (stored, add(used, taking.delta))

    def _quotas(self, namespace: str) -> Iterable[Stored]:
        return self._cache.collection("", "resourcequotas").select(namespace)


def _one_of_each(waiting: Sequence[Waiting]) -> tuple[list[Waiting], list[Waiting]]:
    """Return (the first write to each object, the others): of two writes to one object only one can win, and only that takes."""
    first: dict[str, Waiting] = {}
    for each in waiting:
        first.setdefault(each.operation.key, each)
    return list(first.values()), [each for each in waiting if first[each.operation.key] is not each]


def _handles(kind: quota.Kind, operation: str, subresource: str) -> bool:
    if kind == ("", "pods"):
        return operation in ("CREATE", "UPDATE") and (subresource == "" or (subresource == "resize" and operation == "UPDATE"))
    if kind == ("", "persistentvolumeclaims") and subresource == "status":
        return operation == "UPDATE"
    return not subresource and (operation == "CREATE" or (operation == "UPDATE" and quota.measure(kind).updates))


def _taking(a: Attributes, stored: Object, used: Amounts | None) -> Taking | None:
    """Return what a write takes of one quota, or None for nothing. Raises Forbidden."""
    kind, spec, name = (a.resource.group, a.resource.plural), stored["spec"], stored["metadata"]["name"]
    if kind == ("", "pods") and a.operation == "UPDATE" and not a.subresource and _same_scope(a):
        return None
    hard = amounts(_hard(stored))
    names = quota.matching(kind, hard)
    if not names or not quota.in_scopes(kind, spec, a.new):
        return None
    if kind == ("", "pods") and (problem := quota.missing(a.new, names)):
        raise a.forbidden(f"failed quota: {name}: {problem}")
    used = amounts((stored.get("status") or {}).get("used")) if used is None else used
    if any(n not in used for n in names):
        raise a.forbidden(f"status unknown for quota: {name}, resources: {','.join(sorted(names))}")
    delta = _delta(a, kind, spec)
    delta = {n: value for n, value in delta.items() if n in hard and value.value}
    if not delta:
        return None
    exceeded = sorted(n for n, value in delta.items() if used.get(n, ZERO).value + value.value > hard[n].value)
    if exceeded and a.subresource != "status":
        shown = (",".join(f"{n}={of.get(n, ZERO)}" for n in exceeded) for of in (delta, used, hard))
        raise a.forbidden("exceeded quota: {}, requested: {}, used: {}, limited: {}".format(name, *shown))
    return Taking(name, delta)


def _same_scope(a: Attributes) -> bool:
    return a.old is not None and quota.is_terminating(a.old) == quota.is_terminating(a.new)


def _delta(a: Attributes, kind: quota.Kind, spec: Object) -> Amounts:
    usage = quota.measure(kind).usage
    taken = usage(a.new)
    negative = sorted(name for name, value in taken.items() if value.value < 0)
    if negative:
        raise a.forbidden(f"quota usage is negative for resource(s): {','.join(negative)}")
    if a.operation != "UPDATE" or a.old is None or not quota.in_scopes(kind, spec, a.old):
        return taken
    before = usage(a.old)
    more = {name: value.minus(before[name]) if name in before else value for name, value in taken.items()}
    return {name: value for name, value in more.items() if value.value > 0}


def _hard(stored: Object) -> Mapping[str, str]:
    return (stored.get("status") or {}).get("hard") or {}


def _with_used(stored: Stored, used: Amounts) -> PutRecord:
    old = stored.object
    new = {**old, "metadata": dict(old["metadata"]), "status": {**old["status"], "used": written(used)}}
    managing.by_server(new, old, named("io.k8s.api.core.v1.ResourceQuota"), "status")
    return PutRecord(store_key("", RESOURCE.plural, key_of(old)), encode(new), stored.revision)


def _fail(batch: Iterable[Waiting], error: Exception) -> None:
    """Tell those who still wait; whoever waited may have gone away."""
    for waiting in batch:
        if not waiting.done.done():
            waiting.done.set_exception(error)
