"""PodDisruptionBudgets: how many pods of each are healthy, must be, and may go. Source: upstream's disruption controller."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from moorings_core.client.resources import (
    DEPLOYMENTS,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
)
from moorings_core.ports.errors import ApiError
from moorings_core.ports.objects import Object, key_of
from moorings_core.registry.kinds import Registry
from moorings_core.registry.selectors import from_label_selector

from . import conditions, moments, pods, writes
from .framework import Note, Question, Result, View, Watch, WorkKey
from .ownership import controller_of, itself

DELETION_SECONDS = 120.0
"""How long an evicted pod is expected to take to be seen going"""
ALLOWED = "DisruptionAllowed"
STALE_SECONDS = 120.0
_OWNERS = {
    ("", "ReplicationController"): REPLICATION_CONTROLLERS,
    ("apps", "ReplicaSet"): REPLICA_SETS,
    ("apps", "StatefulSet"): STATEFUL_SETS,
}


class _NotKnown(Exception):
    """How many pods there should be can't be found out."""


class DisruptionController:
    """Keeps the status of budgets. `registry` says what can be scaled."""

    name = "controllermanager"

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def watches(self) -> Sequence[Watch]:
        """Reads budgets, pods and what owns them."""
        owners = (*_OWNERS.values(), DEPLOYMENTS)
        return (
            Watch(POD_DISRUPTION_BUDGETS, itself),
            Watch(PODS, _budgets_of_pod),
            *(Watch(owner, _budgets_of_owner) for owner in owners),
        )

    def reconcile(self, key: WorkKey, view: View, now: datetime) -> Result:
        """Count for one budget; where that fails, allow nothing."""
        budget = view.get(POD_DISRUPTION_BUDGETS, key[1], key[0])
        if budget is None:
            return Result()
        try:
            selector = from_label_selector(budget["spec"].get("selector"))
            found = [p for p in view.within(PODS, key[0]) if selector.matches(p["metadata"].get("labels") or {})]
            scales = self._scales(found, view) if _counts_owners(budget) else {}
            if isinstance(scales, list):
                return Result(questions=scales)
            expected, desired = _expectation(budget, len(found), sum(scales.values()))
        except (_NotKnown, ValueError) as error:
            note = Note(budget, "Warning", "CalculateExpectedPodCountFailed", f"Failed to calculate the number of expected pods: {error}")
            return Result(writes.status(POD_DISRUPTION_BUDGETS, budget, _failed(budget, str(error), now)), [note])
        disrupted, recheck = _disrupted(budget, found, now)
        healthy = sum(_is_healthy(pod, disrupted) for pod in found)
        status = _status(budget, healthy, desired, expected, disrupted, now)
        notes = [] if found else [Note(budget, "Normal", "NoPods", "No matching pods found")]
        return Result(writes.status(POD_DISRUPTION_BUDGETS, budget, status), notes, requeue_after=recheck)

    def _scales(self, found: Sequence[Object], view: View) -> dict[str, int] | list[Question]:
        """Return the replicas that each owner of the pods wants, or what must be asked before. Raises _NotKnown."""
        scales: dict[str, int] = {}
        questions: list[Question] = []
        for pod in found:
            reference = controller_of(pod)
            if reference is None or reference["uid"] in scales:
                continue
            group = reference["apiVersion"].rpartition("/")[0]
            if (group, reference["kind"]) in _OWNERS:
                uid, replicas = _replicas(reference, pod, group, view)
                scales[uid] = replicas
                continue
            question = self._scale_question(reference, pod)
            answer = view.answers.get(question)
            if answer is None:
                questions.append(question)
            elif isinstance(answer, dict) and answer["metadata"]["uid"] == reference["uid"]:
                scales[reference["uid"]] = int((answer.get("spec") or {}).get("replicas", 1))
            elif isinstance(answer, ApiError):
                raise _NotKnown(f'found no controllers for pod "{pod["metadata"]["name"]}"')
        return questions or scales

    def _scale_question(self, reference: Object, pod: Object) -> Question:
        group, _, version = reference["apiVersion"].rpartition("/")
        kind = self._registry.by_kind(group, version, reference["kind"])
        if kind is None:
            raise _NotKnown(f'no matches for kind "{reference["kind"]}" in version "{reference["apiVersion"]}"')
        resource = kind.resource
        if "scale" not in kind.subresources:
            name = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
            raise _NotKnown(f"{name} does not implement the scale subresource")
        return Question(resource, pod["metadata"]["namespace"], reference["name"])


def _replicas(reference: Object, pod: Object, group: str, view: View) -> tuple[str, int]:
    """Return (uid, replicas) of a pod's owner, or of the Deployment above it. Raises _NotKnown."""
    owner = _same(view.get(_OWNERS[group, reference["kind"]], reference["name"], pod["metadata"]["namespace"]), reference)
    above = controller_of(owner) if owner is not None and reference["kind"] == "ReplicaSet" else None
    if above is not None and above["kind"] == "Deployment":
        owner = _same(view.get(DEPLOYMENTS, above["name"], pod["metadata"]["namespace"]), above)
    if owner is None:
        raise _NotKnown(f'found no controllers for pod "{pod["metadata"]["name"]}"')
    return owner["metadata"]["uid"], owner["spec"].get("replicas", 1)


def _same(found: Object | None, reference: Object) -> Object | None:
    return found if found is not None and found["metadata"]["uid"] == reference["uid"] else None


def _counts_owners(budget: Object) -> bool:
    """Whether the budget is about a share of all pods that there should be, not about a number."""
    spec = budget["spec"]
    return spec.get("maxUnavailable") is not None or isinstance(spec.get("minAvailable"), str)


def _expectation(budget: Object, there: int, wanted: int) -> tuple[int, int]:
    """Return (pods that there should be, those that must be healthy)."""
    spec = budget["spec"]
    if spec.get("maxUnavailable") is not None:
        return wanted, max(wanted - _scaled(spec["maxUnavailable"], wanted), 0)
    least = spec.get("minAvailable")
    if least is None:
        return 0, 0
    return (there, least) if isinstance(least, int) else (wanted, _scaled(least, wanted))


def _scaled(value: int | str, total: int) -> int:
    if isinstance(value, int):
        return value
    if not value.endswith("%") or not value[:-1].isdigit():
        raise ValueError(f'invalid value for IntOrString: invalid type: string is not a percentage: "{value}"')
    return math.ceil(int(value[:-1]) * total / 100)


def _is_healthy(pod: Object, disrupted: Mapping[str, str]) -> bool:
    return not pods.is_terminating(pod) and pod["metadata"]["name"] not in disrupted and pods.is_ready(pod)


def _disrupted(budget: Object, found: Sequence[Object], now: datetime) -> tuple[dict[str, str], float | None]:
    """Return the pods whose eviction is under way, and the seconds until one is not believed any more."""
    noted = (budget.get("status") or {}).get("disruptedPods") or {}
    names = {p["metadata"]["name"] for p in found if not pods.is_terminating(p)}
    left = {name: DELETION_SECONDS - moments.since(noted[name], now) for name in names if name in noted}
    going = {name: noted[name] for name in sorted(left) if left[name] > 0}
    return going, min((left[name] for name in going), default=None)


def _status(budget: Object, healthy: int, desired: int, expected: int, disrupted: Mapping[str, str], now: datetime) -> Object:
    old = budget.get("status") or {}
    allowed = max(healthy - desired, 0) if expected > 0 else 0
    status: Object = {
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "expectedPods": expected,
        "disruptionsAllowed": allowed,
        "observedGeneration": budget["metadata"].get("generation", 0),
    }
    if disrupted:
        status["disruptedPods"] = dict(disrupted)
    word, reason = ("True", "SufficientPods") if allowed else ("False", "InsufficientPods")
    status["conditions"] = _conditions(old, word, reason, "", status["observedGeneration"], now)
    return status


def _failed(budget: Object, why: str, now: datetime) -> Object:
    old = budget.get("status") or {}
    told = _conditions(old, "False", "SyncFailed", why, old.get("observedGeneration", 0), now)
    return {**old, "disruptionsAllowed": 0, "conditions": told}


def _conditions(old: Object, word: str, reason: str, message: str, generation: int, now: datetime) -> list[Object]:
    given = list(old.get("conditions") or ())
    before = conditions.pick(given, ALLOWED)
    moment = before["lastTransitionTime"] if before is not None and before["status"] == word else moments.stamp(now)
    new = {"type": ALLOWED, "status": word, "reason": reason, "message": message, "lastTransitionTime": moment}
    if generation:
        new["observedGeneration"] = generation
    return [*conditions.without(given, ALLOWED), new]


def _budgets_of_pod(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    """A pod touches the budgets that select it, or did."""
    for pod in (old, new):
        if pod is not None:
            yield from _selecting(view, pod["metadata"].get("namespace", ""), pod["metadata"].get("labels") or {})


def _budgets_of_owner(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    """An owner touches budgets by the number of pods that it wants."""
    if old is not None and new is not None and old["spec"].get("replicas") == new["spec"].get("replicas"):
        return
    owner = new if new is not None else old
    assert owner is not None
    labels = ((owner["spec"].get("template") or {}).get("metadata") or {}).get("labels") or {}
    yield from _selecting(view, owner["metadata"].get("namespace", ""), labels)


def _selecting(view: View, namespace: str, labels: Mapping[str, str]) -> Iterable[WorkKey]:
    for budget in view.within(POD_DISRUPTION_BUDGETS, namespace):
        try:
            selects = from_label_selector(budget["spec"].get("selector")).matches(labels)
        except ValueError:
            continue
        if selects:
            yield key_of(budget)


class StaleDisruptions:
    """Takes back from pods that they are about to be disrupted, when they were not."""

    name = "stale-disruptions"

    def watches(self) -> Sequence[Watch]:
        """Reads pods."""
        return (Watch(PODS, _condemned),)

    def reconcile(self, key: WorkKey, view: View, now: datetime) -> Result:
        """Look at one pod."""
        pod = view.get(PODS, key[1], key[0])
        condition = _condemnation(pod) if pod is not None else None
        if pod is None or condition is None:
            return Result()
        left = STALE_SECONDS - moments.since(condition.get("lastTransitionTime"), now)
        if left > 0:
            return Result(requeue_after=left)
        taken_back = {"type": "DisruptionTarget", "status": "False", "lastTransitionTime": moments.stamp(now)}
        others = conditions.without(pod["status"]["conditions"], "DisruptionTarget")
        return Result(writes.status(PODS, pod, {**pod["status"], "conditions": [*others, taken_back]}))


def _condemnation(pod: Object) -> Object | None:
    if pods.is_terminating(pod) or pods.is_finished(pod):
        return None
    condition = conditions.find(pod, "DisruptionTarget")
    if condition is None or condition.get("status") != "True" or condition.get("reason") == "TerminationByKubelet":
        return None
    return condition


def _condemned(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    if new is not None and _condemnation(new) is not None:
        yield key_of(new)
