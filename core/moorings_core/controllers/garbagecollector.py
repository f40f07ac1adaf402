"""Garbage collection by ownerReferences: an object whose owners are all gone is deleted; foreground deletion waits.

Owners are known by uid: one made again under the same name owns nothing of the old one's. That an owner is absent is always asked
of the API before anything is deleted. Source of behaviour: upstream pkg/controller/garbagecollector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from moorings_core.ports.client import Delete, Patch, Propagation
from moorings_core.ports.errors import Invalid, NotFound
from moorings_core.ports.objects import Object, Resource

from . import writes
from .framework import Intent, Note, Question, Result, View, Watch, WorkKey

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"


class GarbageCollector:
    """Collects over all `resources`: those that can be listed, watched and deleted."""

    name = "garbage-collector-controller"

    def __init__(self, resources: Sequence[Resource]) -> None:
        self._resources = {_word(resource): resource for resource in resources}
        self._by_kind = {(resource.api_version, resource.kind): resource for resource in resources}
        for resource in resources:  # an owner may be named by another version of its group
            self._by_kind.setdefault((resource.group, resource.kind), resource)

    def watches(self) -> Sequence[Watch]:
        """Reads everything."""
        return [self._watch(resource) for resource in self._resources.values()]

    def adopt(self, resource: Resource) -> Watch:
        """Take in a kind that came after the start."""
        self._resources[_word(resource)] = self._by_kind[resource.api_version, resource.kind] = resource
        self._by_kind.setdefault((resource.group, resource.kind), resource)
        return self._watch(resource)

    def _watch(self, resource: Resource) -> Watch:
        return Watch(resource, self._mapping(resource), {"owner": _owner_uids})

    def reconcile(self, key: WorkKey, view: View, now: datetime) -> Result:
        """Judge one object: key is (namespace, resource, name)."""
        namespace, word, name = key
        resource = self._resources[word]
        obj = view.get(resource, name, namespace)
        if obj is None:
            return Result()
        if obj["metadata"].get("deletionTimestamp"):
            return self._deleting(resource, obj, view)
        if not obj["metadata"].get("ownerReferences"):
            return Result()
        return self._judge(resource, obj, view)

    def _mapping(self, resource: Resource) -> Callable[[View, Object | None, Object | None], Iterable[WorkKey]]:
        def keys(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
            if new is not None and (old is None or _facts(old) != _facts(new)) and _matters(new):
                yield _key(resource, new)
            changed = old if new is None else new
            gone = new is None or (_is_foreground(new) and not (old is not None and _is_foreground(old)))
            if changed is not None and gone:
                yield from (_key(r, o) for r, o in self._dependents(changed, view))
            if (new is None and old is not None) or (
                old is not None and new is not None and old["metadata"].get("ownerReferences") != new["metadata"].get("ownerReferences")
            ):
                yield from self._waiting_owners(old, view)

        return keys

    def _dependents(self, owner: Object, view: View) -> Iterable[tuple[Resource, Object]]:
        uid = owner["metadata"].get("uid", "")
        for resource in self._resources.values():
            for obj in view.by_index(resource, "owner", uid):
                yield resource, obj

    def _waiting_owners(self, obj: Object, view: View) -> Iterable[WorkKey]:
        for reference in obj["metadata"].get("ownerReferences") or ():
            found = self._owner(obj, reference, view)
            if found is not None and found[1]["metadata"].get("deletionTimestamp"):
                yield _key(*found)

    def _kind(self, reference: Object) -> Resource | None:
        group = reference["apiVersion"].rpartition("/")[0]
        kind = reference["kind"]
        return self._by_kind.get((reference["apiVersion"], kind)) or self._by_kind.get((group, kind))

    def _owner(self, obj: Object, reference: Object, view: View) -> tuple[Resource, Object] | None:
        resource = self._kind(reference)
        if resource is None:
            return None
        for owner in view.by_index(resource, "uid", reference["uid"]):
            if not resource.namespaced or owner["metadata"].get("namespace") == obj["metadata"].get("namespace"):
                return resource, owner
        return None

    def _judge(self, resource: Resource, obj: Object, view: View) -> Result:
        references: Sequence[Object] = obj["metadata"]["ownerReferences"]
        solid: list[Object] = []
        dangling: list[Object] = []
        waiting: list[Object] = []
        questions: list[Question] = []
        for reference in references:
            found = self._owner(obj, reference, view)
            if found is not None:
                (waiting if _is_foreground(found[1]) else solid).append(reference)
                continue
            verdict = self._ask(obj, reference, view)
            if isinstance(verdict, Question):
                questions.append(verdict)
            elif isinstance(verdict, Note):
                return Result(notes=[verdict])
            else:
                (dangling if verdict else solid).append(reference)
        if questions:
            return Result(questions=questions)
        if solid:
            gone = {reference["uid"] for reference in (*dangling, *waiting)}
            return Result([_disown(resource, obj, gone)] if gone else [])
        if waiting:
            return self._foreground(resource, obj, view)
        return Result([_delete(resource, obj, _own_policy(obj))])

    def _ask(self, obj: Object, reference: Object, view: View) -> bool | Question | Note:
        """Return whether the owner is gone; a Question while that is not known; a Note if the reference can't be followed."""
        resource, namespace = self._kind(reference), obj["metadata"].get("namespace", "")
        if resource is None:
            return False  # a kind we do not know may be one that is not served at the moment
        if resource.namespaced and not namespace:
            said = f"ownerRef {reference['kind']} {reference['name']} is namespaced, its dependent is not"
            return Note(obj, "Warning", "OwnerRefInvalidNamespace", said)
        question = Question(resource, namespace if resource.namespaced else "", reference["name"])
        answer = view.answers.get(question)
        if answer is None:
            return question
        if isinstance(answer, NotFound):
            return True
        if isinstance(answer, Exception):
            raise answer
        return bool(isinstance(answer, dict) and answer["metadata"]["uid"] != reference["uid"])

    def _foreground(self, resource: Resource, obj: Object, view: View) -> Result:
        """All owners are going and wait for this one. A circle of waiting is opened here, as nobody could go first in it."""
        dependents = list(self._dependents(obj, view))
        intents = []
        if any(_is_foreground(dependent) for _, dependent in dependents):
            intents.append(_unblock(resource, obj))
        intents.append(_delete(resource, obj, "Foreground" if dependents else _own_policy(obj)))
        return Result(intents)

    def _deleting(self, resource: Resource, obj: Object, view: View) -> Result:
        finalizers = obj["metadata"].get("finalizers") or ()
        dependents = list(self._dependents(obj, view))
        if ORPHAN in finalizers:
            uid = obj["metadata"]["uid"]
            if dependents:
                return Result([_disown(kind, dependent, {uid}) for kind, dependent in dependents])
            return Result([writes.without_finalizer(resource, obj, ORPHAN)])
        if FOREGROUND in finalizers and not any(_blocks(dependent, obj) for _, dependent in dependents):
            return Result([writes.without_finalizer(resource, obj, FOREGROUND)])
        return Result()


def _word(resource: Resource) -> str:
    return f"{resource.plural}.{resource.group}"


def _key(resource: Resource, obj: Object) -> WorkKey:
    return (obj["metadata"].get("namespace", ""), _word(resource), obj["metadata"]["name"])


def _owner_uids(obj: Object) -> Iterable[str]:
    return [str(reference["uid"]) for reference in obj["metadata"].get("ownerReferences") or ()]


def _facts(obj: Object) -> tuple[object, ...]:
    metadata = obj["metadata"]
    return tuple(metadata.get(field) for field in ("uid", "ownerReferences", "finalizers", "deletionTimestamp"))


def _matters(obj: Object) -> bool:
    return bool(obj["metadata"].get("ownerReferences") or obj["metadata"].get("deletionTimestamp"))


def _is_foreground(obj: Object) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp")) and FOREGROUND in (obj["metadata"].get("finalizers") or ())


def _blocks(dependent: Object, owner: Object) -> bool:
    references: Iterable[Mapping[str, object]] = dependent["metadata"].get("ownerReferences") or ()
    return any(r.get("uid") == owner["metadata"]["uid"] and r.get("blockOwnerDeletion") for r in references)


def _own_policy(obj: Object) -> Propagation:
    finalizers = obj["metadata"].get("finalizers") or ()
    return "Orphan" if ORPHAN in finalizers else "Foreground" if FOREGROUND in finalizers else "Background"


def _delete(resource: Resource, obj: Object, propagation: Propagation) -> Intent:
    metadata = obj["metadata"]
    write = Delete(resource, metadata.get("namespace", ""), metadata["name"], uid=metadata["uid"], propagation=propagation)
    return Intent(write, settled_by=(NotFound,))


def _disown(resource: Resource, obj: Object, uids: set[str]) -> Intent:
    return _rewrite(resource, obj, [r for r in obj["metadata"]["ownerReferences"] if r["uid"] not in uids])


def _unblock(resource: Resource, obj: Object) -> Intent:
    return _rewrite(resource, obj, [{**r, "blockOwnerDeletion": False} for r in obj["metadata"]["ownerReferences"]])


def _rewrite(resource: Resource, obj: Object, references: Sequence[Object]) -> Intent:
    metadata = obj["metadata"]
    guard = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
    patch: Object = {"metadata": {**guard, "ownerReferences": list(references) or None}}
    return Intent(Patch(resource, metadata.get("namespace", ""), metadata["name"], patch), settled_by=(NotFound, Invalid))
