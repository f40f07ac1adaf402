"""pods/eviction: a deletion that a PodDisruptionBudget may refuse for now. Source: upstream's pod storage, EvictionREST."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import replace

from moorings_core.client.resources import PODS
from moorings_core.ports.errors import ApiError, Conflict, Forbidden, ServerTimeout, TooManyRequests
from moorings_core.ports.objects import Key, Object, Resource
from moorings_core.ports.store import PutRecord
from moorings_core.registry.kinds import Kind
from moorings_core.registry.selectors import from_label_selector

from . import problems
from .cache import Cache, Stored, copied, encode
from .context import SYSTEM, Context, WriteOptions
from .writes import Pending, Writer

TRIES = 20
MOST_DISRUPTED = 2000
CAUSE = "DisruptionBudget"
MESSAGE = "Cannot evict pod as it would violate the pod's disruption budget."
BUDGET_RETRY_SECONDS = 10
ALLOWED = "DisruptionAllowed"


class Evictions:
    """Evicts pods."""

    def __init__(self, cache: Cache, writer: Writer) -> None:
        self._cache, self._writer = cache, writer

    async def evict(self, pods: Kind, budgets: Kind, key: Key, context: Context) -> None:
        """Delete a pod if its budget allows that. Raises TooManyRequests while it does not, NotFound, Conflict, Forbidden."""
        asked = context.options.version
        for _ in range(TRIES):
            pod = self._pod(key)
            if not _needs_no_budget(pod):
                break
            # one that is only about to run may become ready, and then count, before it is gone
            exact = not asked and (pod.get("status") or {}).get("phase") == "Pending" and "deletionTimestamp" not in pod["metadata"]
            try:
                return await self._delete(pods, key, context, pod if exact else None)
            except Conflict:
                if not exact:
                    raise
        budget, exact = self._budget(pod), False
        if budget is not None and not _is_ready(pod):
            exact = _lets_unready_go(budget)
        if budget is not None and not exact:
            await self._decrement(budgets, budget, key.name, context)
        try:
            await self._delete(pods, key, context, pod if exact else None)
        except Conflict:
            if exact and not asked:
                raise _too_many(budget["metadata"]["name"] if budget else "") from None
            raise

    def _pod(self, key: Key) -> Object:
        found = self._cache.collection("", "pods").get(key)
        if found is None:
            raise problems.not_found(PODS, key.name)
        return found.object

    def _budget(self, pod: Object) -> Object | None:
        """Return the budget that a pod counts for, or None. Raises ApiError where there are several."""
        found = list(self._budgets(pod))
        if len(found) > 1:
            raise ApiError("This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.", reason="")
        return found[0].object if found else None

    def _budgets(self, pod: Object) -> list[Stored]:
        labels = pod["metadata"].get("labels") or {}
        stored = self._cache.collection("policy", "poddisruptionbudgets").select(pod["metadata"]["namespace"])
        return [s for s in stored if _selects(s.object, labels)]

    async def _decrement(self, budgets: Kind, budget: Object, pod: str, context: Context) -> None:
        """Take one disruption from a budget and note for its controller which pod it is for."""
        metadata = budget["metadata"]

        def change(stored: Object) -> Object:
            status = _decremented(stored, pod)
            return {**copied(stored), "status": status}

        own = Context(SYSTEM, WriteOptions(dry_run=context.options.dry_run))
        try:
            await self._writer.mutate(budgets, Key(metadata["namespace"], metadata["name"]), change, own, "status")
        except Conflict as error:
            text = f'couldn\'t update PodDisruptionBudget "{metadata["name"]}" due to conflicts'
            raise ServerTimeout(text, details={"retryAfterSeconds": BUDGET_RETRY_SECONDS}) from error

    async def _delete(self, kind: Kind, key: Key, context: Context, exactly: Object | None) -> None:
        """Delete a pod, or exactly this state of it."""
        if exactly is not None:
            version = exactly["metadata"]["resourceVersion"]
            context = replace(context, options=replace(context.options, version=version))

        async def attempt() -> Object:
            return await self._writer.commit(_marked(await self._writer.plan_delete(kind, key, context, admitted=True)), context)

        await self._writer.retrying(attempt, once=bool(context.options.version))


def with_condition(pod: Object, condition: Object) -> Object:
    """Return a pod's status with a condition that is new."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    status = pod.get("status") or {}
    others = [c for c in status.get("conditions", ()) if c["type"] != condition["type"]]
    return {**status, "conditions": [*others, {"lastProbeTime": None, **condition, "lastTransitionTime": now}]}


def _marked(pending: Pending) -> Pending:
    """Return a deletion with its reason on the pod, for whoever counts disruptions."""
    if not isinstance(pending.operation, PutRecord):
        return pending
    pod, reason = pending.result, {"reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting"}
    marked = {**pod, "status": with_condition(pod, {"type": "DisruptionTarget", "status": "True", **reason})}
    return replace(pending, result=marked, operation=replace(pending.operation, value=encode(marked)))


def _needs_no_budget(pod: Object) -> bool:
    """Whether a pod serves nobody: it has ended, has not begun, or is going already."""
    phase = (pod.get("status") or {}).get("phase")
    return phase in ("Succeeded", "Failed", "Pending") or "deletionTimestamp" in pod["metadata"]


def _is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _lets_unready_go(budget: Object) -> bool:
    """Whether a pod that is not ready may go whatever the budget: always, or while enough others are."""
    status = budget.get("status") or {}
    if budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    healthy, desired = int(status.get("currentHealthy", 0)), int(status.get("desiredHealthy", 0))
    return healthy >= desired > 0


def _selects(budget: Object, labels: Mapping[str, str]) -> bool:
    try:
        return from_label_selector(budget["spec"].get("selector")).matches(labels)
    except ValueError:
        return False  # a selector that says nothing selects nothing


def _decremented(budget: Object, pod: str) -> Object:
    """Return the status of a budget that one more pod may go of. Raises TooManyRequests, Forbidden."""
    status, name = dict(budget.get("status") or {}), budget["metadata"]["name"]
    allowed = status.get("disruptionsAllowed", 0)
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        raise _too_many(name)
    if allowed < 0:
        raise _forbidden(name, "pdb disruptions allowed is negative", "pdb disruptions allowed is negative")
    if len(status.get("disruptedPods") or {}) > MOST_DISRUPTED:
        text = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise _forbidden(name, text, "too many pending evictions not confirmed by PDB controller")
    if allowed == 0:
        raise TooManyRequests(MESSAGE, details={"causes": [{"reason": CAUSE, "message": _why(name, status)}]})
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    status["disruptionsAllowed"] = allowed - 1
    status["disruptedPods"] = {**(status.get("disruptedPods") or {}), pod: now}
    if allowed == 1:
        status["conditions"] = allowed_conditions(status, now)
    return status


def allowed_conditions(status: Object, now: str) -> list[Object]:
    """Return the conditions of a budget's status with the one that says whether a disruption is allowed."""
    allowed = status.get("disruptionsAllowed", 0) > 0
    word, reason = ("True", "SufficientPods") if allowed else ("False", "InsufficientPods")
    given = list(status.get("conditions") or ())
    old = next((c for c in given if c["type"] == ALLOWED), None)
    moment = old["lastTransitionTime"] if old is not None and old["status"] == word else now
    new = {"type": ALLOWED, "status": word, "reason": reason, "message": "", "lastTransitionTime": moment}
    if status.get("observedGeneration"):
        new["observedGeneration"] = status["observedGeneration"]
    return [new if c["type"] == ALLOWED else c for c in given] if old is not None else [*given, new]


def _why(name: str, status: Object) -> str:
    budget = f"The disruption budget {name}"
    conditions = status.get("conditions") or ()
    told = next((c for c in conditions if c["type"] == ALLOWED and c["status"] == "False" and c.get("message")), None)
    if told is not None and told["reason"] == "SyncFailed":
        return f"{budget} does not allow evicting pods currently because it failed sync: {told['message']}"
    wanted, there = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
    if there <= wanted:
        return f"{budget} needs {wanted} healthy pods and has {there} currently"
    if told is not None:
        return f"{budget} does not allow evicting pods currently ({told['reason']}): {told['message']}"
    return f"{budget} does not allow evicting pods currently"


def _too_many(name: str) -> TooManyRequests:
    cause = {"reason": CAUSE, "message": f"The disruption budget {name} is still being processed by the server."}
    return TooManyRequests(MESSAGE, details={"causes": [cause], "retryAfterSeconds": BUDGET_RETRY_SECONDS})


def _forbidden(name: str, why: str, cause: str) -> Forbidden:
    budget = Resource("policy", "v1", "poddisruptionbudget", "PodDisruptionBudget", True)
    error = problems.forbidden(budget, name, why)
    message = f"The disruption budget {name} does not allow evicting pods currently: {cause}"
    error.details = {**error.details, "causes": [{"reason": CAUSE, "message": message}]}
    return error
