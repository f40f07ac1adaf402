"""Counts the finished pods of a Job, each exactly once, over crashes at any point.

Every pod carries a finalizer, so that it cannot vanish uncounted. The steps, each safe to repeat: (1) the uid of a finished pod
goes into status.uncountedTerminatedPods (an Indexed success into completedIndexes); (2) once that is stored, its finalizer is
taken off; (3) once that is stored, the uid leaves the list and the counter goes up in the same write. Source: KEP-2307.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from moorings_core.client.resources import PODS
from moorings_core.ports.objects import Object

from . import pods, writes
from .framework import Intent

TRACKING = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
JOB_NAME = "batch.kubernetes.io/job-name"
UNCOUNTED_MOST = 500


class Count:
    """A Job's pods, sorted by what they mean for it. A look at one moment; `write` and `release` say what follows."""

    def __init__(self, job: Object, owned: Sequence[Object]) -> None:
        spec, status = job["spec"], job.get("status", {})
        self.pods = sorted(owned, key=lambda pod: pod["metadata"]["name"])
        self.indexed = spec.get("completionMode") == "Indexed"
        self._completions = spec.get("completions")
        self._replace_failed_only = spec.get("podReplacementPolicy") == "Failed"
        uncounted = status.get("uncountedTerminatedPods") or {}
        self._noted = {"succeeded": list(uncounted.get("succeeded") or ()), "failed": list(uncounted.get("failed") or ())}
        self._counted = {"succeeded": int(status.get("succeeded", 0)), "failed": int(status.get("failed", 0))}
        self._tracked = {pod["metadata"]["uid"] for pod in self.pods if is_tracked(pod)}
        self._stored_indexes = parse_indexes(status.get("completedIndexes", ""))
        self.indexes = self._stored_indexes | self._new_indexes()
        self.active = [pod for pod in self.pods if pods.is_active(pod)]
        self.ready = sum(1 for pod in self.active if pods.is_ready(pod))
        self.terminating = sum(1 for pod in self.pods if pods.is_terminating(pod) and not pods.is_finished(pod))

    @property
    def succeeded(self) -> int:
        """Successes, counted and seen."""
        if self.indexed:
            return len(self.indexes)
        return self._counted["succeeded"] + len(self._noted["succeeded"]) + len(self._fresh(self._is_succeeded))

    @property
    def failed(self) -> int:
        """Failures, counted and seen."""
        return self._counted["failed"] + len(self._noted["failed"]) + len(self._fresh(self.is_failed))

    def is_failed(self, pod: Object) -> bool:
        """Whether a pod will not succeed: Failed, or on its way out (unless only Failed ones are to be replaced)."""
        if pods.phase(pod) == "Failed":
            return self._has_valid_index(pod)
        out = pods.is_terminating(pod) and pods.phase(pod) != "Succeeded" and not self._replace_failed_only
        return out and self._has_valid_index(pod)

    def pending_indexes(self, most: int) -> Sequence[int]:
        """Return the first indexes that have neither succeeded nor an active pod."""
        taken = {index_of(pod) for pod in self.active} | self.indexes
        if self._replace_failed_only:
            taken |= {index_of(pod) for pod in self.pods if pods.is_terminating(pod)}
        return [index for index in range(self._completions or 0) if index not in taken][:most]

    def surplus(self, wanted: int, now: datetime) -> Sequence[Object]:
        """Return the active pods to delete: of doubled, invalid or done indexes first, then by rank, until `wanted` are left."""
        doomed: list[Object] = []
        if self.indexed:
            seen: set[int | None] = set(self.indexes)
            for pod in self.active:
                index = index_of(pod)
                if index in seen or not self._has_valid_index(pod):
                    doomed.append(pod)
                seen.add(index)
        left = [pod for pod in self.active if pod not in doomed]
        return [*doomed, *pods.to_delete(left, left, max(len(left) - wanted, 0), now)]

    def write(self, status: Object, target: Object | None) -> None:
        """Put step (1) and (3) into a new status."""
        fresh = {"succeeded": self._fresh(self._is_succeeded), "failed": self._fresh(self._fails(target))}
        if self.indexed:
            status["completedIndexes"] = format_indexes(self.indexes)
            fresh["succeeded"] = []
        uncounted: Object = {}
        for kind, noted in self._noted.items():
            kept = [uid for uid in noted if uid in self._tracked]
            counted = self._counted[kind] + len(noted) - len(kept)
            if self.indexed and kind == "succeeded":
                counted = len(self.indexes)
            if counted or kind in status:
                status[kind] = counted
            kept += fresh[kind][:UNCOUNTED_MOST]
            if kept:
                uncounted[kind] = kept
        status["uncountedTerminatedPods"] = uncounted

    def release(self, job: Object, target: Object | None) -> list[Intent]:
        """Return step (2): take the finalizer off pods whose end is stored, and off those that need not be counted."""
        noted = {uid for uids in self._noted.values() for uid in uids}
        free = [p for p in self.pods if is_tracked(p) and (p["metadata"]["uid"] in noted or self._is_free(p, job, target))]
        return [writes.without_finalizer(PODS, pod, TRACKING) for pod in free]

    def is_settled(self, job: Object) -> bool:
        """Whether no pod is going and all are counted, in what is stored."""
        return not (self.active or self.terminating or self._tracked or any(self._noted.values()))

    def _is_free(self, pod: Object, job: Object, target: Object | None) -> bool:
        if self.indexed and self._is_succeeded(pod):
            return index_of(pod) in self._stored_indexes or not self._has_valid_index(pod)
        if pods.is_finished(pod) and not self._has_valid_index(pod):
            return True
        if target is not None and target["type"] == "SuccessCriteriaMet":
            return pods.is_terminating(pod) and not self.is_failed(pod)
        return bool(job["metadata"].get("deletionTimestamp")) and not pods.is_finished(pod) and not self.is_failed(pod)

    def _fails(self, target: Object | None) -> Callable[[Object], bool]:
        """When the Job fails, whatever it stops has failed too."""
        if target is not None and target["type"] == "FailureTarget":
            return lambda pod: self.is_failed(pod) or (pods.is_terminating(pod) and not self._is_succeeded(pod))
        return self.is_failed

    def _fresh(self, test: Callable[[Object], bool]) -> list[str]:
        """The uids of tracked pods that end so and are not noted yet."""
        noted = {*self._noted["succeeded"], *self._noted["failed"]}
        uids = ((pod, pod["metadata"]["uid"]) for pod in self.pods if is_tracked(pod))
        return [uid for pod, uid in uids if uid not in noted and test(pod)]

    def _new_indexes(self) -> set[int]:
        if not self.indexed:
            return set()
        failed = set(self._noted["failed"])
        done = (p for p in self.pods if is_tracked(p) and self._is_succeeded(p) and p["metadata"]["uid"] not in failed)
        return {index for pod in done if (index := index_of(pod)) is not None and self._has_valid_index(pod)}

    def _has_valid_index(self, pod: Object) -> bool:
        if not self.indexed:
            return True
        index = index_of(pod)
        return index is not None and 0 <= index < (self._completions or 0)

    @staticmethod
    def _is_succeeded(pod: Object) -> bool:
        return pods.phase(pod) == "Succeeded"


def is_tracked(pod: Object) -> bool:
    """Whether the pod waits to be counted."""
    return TRACKING in (pod["metadata"].get("finalizers") or ())


def index_of(pod: Object) -> int | None:
    """Return the completion index that a pod stands for, or None."""
    try:
        return int((pod["metadata"].get("annotations") or {})[INDEX])
    except (KeyError, ValueError):
        return None


def job_name_of(pod: Object) -> str:
    """Return the name of the Job that a pod is or was of, or ""."""
    for reference in pod["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return str(reference["name"]) if reference.get("kind") == "Job" else ""
    return str((pod["metadata"].get("labels") or {}).get(JOB_NAME, ""))


def parse_indexes(text: str) -> set[int]:
    """Return the numbers of "1,3-5,7"."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def format_indexes(indexes: Iterable[int]) -> str:
    """Return numbers as "1,3-5,7"; two in a row are written "3,4"."""
    runs: list[list[int]] = []
    for index in sorted(indexes):
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ",".join(f"{r[0]}-{r[-1]}" if len(r) > 2 else ",".join(map(str, r)) for r in runs)
