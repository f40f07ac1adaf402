"""Namespace deletion: everything in it is deleted, pods first, then its finalizer is taken off.

Pods go first so that nothing they run against (Secrets, policies) is gone before them (KEP-5080). The caches say what to delete;
that nothing is left is asked of the API, as a cache may not know of the newest object.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from moorings_core.client.resources import EVENTS, NAMESPACES, PODS
from moorings_core.ports.client import ObjectList, Update
from moorings_core.ports.errors import MethodNotAllowed, NotFound
from moorings_core.ports.objects import Object, Resource

from . import conditions, moments, writes
from .framework import Intent, Question, Result, View, Watch, WorkKey
from .ownership import itself

FINALIZER = "kubernetes"
RECHECK = 5.0
BURST = 500
FINE = {
    "NamespaceDeletionDiscoveryFailure": ("ResourcesDiscovered", "All resources successfully discovered"),
    "NamespaceDeletionGroupVersionParsingFailure": ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
    "NamespaceDeletionContentFailure": ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
    "NamespaceContentRemaining": ("ContentRemoved", "All content successfully removed"),
    "NamespaceFinalizersRemaining": ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
}
Content = Mapping[Resource, Sequence[Object]]


class NamespaceController:
    """Empties terminating namespaces. `resources`: the namespaced ones that can be listed and deleted."""

    name = "namespace-controller"

    def __init__(self, resources: Sequence[Resource]) -> None:
        self._resources = [resource for resource in resources if resource.namespaced]
        self._watched = [resource for resource in self._resources if resource != EVENTS]  # many, and of no interest until the end

    def watches(self) -> Sequence[Watch]:
        """Reads everything that lives in namespaces."""
        return (Watch(NAMESPACES, itself), *(Watch(resource, _home) for resource in self._watched))

    def adopt(self, resource: Resource) -> Watch | None:
        """Take in a kind that came after the start."""
        if not resource.namespaced:
            return None
        self._resources = [*(r for r in self._resources if (r.group, r.plural) != (resource.group, resource.plural)), resource]
        self._watched = [r for r in self._resources if r != EVENTS]
        return Watch(resource, _home)

    def reconcile(self, key: WorkKey, view: View, now: datetime) -> Result:
        """Delete what is left; when nothing is, let the namespace go."""
        namespace = view.get(NAMESPACES, key[1])
        if namespace is None or not namespace["metadata"].get("deletionTimestamp"):
            return Result()
        if FINALIZER not in (namespace["spec"].get("finalizers") or ()):
            return Result()
        left: Content = {resource: view.within(resource, key[1]) for resource in self._watched}
        if not any(left.values()):
            questions = [Question(resource, key[1]) for resource in self._resources]
            if not view.answers:
                return Result(questions=questions)
            left = self._listed(view, questions)
        left = {resource: objects for resource, objects in left.items() if objects}
        if not left:
            spec = {**namespace["spec"], "finalizers": [f for f in namespace["spec"]["finalizers"] if f != FINALIZER]}
            return Result([Intent(Update(NAMESPACES, {**namespace, "spec": spec}, subresource="finalize"), settled_by=(NotFound,))])
        now_deleting = {PODS: left[PODS]} if PODS in left else left
        doomed = [(r, o) for r, objects in now_deleting.items() for o in objects if not o["metadata"].get("deletionTimestamp")]
        status = _status(namespace, left, [str(error) for error in view.errors], now)
        intents = [writes.delete(resource, obj) for resource, obj in doomed[:BURST]]
        return Result([*intents, *writes.status(NAMESPACES, namespace, status)], requeue_after=RECHECK)

    @staticmethod
    def _listed(view: View, questions: Sequence[Question]) -> Content:
        """Return what the API has; a kind that it does not serve any more has nothing. Raises what else it answers."""
        left: dict[Resource, Sequence[Object]] = {}
        for question in questions:
            answer = view.answers[question]
            if isinstance(answer, ObjectList):
                left[question.resource] = answer.items
            elif isinstance(answer, Exception) and not isinstance(answer, NotFound | MethodNotAllowed):
                raise answer
        return left


def _status(namespace: Object, left: Content, errors: Sequence[str], now: datetime) -> Object:
    """Tell what remains and which finalizers hold it: what to look at when a namespace is stuck."""
    bad: dict[str, tuple[str, str]] = {}
    remaining = sorted(f"{r.plural}.{r.group} has {len(objects)} resource instances" for r, objects in left.items())
    bad["NamespaceContentRemaining"] = ("SomeResourcesRemain", f"Some resources are remaining: {', '.join(remaining)}")
    held = Counter(f for objects in left.values() for o in objects for f in o["metadata"].get("finalizers") or ())
    if held:
        by = ", ".join(sorted(f"{finalizer} in {number} resource instances" for finalizer, number in held.items()))
        said = f"Some content in the namespace has finalizers remaining: {by}"
        bad["NamespaceFinalizersRemaining"] = ("SomeFinalizersRemain", said)
    if errors:
        said = f"Failed to delete all resource types, {len(errors)} remaining: {', '.join(sorted(set(errors)))}"
        bad["NamespaceDeletionContentFailure"] = ("ContentDeletionFailed", said)
    status = namespace.get("status", {})
    told: list[Object] = list(status.get("conditions") or ())
    for kind, fine in FINE.items():
        reason, message = bad.get(kind, fine)
        new: Object = {"type": kind, "status": "True" if kind in bad else "False", "reason": reason, "message": message}
        old = conditions.pick(told, kind) or {}
        same = old.get("status") == new["status"]
        new["lastTransitionTime"] = old["lastTransitionTime"] if same else moments.stamp(now)
        told = [new if c["type"] == kind else c for c in told] if old else [*told, new]
    return {**status, "phase": "Terminating", "conditions": told}


def _home(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    """A change matters only in a namespace that is being emptied."""
    obj = new if new is not None else old
    name = obj["metadata"].get("namespace", "") if obj is not None else ""
    namespace = view.get(NAMESPACES, name)
    if namespace is not None and namespace["metadata"].get("deletionTimestamp"):
        yield ("", name)
