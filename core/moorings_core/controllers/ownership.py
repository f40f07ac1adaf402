"""Who controls what: controller references, and the claim of a controller on the objects that its selector matches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from moorings_core.ports.client import Patch
from moorings_core.ports.errors import Invalid, NotFound
from moorings_core.ports.objects import Key, Object, Resource, key_of
from moorings_core.registry.selectors import LabelSelector, from_label_selector

from .framework import Intent, Question, View, WorkKey


class Claim(NamedTuple):
    """The objects that are ours now, what adopts and releases others, and what must be asked before adopting."""

    owned: Sequence[Object]
    intents: Sequence[Intent]
    questions: Sequence[Question]


def controller_of(obj: Object) -> Object | None:
    """Return the reference to the controlling owner, or None."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return reference  # type: ignore[no-any-return]
    return None


def is_controlled_by(obj: Object, owner: Object) -> bool:
    """Whether owner, this very incarnation, controls obj."""
    reference = controller_of(obj)
    return reference is not None and reference.get("uid") == owner["metadata"]["uid"]


def reference_to(owner: Object) -> Object:
    """Return the controller reference that an object of owner carries."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def by_controller(obj: Object) -> Iterable[str]:
    """Index function "controller": the controller's uid, or "orphans/NAMESPACE" for an object without one."""
    reference = controller_of(obj)
    return (str(reference["uid"]),) if reference else (f"orphans/{obj['metadata'].get('namespace', '')}",)


@dataclass(frozen=True, slots=True)
class Dependents:
    """How the objects of one resource belong to controllers of another by label selector."""

    owner: Resource
    dependent: Resource

    def owners_of(self, view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
        """Return the keys of the owners that a change of a dependent touches; the mapping of a Watch."""
        for obj in (old, new):
            if obj is None:
                continue
            reference = controller_of(obj)
            if reference:
                yield from (key_of(owner) for owner in view.by_index(self.owner, "uid", reference["uid"]))
        if new is not None and controller_of(new) is None and not new["metadata"].get("deletionTimestamp"):
            labels = new["metadata"].get("labels") or {}
            if labels:
                for owner in view.within(self.owner, new["metadata"]["namespace"]):
                    if selector_of(owner).matches(labels):
                        yield key_of(owner)

    def claim(self, owner: Object, view: View) -> Claim:
        """Say which dependents are the owner's: keeps its own that match, releases its own that do not, adopts matching orphans.

        Adoption is safe only while the owner is alive, which the cache may not know: it is asked for live (upstream's
        RecheckDeletionTimestamp).
        """
        metadata, selector = owner["metadata"], selector_of(owner)
        alive = not metadata.get("deletionTimestamp")
        owned: list[Object] = []
        intents: list[Intent] = []
        for obj in view.by_index(self.dependent, "controller", metadata["uid"]):
            if selector.matches(obj["metadata"].get("labels") or {}):
                owned.append(obj)
            elif alive and not obj["metadata"].get("deletionTimestamp"):
                intents.append(self._release(owner, obj))
        orphans = view.by_index(self.dependent, "controller", f"orphans/{metadata['namespace']}") if alive else ()
        wanted = [o for o in orphans if self._adoptable(o, selector)]
        if not wanted:
            return Claim(owned, intents, ())
        question = Question(self.owner, metadata["namespace"], metadata["name"])
        answer = view.answers.get(question)
        if answer is None:
            return Claim(owned, intents, (question,))
        live: Object = answer["metadata"] if isinstance(answer, dict) else {}
        if live.get("uid") == metadata["uid"] and not live.get("deletionTimestamp"):
            intents.extend(self._adopt(owner, obj) for obj in wanted)
            owned.extend(wanted)
        return Claim(owned, intents, ())

    @staticmethod
    def _adoptable(obj: Object, selector: LabelSelector) -> bool:
        labels = obj["metadata"].get("labels") or {}
        return bool(labels) and not obj["metadata"].get("deletionTimestamp") and selector.matches(labels)

    def _adopt(self, owner: Object, obj: Object) -> Intent:
        return self._change(obj, [*(obj["metadata"].get("ownerReferences") or ()), reference_to(owner)])

    def _release(self, owner: Object, obj: Object) -> Intent:
        uid = owner["metadata"]["uid"]
        return self._change(obj, [r for r in obj["metadata"].get("ownerReferences") or () if r.get("uid") != uid])

    def _change(self, obj: Object, references: Sequence[Object]) -> Intent:
        metadata = obj["metadata"]
        guard = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        patch: Object = {"metadata": {**guard, "ownerReferences": list(references) or None}}
        write = Patch(self.dependent, metadata["namespace"], metadata["name"], patch)
        return Intent(write, settled_by=(NotFound, Invalid))


def selector_of(owner: Object) -> LabelSelector:
    """Return spec.selector, of either form: a LabelSelector, or a plain map (ReplicationController, Service)."""
    selector = owner.get("spec", {}).get("selector")
    if selector and owner.get("kind") in ("ReplicationController", "Service"):
        selector = {"matchLabels": selector}
    return from_label_selector(selector or None)


def owner_key(obj: Object) -> WorkKey:
    """Return the key of an object."""
    metadata = obj["metadata"]
    return Key(metadata.get("namespace", ""), metadata["name"])


def itself(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    """The mapping of a Watch on the controller's own resource: the changed object's key."""
    changed = new if new is not None else old
    return (key_of(changed),) if changed is not None else ()
