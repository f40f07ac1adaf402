"""ResourceQuotas: status.hard follows the spec, and status.used what is there.

The API server stores what is taken of a quota with the object that takes it, so only what is given back is to be found out: by
counting everything anew. A count is right for the revision of the quota if everything was listed at that revision or later, and is
written only if the quota is still the same: then nothing was taken meanwhile. Source: upstream's resourcequota controller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from moorings_core.client.resources import PODS, RESOURCE_QUOTAS
from moorings_core.ports.client import ObjectList
from moorings_core.ports.errors import ApiError, MethodNotAllowed, NotFound
from moorings_core.ports.objects import Object, Resource, key_of
from moorings_core.registry import quota
from moorings_core.registry.amounts import amounts, written

from . import pods, writes
from .framework import Question, Result, View, Watch, WorkKey
from .framework.cache import Answer

Lists = dict[quota.Kind, Sequence[Object]]
RESYNC = 300.0
SOON = 1.0
OVERDUE = 30.0
UNKNOWN = 5.0


class QuotaController:
    """Counts. `resources`: those that can be listed and watched."""

    name = "resourcequota-controller"

    def __init__(self, resources: Sequence[Resource]) -> None:
        self._resources = {(r.group, r.plural): r for r in resources if r.namespaced and (r.group, r.plural) not in quota.IGNORED}

    def watches(self) -> Sequence[Watch]:
        """Reads quotas, and everything that they may count."""
        others = [r for r in self._resources.values() if r != RESOURCE_QUOTAS]
        return (Watch(RESOURCE_QUOTAS, _quotas), *(Watch(resource, _given_back(resource)) for resource in others))

    def adopt(self, resource: Resource) -> Watch | None:
        """Count a further kind."""
        if not resource.namespaced:
            return None
        self._resources[resource.group, resource.plural] = resource
        return Watch(resource, _given_back(resource))

    def reconcile(self, key: WorkKey, view: View, now: datetime) -> Result:
        """Count for one quota."""
        stored = view.get(RESOURCE_QUOTAS, key[1], key[0])
        if stored is None or stored["metadata"].get("deletionTimestamp"):
            return Result()
        itself = Question(RESOURCE_QUOTAS, key[0], key[1])
        kinds = quota.counted_kinds((stored["spec"].get("hard") or {}), self._resources)
        questions = {kind: Question(self._resources[kind], key[0], whole=True) for kind in kinds}
        if itself not in view.answers or any(q not in view.answers for q in questions.values()):
            return Result(questions=[itself, *questions.values()])
        live = view.answers[itself]
        if not isinstance(live, dict):
            return Result()
        lists = _lists(view.answers, questions, int(live["metadata"]["resourceVersion"]))
        if lists is None:
            return Result(requeue_after=SOON)
        intents = writes.status(RESOURCE_QUOTAS, live, _status(live, lists))
        return Result(intents, requeue_after=_next_look(live["spec"].get("hard") or {}, lists))


def _lists(answers: Mapping[Question, Answer], questions: Mapping[quota.Kind, Question], since: int) -> Lists | None:
    """Return what was listed, or None where some of it is older than the quota. Raises what a kind that is served answers."""
    lists: Lists = {}
    for kind, question in questions.items():
        answer = answers[question]
        if isinstance(answer, ApiError):
            if isinstance(answer, NotFound | MethodNotAllowed):
                continue
            raise answer
        assert isinstance(answer, ObjectList)
        if int(answer.version) < since:
            return None
        lists[kind] = answer.items
    return lists


def _status(stored: Object, lists: Lists) -> Object:
    hard = stored["spec"].get("hard") or {}
    before = (stored.get("status") or {}).get("used") or {}
    known = {name: value for name, value in amounts(before).items() if name in hard}
    counted = quota.recount(stored["spec"], lists)
    used = known | {name: value for name, value in counted.items() if name in hard}
    if {n: a.value for n, a in used.items()} == {n: a.value for n, a in amounts(before).items()}:
        return {"hard": hard, "used": before} if hard else {}
    return {"hard": hard, "used": written(used)}


def _next_look(hard: Object, lists: Lists) -> float:
    """Return when to count again though nothing is told to have changed.

    A pod that hangs in its deletion gives back what it has when its time is over; a kind that is not there yet may come.
    """
    counted = {name for kind in lists for name in quota.matching(kind, hard)}
    if any(name.startswith("count/") and name not in counted for name in hard):
        return UNKNOWN
    hanging = any(pods.is_terminating(pod) for pod in lists.get((PODS.group, PODS.plural), ()))
    return OVERDUE if hanging else RESYNC


def _quotas(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    """A quota is counted when its limits are new, and those that count quotas when one goes."""
    if new is not None and (old is None or old["spec"] != new["spec"]):
        yield key_of(new)
    if new is None and old is not None:
        yield from _interested(view, RESOURCE_QUOTAS, old)


def _given_back(resource: Resource) -> Callable[[View, Object | None, Object | None], Iterable[WorkKey]]:
    def keys(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
        if old is not None and (new is None or _takes_less(resource, old, new)):
            yield from _interested(view, resource, old)

    return keys


def _interested(view: View, resource: Resource, obj: Object) -> Iterable[WorkKey]:
    kind = (resource.group, resource.plural)
    for stored in view.within(RESOURCE_QUOTAS, obj["metadata"].get("namespace", "")):
        if quota.matching(kind, stored["spec"].get("hard") or {}):
            yield key_of(stored)


def _takes_less(resource: Resource, old: Object, new: Object) -> bool:
    """Whether an object may have given something back by changing."""
    if resource == PODS:
        fields = ("resources", "activeDeadlineSeconds")
        changed = any(old["spec"].get(f) != new["spec"].get(f) for f in fields) or _resources(old) != _resources(new)
        return changed or (pods.is_finished(new) and not pods.is_finished(old))
    kind = (resource.group, resource.plural)
    return quota.measure(kind).updates and quota.measure(kind).usage(old) != quota.measure(kind).usage(new)


def _resources(pod: Object) -> list[object]:
    return [container.get("resources") for container in pod["spec"].get("containers") or ()]
