"""Role-based access control over the cache, with an index: a request looks at what is bound to its user and groups, nothing else.

What a user may do in a namespace is worked out once and kept until a role or binding changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from moorings_core.api.cache import Cache, Change
from moorings_core.api.context import User
from moorings_core.ports.objects import Key, Object

from .attributes import RBAC, Attributes, Decision, quoted
from .rules import Rule, parse

MOST_KEPT = 4096
ACCOUNT = "system:serviceaccount:"
Subject = tuple[str, str, str]
"""(kind "User" or "Group", name, the namespace that the binding is for: "" is all)"""


class Grant(NamedTuple):
    """A binding as seen from its subject number `position`."""

    binding: Object
    position: int


@dataclass(slots=True)
class Permissions:
    """What a user may do in a namespace; `errors` name roles that are bound and not there."""

    rules: list[tuple[Rule, Grant]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    _concerning: dict[tuple[str, str, str], list[tuple[Rule, Grant]]] = field(default_factory=dict)

    def allowing(self, asked: Attributes) -> Grant | None:
        """Return what allows a request, or None."""
        if asked.path:
            return next((grant for rule, grant in self.rules if rule.allows(asked)), None)
        what = (asked.group, asked.plural, asked.subresource)
        found = self._concerning.get(what)
        if found is None:
            found = [(rule, grant) for rule, grant in self.rules if rule.concerns(*what)]
            if len(self._concerning) < MOST_KEPT:
                self._concerning[what] = found
        return next((grant for rule, grant in found if rule.permits(asked.verb, asked.name)), None)


class Rbac:
    """The authorizer. It follows the cache from its first question on."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._subjects: dict[Subject, dict[tuple[str, str], Grant]] = {}
        self._kept: dict[tuple[str, tuple[str, ...], str], Permissions] = {}
        self._following = False

    def decide(self, asked: Attributes) -> Decision:
        """Return whether a rule bound to the user allows it, and by which binding."""
        permissions = self.permissions(asked.user, asked.namespace)
        grant = permissions.allowing(asked)
        if grant is not None:
            return Decision(True, f"RBAC: allowed by {_described(grant)}")
        return Decision(False, f"RBAC: {_together(permissions.errors)}" if permissions.errors else "")

    def permissions(self, user: User, namespace: str) -> Permissions:
        """Return all that is bound to a user: cluster-wide, and in a namespace unless it is ""."""
        if not self._following:
            self._follow()
        key = (user.name, user.groups, namespace)
        found = self._kept.get(key)
        if found is None:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            found = self._kept[key] = self._collect(user, namespace)
        return found

    def rules_of(self, reference: Object, namespace: str) -> list[Object] | None:
        """Return the rules of a roleRef as written, or None where there is no such role."""
        plural, place = _place(reference, namespace)
        stored = self._cache.collection(RBAC, plural).get(place)
        return None if stored is None else stored.object.get("rules") or []

    def _collect(self, user: User, namespace: str) -> Permissions:
        grants: dict[tuple[str, str], Grant] = {}
        for kind, name in (("User", user.name), *(("Group", group) for group in user.groups)):
            for scope in ("", namespace) if namespace else ("",):
                for place, grant in self._subjects.get((kind, name, scope), {}).items():
                    if place not in grants or grant.position < grants[place].position:
                        grants[place] = grant
        found = Permissions()
        for place, grant in sorted(grants.items()):
            reference = grant.binding["roleRef"]
            rules = self.rules_of(reference, place[0])
            if rules is None:
                found.errors.append(f"{reference['kind'].lower()}.{RBAC} {quoted(reference['name'])} not found")
            else:
                found.rules += [(rule, grant) for rule in parse(rules)]
        return found

    def _follow(self) -> None:
        self._following = True
        for plural in ("clusterrolebindings", "rolebindings"):
            collection = self._cache.collection(RBAC, plural)
            for stored in collection.select():
                self._add(stored.object)
            collection.listeners[self._rebind] = None
        for plural in ("clusterroles", "roles"):
            self._cache.collection(RBAC, plural).listeners[self._forget] = None

    def _forget(self, change: Change) -> None:
        self._kept.clear()

    def _rebind(self, change: Change) -> None:
        self._kept.clear()
        if change.old is not None:
            for subject in set(subjects(change.old.object)):
                self._subjects[subject].pop(change.key)
                if not self._subjects[subject]:
                    del self._subjects[subject]
        if change.new is not None:
            self._add(change.new.object)

    def _add(self, binding: Object) -> None:
        place = Key(binding["metadata"].get("namespace", ""), binding["metadata"]["name"])
        for position, subject in enumerate(subjects(binding)):
            self._subjects.setdefault(subject, {}).setdefault(place, Grant(binding, position))


def subjects(binding: Object) -> list[Subject]:
    """Return whom a binding is for, in its order; what names nobody is a subject that no user is."""
    namespace = binding["metadata"].get("namespace", "")
    return [_subject(subject, namespace) for subject in binding.get("subjects") or ()]


def _subject(subject: Object, namespace: str) -> Subject:
    kind, name = subject.get("kind", ""), subject.get("name", "")
    if kind != "ServiceAccount":
        return kind, name, namespace
    home = subject.get("namespace") or namespace
    return ("User", f"{ACCOUNT}{home}:{name}", namespace) if home else ("", "", namespace)


def _place(reference: Object, namespace: str) -> tuple[str, Key]:
    if reference["kind"] == "Role":
        return "roles", Key(namespace, reference["name"])
    return "clusterroles", Key("", reference["name"])


def _described(grant: Grant) -> str:
    binding, subject = grant.binding, grant.binding["subjects"][grant.position]
    reference, metadata = binding["roleRef"], binding["metadata"]
    namespace = metadata.get("namespace", "")
    name = f"{metadata['name']}/{namespace}" if namespace else metadata["name"]
    who = subject["name"]
    if subject["kind"] == "ServiceAccount":
        who += f"/{subject.get('namespace') or namespace}"
    kind = "RoleBinding" if namespace else "ClusterRoleBinding"
    role = f"{reference['kind']} {quoted(reference['name'])}"
    return f"{kind} {quoted(name)} of {role} to {subject['kind']} {quoted(who)}"


def _together(errors: Iterable[str]) -> str:
    """Return errors as Go's aggregate writes them."""
    different = list(dict.fromkeys(errors))
    return different[0] if len(different) == 1 else f"[{', '.join(different)}]"
