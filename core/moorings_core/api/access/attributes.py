"""What is asked of an authorizer, and what it says. Source: apiserver authorizer.Attributes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from moorings_core.api.context import User
from moorings_core.api.http.message import Request
from moorings_core.api.paths import Target
from moorings_core.ports.errors import Forbidden
from moorings_core.registry.selectors import FieldSelector, parse_fields

RBAC = "rbac.authorization.k8s.io"
NO_FIELDS = FieldSelector()
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


@dataclass(slots=True)
class Attributes:
    """A request as authorizers see it; path is set for what is no resource. plural may hold no subresource.

    Nobody changes one; it is not frozen because every request makes one, and to make a frozen one takes three times as long.
    """

    user: User
    verb: str
    group: str = ""
    plural: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    fields: FieldSelector = NO_FIELDS

    @property
    def resource(self) -> str:
        """The resource with its subresource, as rules name it: "pods/log"."""
        return f"{self.plural}/{self.subresource}" if self.subresource else self.plural


class Decision(NamedTuple):
    """allowed False is no opinion: nobody here denies. error: what kept the authorizer from seeing everything."""

    allowed: bool
    reason: str = ""
    error: str = ""


class Authorizer(Protocol):
    """Decides on requests."""

    def decide(self, asked: Attributes) -> Decision:
        """Return whether it is allowed, and why."""


def of_request(user: User, verb: str, target: Target | None, request: Request) -> Attributes:
    """Return what a request asks."""
    if target is None:
        return Attributes(user, verb, path=request.path)
    name, fields = target.name, NO_FIELDS
    if verb in ("list", "watch", "deletecollection") and "fieldSelector" in request.query:
        fields = _fields(request.query["fieldSelector"])
        if not name and verb != "deletecollection":
            name = fields.requires("metadata.name") or ""
    namespace = target.name if target.plural == "namespaces" and not target.group else target.namespace
    return Attributes(user, verb, target.group, target.plural, target.subresource, namespace, name, fields=fields)


def refusal(asked: Attributes, reason: str) -> Forbidden:
    """Return the error for what is not allowed, in upstream's words."""
    text = f"User {quoted(asked.user.name)} cannot {asked.verb} "
    if asked.path:
        return Forbidden(f"forbidden: {_because(text + f'path {quoted(asked.path)}', reason)}", details={})
    text += f"resource {quoted(asked.resource)} in API group {quoted(asked.group)} "
    text += f"in the namespace {quoted(asked.namespace)}" if asked.namespace else "at the cluster scope"
    return forbidden(asked.group, asked.plural, asked.name, _because(text, reason))


def forbidden(group: str, plural: str, name: str, why: str) -> Forbidden:
    """Return a Forbidden about a resource, or about one object of it."""
    what = f"{plural}.{group}" if group else plural
    details = {key: value for key, value in (("name", name), ("group", group), ("kind", plural)) if value}
    return Forbidden(f"{what} {quoted(name)} is forbidden: {why}" if name else f"{what} is forbidden: {why}", details=details)


def renamed(asked: Attributes, verb: str) -> Attributes:
    """Return the same question for another verb."""
    return replace(asked, verb=verb)


def quoted(text: str) -> str:
    """Return a string as Go's %q writes it."""
    return json.dumps(text, ensure_ascii=False)


def quoted_list(texts: Iterable[str]) -> str:
    """Return strings as Go's %q writes a slice of them."""
    return f"[{' '.join(map(quoted, texts))}]"


def _because(text: str, reason: str) -> str:
    shown = text.translate(_ESCAPES)
    return f"{shown}: {reason}" if reason else shown


def _fields(text: str) -> FieldSelector:
    try:
        return parse_fields(text)
    except ValueError:
        return NO_FIELDS  # the request will be refused for it where it is read
