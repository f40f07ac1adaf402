"""Job: pods run until enough of them have succeeded or too many failed.

Each finished pod is counted exactly once, whatever crashes when (`job_count`). Backoff after failures is computed from the failed
pods themselves, so that a restart forgets nothing. Source of behaviour: upstream pkg/controller/job and ttlafterfinished.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from moorings_core.client.resources import JOBS, PODS
from moorings_core.ports.client import Create, Delete
from moorings_core.ports.errors import NotFound
from moorings_core.ports.objects import Object

from . import conditions, moments, pods, writes
from .framework import Intent, Note, Question, Result, View, Watch, WorkKey
from .job_count import INDEX, TRACKING, Count, is_tracked, job_name_of
from .ownership import Dependents, by_controller, itself

BACKOFF_FIRST, BACKOFF_MOST = 10.0, 360.0
BURST = 500
INDEX_VARIABLE = "JOB_COMPLETION_INDEX"


class JobController:
    """Makes and counts the pods of Jobs, finishes them, deletes them when their time to live is over."""

    name = "job-controller"

    def __init__(self) -> None:
        self._pods = Dependents(JOBS, PODS)

    def watches(self) -> Sequence[Watch]:
        """Reads jobs and pods."""
        return (Watch(JOBS, itself), Watch(PODS, self._touched, {"controller": by_controller, "job": _by_job}))

    def _touched(self, view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
        yield from self._pods.owners_of(view, old, new)
        for obj in (old, new):
            if obj is not None and is_tracked(obj) and (name := job_name_of(obj)):
                yield (obj["metadata"]["namespace"], name)

    def reconcile(self, key: WorkKey, view: View, now: datetime) -> Result:
        """Do the next step of a Job."""
        job = view.get(JOBS, key[1], key[0])
        strays = self._strays(key, job, view)
        if strays.questions or job is None:
            return strays
        if job["spec"].get("managedBy") not in (None, "", "kubernetes.io/job-controller"):
            return strays
        if finished := finish_of(job):
            return _expire(job, finished, now, strays.intents)
        claim = self._pods.claim(job, view)
        if claim.questions:
            return Result(questions=claim.questions)
        step = _Step(job, Count(job, claim.owned), view, now)
        result = step.result()
        return Result([*strays.intents, *claim.intents, *result.intents], result.notes, requeue_after=result.requeue_after)

    @staticmethod
    def _strays(key: WorkKey, job: Object | None, view: View) -> Result:
        """Let go of the pods of a Job that is gone: nobody will count them any more."""
        uid = job["metadata"]["uid"] if job else ""
        done = job is not None and finish_of(job) is not None
        tracked = [pod for pod in view.by_index(PODS, "job", "/".join(key)) if is_tracked(pod)]
        owners = [(pod, _owner_uid(pod)) for pod in tracked]
        lost = [pod for pod, owner in owners if owner != uid or done]
        if not lost:
            return Result()
        question = Question(JOBS, key[0], key[1])
        answer = view.answers.get(question)
        if answer is None:
            return Result(questions=[question])
        if isinstance(answer, Exception) and not isinstance(answer, NotFound):
            raise answer
        live = answer["metadata"]["uid"] if isinstance(answer, dict) and not finish_of(answer) else ""
        return Result([writes.without_finalizer(PODS, pod, TRACKING) for pod in lost if _owner_uid(pod) != live or not live])


class _Step:
    """One look at an unfinished Job."""

    def __init__(self, job: Object, count: Count, view: View, now: datetime) -> None:
        self.job, self.spec, self.count, self.view, self.now = job, job["spec"], count, view, now
        self.status: Object = dict(job.get("status", {}))
        self.intents: list[Intent] = []
        self.notes: list[Note] = []
        self.again: list[float] = []

    def result(self) -> Result:
        self._start()
        target = self._target()
        if target is not None:
            self._stop(target)
        elif not self.job["metadata"].get("deletionTimestamp"):
            self._manage()
        self.intents.extend(self.count.release(self.job, target))
        self._write(target)
        return Result(self.intents, self.notes, requeue_after=min(self.again, default=None))

    @property
    def _suspended(self) -> bool:
        return bool(self.spec.get("suspend"))

    def _start(self) -> None:
        told = self.status.get("conditions") or []
        held = conditions.pick(told, "Suspended")
        if self._suspended and (held is None or held["status"] != "True"):
            self._note_suspension("True", "JobSuspended", "Suspended", "Job suspended")
            self.status.pop("startTime", None)
        elif not self._suspended and held is not None and held["status"] == "True":
            self._note_suspension("False", "JobResumed", "Resumed", "Job resumed")
            self.status["startTime"] = moments.stamp(self.now)
        elif not self._suspended and not self.status.get("startTime"):
            self.status["startTime"] = moments.stamp(self.now)

    def _note_suspension(self, status: str, reason: str, event: str, message: str) -> None:
        self._put(_condition("Suspended", reason, message, self.now, status))
        self.notes.append(Note(self.job, "Normal", event, message))

    def _target(self) -> Object | None:
        """Return the interim condition, noted or new, that says how the Job is going to end."""
        told = self.status.get("conditions") or ()
        for kind in ("SuccessCriteriaMet", "FailureTarget"):
            noted = conditions.pick(told, kind)
            if noted is not None and noted["status"] == "True":
                return noted
        limit = self.spec.get("backoffLimit", 6)
        if self.count.failed > limit or self._restarted_too_often(limit):
            said = "Job has reached the specified backoff limit"
            return _condition("FailureTarget", "BackoffLimitExceeded", said, self.now)
        deadline = self.spec.get("activeDeadlineSeconds")
        if deadline is not None and not self._suspended:
            left = deadline - moments.since(self.status.get("startTime"), self.now)
            if left <= 0:
                said = "Job was active longer than specified deadline"
                return _condition("FailureTarget", "DeadlineExceeded", said, self.now)
            self.again.append(left)
        if self._is_complete():
            said = "Reached expected number of succeeded pods"
            return _condition("SuccessCriteriaMet", "CompletionsReached", said, self.now)
        return None

    def _is_complete(self) -> bool:
        completions = self.spec.get("completions")
        if completions is None:
            return self.count.succeeded > 0 and not self.count.active
        return self.count.succeeded >= completions and not self.count.active

    def _restarted_too_often(self, limit: int) -> bool:
        if (self.spec["template"]["spec"].get("restartPolicy")) != "OnFailure":
            return False
        restarts = 0
        for pod in self.count.pods:
            if pods.phase(pod) in ("Running", "Pending"):
                status = pod.get("status", {})
                every = (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
                restarts += sum(each.get("restartCount", 0) for each in every)
        return restarts > 0 if limit == 0 else restarts >= limit

    def _stop(self, target: Object) -> None:
        self._put(target)
        self._delete(self.count.active)

    def _manage(self) -> None:
        active = self.count.active
        if self._suspended:
            self._delete(active)
            return
        surplus = self.count.surplus(self._wanted(len(active)), self.now)
        if surplus:
            self._delete(surplus[:BURST])
            return
        waiting = self.count.terminating if self.spec.get("podReplacementPolicy") == "Failed" else 0
        missing = self._wanted(len(active)) - waiting - len(active)
        if missing <= 0:
            return
        if (left := self._backoff()) > 0:
            self.again.append(left)
            return
        missing = min(missing, 1 if self.view.errors else BURST)
        if self.count.indexed:
            self.intents.extend(self._create(index) for index in self.count.pending_indexes(missing))
        else:
            self.intents.extend(self._create(None) for _ in range(missing))

    def _wanted(self, active: int) -> int:
        parallelism, completions = int(self.spec.get("parallelism", 1)), self.spec.get("completions")
        if completions is None:
            return active if self.count.succeeded else parallelism
        return max(min(int(completions) - self.count.succeeded, parallelism), 0)

    def _backoff(self) -> float:
        """Return the seconds until a pod may replace failed ones: 10 doubling to 360 by failures since the last success."""
        ends = sorted((finish_time(pod), pods.phase(pod)) for pod in self.count.pods if self.count.is_failed(pod) or pods.is_finished(pod))
        failures = 0
        while failures < len(ends) and ends[-1 - failures][1] != "Succeeded":
            failures += 1
        if not failures:
            return 0
        delay: float = min(BACKOFF_FIRST * 2 ** min(failures - 1, 10), BACKOFF_MOST)
        return delay - moments.since(ends[-1][0], self.now)

    def _create(self, index: int | None) -> Intent:
        metadata = self.job["metadata"]
        prefix = f"{metadata['name'][:52]}-" if index is None else f"{metadata['name'][:45]}-{index}-"
        pod = pods.from_template(self.spec["template"], self.job, prefix)
        pod["metadata"]["finalizers"] = [*pod["metadata"].get("finalizers", ()), TRACKING]
        if index is not None:
            _give_index(pod, index, metadata["name"])
        done = Note(self.job, "Normal", "SuccessfulCreate", "Created pod: {name}")
        return Intent(Create(PODS, pod), done, Note(self.job, "Warning", "FailedCreate", "Error creating: {error}"))

    def _delete(self, doomed: Sequence[Object]) -> None:
        for pod in doomed:
            done = Note(self.job, "Normal", "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}")
            self.intents.append(writes.delete(PODS, pod, done=done))

    def _put(self, condition: Object) -> None:
        self.status["conditions"] = conditions.put(self.status.get("conditions") or (), condition)

    def _write(self, target: Object | None) -> None:
        deleted = sum(1 for intent in self.intents if isinstance(intent.write, Delete))
        self.count.write(self.status, target)
        counts = {"active": len(self.count.active), "ready": self.count.ready, "terminating": self.count.terminating}
        for name, number in counts.items():
            if number or name != "active":
                self.status[name] = number
            else:
                self.status.pop(name, None)
        noted = target is not None and conditions.find(self.job, target["type"]) is not None
        if target is not None and noted and not deleted and self.count.is_settled(self.job):
            self._finish(target)
        self.intents.extend(writes.status(JOBS, self.job, self.status))

    def _finish(self, target: Object) -> None:
        """Say that it is over: only when no pod is left going and each has been counted."""
        complete = target["type"] == "SuccessCriteriaMet"
        self._put(_condition("Complete" if complete else "Failed", target["reason"], target["message"], self.now))
        if complete:
            self.status["completionTime"] = moments.stamp(self.now)
            self.notes.append(Note(self.job, "Normal", "Completed", "Job completed"))
        else:
            self.notes.append(Note(self.job, "Warning", target["reason"], target["message"]))


def finish_of(job: Object) -> Object | None:
    """Return the condition that says the Job is over, or None."""
    for kind in ("Complete", "Failed"):
        condition = conditions.find(job, kind)
        if condition is not None and condition["status"] == "True":
            return condition
    return None


def finish_time(pod: Object) -> str:
    """Return when a pod ended, as far as it is told: by its containers, its readiness, its deletion; else its creation."""
    ends = [
        ((status.get("state") or {}).get("terminated") or {}).get("finishedAt") or ""
        for status in pod.get("status", {}).get("containerStatuses") or ()
    ]
    if ends and all(ends):
        return str(max(ends))
    ready = conditions.find(pod, "Ready") or {}
    if ready.get("status") == "False" and ready.get("lastTransitionTime"):
        return str(ready["lastTransitionTime"])
    return str(pod["metadata"].get("deletionTimestamp") or pod["metadata"].get("creationTimestamp") or "")


def _expire(job: Object, finished: Object, now: datetime, intents: Sequence[Intent]) -> Result:
    ttl = job["spec"].get("ttlSecondsAfterFinished")
    metadata = job["metadata"]
    if ttl is None or metadata.get("deletionTimestamp"):
        return Result(intents)
    left = ttl - moments.since(finished.get("lastTransitionTime"), now)
    if left > 0:
        return Result(intents, requeue_after=left)
    write = Delete(JOBS, metadata["namespace"], metadata["name"], uid=metadata["uid"], propagation="Foreground")
    return Result([*intents, Intent(write, settled_by=(NotFound,))])


def _give_index(pod: Object, index: int, job: str) -> None:
    """Tell a pod of an Indexed Job its index by annotation, label, hostname and environment."""
    metadata = pod["metadata"]
    metadata["labels"] = {**metadata["labels"], INDEX: str(index)}
    metadata["annotations"] = {**metadata.get("annotations", {}), INDEX: str(index)}
    source = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX}']"}}
    spec = {**pod["spec"]}
    spec.setdefault("hostname", f"{job}-{index}")
    for field in ("containers", "initContainers"):
        if spec.get(field):
            spec[field] = [_with_variable(container, source) for container in spec[field]]
    pod["spec"] = spec


def _with_variable(container: Object, source: Object) -> Object:
    env = container.get("env") or []
    if any(variable.get("name") == INDEX_VARIABLE for variable in env):
        return container
    return {**container, "env": [*env, {"name": INDEX_VARIABLE, "valueFrom": source}]}


def _condition(kind: str, reason: str, message: str, now: datetime, status: str = "True") -> Object:
    when = moments.stamp(now)
    times = {"lastProbeTime": when, "lastTransitionTime": when}
    return {"type": kind, "status": status, **times, "reason": reason, "message": message}


def _by_job(pod: Object) -> Iterable[str]:
    name = job_name_of(pod)
    return (f"{pod['metadata'].get('namespace', '')}/{name}",) if name else ()


def _owner_uid(pod: Object) -> str:
    return next((str(r["uid"]) for r in pod["metadata"].get("ownerReferences") or () if r.get("controller")), "")
