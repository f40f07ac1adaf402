"""What is recorded of a request: the first rule that fits says how much. Source: audit.k8s.io/v1 Policy; upstream's policy checker."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moorings_core.api.access.attributes import Attributes
from moorings_core.config.reader import Cursor, Parser, any_text, boolean, choice, free_form, many, parse_document, record, text

LEVELS = ("None", "Metadata", "Request", "RequestResponse")
NOTHING, METADATA, REQUEST, RESPONSE = range(4)
STAGES = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")
MOST_KEPT = 4096
NEVER_CONTENT = {
    ("", "secrets"),
    ("", "configmaps"),
    ("", "serviceaccounts/token"),
    ("authentication.k8s.io", "tokenreviews"),
}
"""Resources whose content is recorded under no policy: it is, or may be, what opens doors"""


@dataclass(frozen=True, slots=True)
class GroupResources:
    """Resources of a group, each of them when none is named."""

    group: str = ""
    resources: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def fits(self, asked: Attributes) -> bool:
        """Whether a request is about one of them."""
        if self.group not in ("*", asked.group):
            return False
        return not self.resources or ((not self.names or asked.name in self.names) and any(_is(r, asked) for r in self.resources))


@dataclass(frozen=True, slots=True)
class Rule:
    """Conditions that must all hold; an empty one holds always. level is an index of LEVELS."""

    level: int = METADATA
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    resources: tuple[GroupResources, ...] = ()
    namespaces: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    omit_stages: tuple[str, ...] = ()
    omit_managed_fields: bool | None = None

    def fits(self, asked: Attributes) -> bool:
        """Whether it is about a request."""
        user = asked.user
        if (self.users and user.name not in self.users) or (self.groups and not set(self.groups) & set(user.groups)):
            return False
        if self.verbs and asked.verb not in self.verbs:
            return False
        if self.namespaces or self.resources:
            if asked.path or (self.namespaces and asked.namespace not in self.namespaces):
                return False
            return not self.resources or any(resources.fits(asked) for resources in self.resources)
        return not self.urls or any(_is_url(url, asked.path) for url in self.urls)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is recorded of a request."""

    level: int
    stages: frozenset[str]
    managed_fields: bool


@dataclass
class Policy:
    """Rules, the first that fits counts; without one nothing is recorded."""

    rules: tuple[Rule, ...] = ()
    omit_stages: tuple[str, ...] = ()
    omit_managed_fields: bool = False
    _kept: dict[tuple[object, ...], Wanted | None] = field(default_factory=dict)

    @functools.cached_property
    def _names_count(self) -> bool:
        return any(resources.names for rule in self.rules for resources in rule.resources)

    def wanted(self, asked: Attributes) -> Wanted | None:
        """Return what is to be recorded, None for nothing. The same question is answered from memory."""
        name = asked.name if self._names_count else ""
        key = (
            asked.user.name,
            asked.user.groups,
            asked.verb,
            asked.group,
            asked.plural,
            asked.subresource,
            asked.namespace,
            name,
            asked.path,
        )
        if key not in self._kept:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[key] = self._wanted(asked)
        return self._kept[key]

    def _wanted(self, asked: Attributes) -> Wanted | None:
        rule = next((rule for rule in self.rules if rule.fits(asked)), None)
        if rule is None or rule.level == NOTHING:
            return None
        level = min(rule.level, METADATA) if (asked.group, asked.resource) in NEVER_CONTENT else rule.level
        omitted = self.omit_managed_fields if rule.omit_managed_fields is None else rule.omit_managed_fields
        return Wanted(level, frozenset(STAGES) - {*self.omit_stages, *rule.omit_stages}, not omitted)


def default() -> Policy:
    """Return the policy of a cluster that names none: who did what, without the heartbeat of the cluster itself."""
    health = ("/healthz*", "/livez*", "/readyz*", "/version*", "/metrics", "/openapi*", "/api", "/api/*", "/apis", "/apis/*")
    beat = (
        GroupResources("coordination.k8s.io", ("leases",)),
        GroupResources("", ("events",)),
        GroupResources("events.k8s.io", ("events",)),
    )
    agents = (GroupResources("", ("nodes/status", "pods/status", "serviceaccounts/token")),)
    rules = (
        Rule(NOTHING, urls=health),
        Rule(NOTHING, resources=beat),
        Rule(NOTHING, groups=("system:nodes",), verbs=("get", "list", "watch")),
        Rule(NOTHING, groups=("system:nodes",), resources=agents),
        Rule(METADATA),
    )
    return Policy(rules, ("RequestReceived",))


def load(path: Path) -> Policy:
    """Read a policy file. Raises ConfigError with the line that is wrong, OSError."""
    cursor = parse_document(path.read_text(), str(path))
    return Policy() if cursor is None else _POLICY(cursor)


def _level(cursor: Cursor) -> int:
    return LEVELS.index(choice(*LEVELS)(cursor))


def _empty_or_text(cursor: Cursor) -> str:
    return any_text(cursor)


_RESOURCES = record(
    GroupResources,
    {"group": ("group", _empty_or_text), "resources": ("resources", many(text)), "resourceNames": ("names", many(text))},
)
_STAGES: Parser[Any] = many(choice(*STAGES))
_RULE = record(
    Rule,
    {
        "level": ("level", _level),
        "users": ("users", many(text)),
        "userGroups": ("groups", many(text)),
        "verbs": ("verbs", many(text)),
        "resources": ("resources", many(_RESOURCES)),
        "namespaces": ("namespaces", many(_empty_or_text)),
        "nonResourceURLs": ("urls", many(text)),
        "omitStages": ("omit_stages", _STAGES),
        "omitManagedFields": ("omit_managed_fields", boolean),
    },
)
_FIELDS: dict[str, tuple[str, Parser[Any]]] = {
    "apiVersion": ("", choice("audit.k8s.io/v1")),
    "kind": ("", choice("Policy")),
    "metadata": ("", free_form),
    "rules": ("rules", many(_RULE)),
    "omitStages": ("omit_stages", _STAGES),
    "omitManagedFields": ("omit_managed_fields", boolean),
}


def _made(**values: Any) -> Policy:
    values.pop("", None)
    return Policy(**values)


_POLICY: Callable[[Cursor], Policy] = record(_made, _FIELDS)


def _is(resource: str, asked: Attributes) -> bool:
    if resource in ("*", asked.resource):
        return True
    plural, _, subresource = resource.partition("/")
    return (plural == "*" and bool(asked.subresource) and subresource == asked.subresource) or (
        subresource == "*" and plural == asked.plural
    )


def _is_url(url: str, path: str) -> bool:
    return bool(path) and (url in ("*", path) or (url.endswith("*") and path.startswith(url.rstrip("*"))))
