"""One rule of a role: what it allows, what it covers of another, and how it is written in a refusal. Pure.

Source: rbac.authorization.k8s.io/v1 PolicyRule; the meaning of "*" and of "*/subresource" is upstream's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from moorings_core.ports.objects import Object

from .attributes import Attributes, quoted_list

ALL = "*"
FIELDS = ("apiGroups", "resources", "nonResourceURLs", "resourceNames", "verbs")


@dataclass(frozen=True, slots=True)
class Rule:
    """A PolicyRule made ready for asking; `source` is the rule as written."""

    verbs: frozenset[str]
    groups: frozenset[str]
    resources: frozenset[str]
    names: frozenset[str]
    urls: tuple[str, ...]
    source: Object

    def concerns(self, group: str, plural: str, subresource: str) -> bool:
        """Whether it says anything about a resource, whatever the verb and the name."""
        if not (ALL in self.groups or group in self.groups):
            return False
        if ALL in self.resources:
            return True
        if not subresource:
            return plural in self.resources
        return f"{plural}/{subresource}" in self.resources or f"*/{subresource}" in self.resources

    def permits(self, verb: str, name: str) -> bool:
        """Whether it allows a verb on an object of what it concerns."""
        return (ALL in self.verbs or verb in self.verbs) and (not self.names or name in self.names)

    def allows(self, asked: Attributes) -> bool:
        """Whether it allows what is asked."""
        if asked.path:
            return (ALL in self.verbs or asked.verb in self.verbs) and any(_url_matches(url, asked.path) for url in self.urls)
        return self.concerns(asked.group, asked.plural, asked.subresource) and self.permits(asked.verb, asked.name)

    def covers(self, part: Rule) -> bool:
        """Whether it allows all that a rule with at most one verb, group, resource, name and URL allows."""
        if not (ALL in self.verbs or part.verbs <= self.verbs) or not (ALL in self.groups or part.groups <= self.groups):
            return False
        names = not self.names or (bool(part.names) and part.names <= self.names)
        return names and all(map(self._has_resource, part.resources)) and all(map(self._has_url, part.urls))

    def _has_resource(self, resource: str) -> bool:
        if ALL in self.resources or resource in self.resources:
            return True
        _, slash, subresource = resource.partition("/")
        return bool(slash) and f"*/{subresource}" in self.resources

    def _has_url(self, url: str) -> bool:
        return any(own == url or (own.endswith(ALL) and url.startswith(own.rstrip(ALL))) for own in self.urls)


def parse(rules: Iterable[Object] | None) -> list[Rule]:
    """Return the rules of a role."""
    return [
        Rule(
            frozenset(rule.get("verbs") or ()),
            frozenset(rule.get("apiGroups") or ()),
            frozenset(rule.get("resources") or ()),
            frozenset(rule.get("resourceNames") or ()),
            tuple(rule.get("nonResourceURLs") or ()),
            rule,
        )
        for rule in rules or ()
    ]


def missing(held: Sequence[Rule], wanted: Iterable[Object] | None) -> list[Object]:
    """Return what of the wanted rules is not held, broken down to single verbs, resources and names."""
    parts = (part for rule in wanted or () for part in _parts(rule))
    return [part.source for part in parse(parts) if not any(own.covers(part) for own in held)]


def described(rules: Sequence[Object]) -> list[str]:
    """Return rules as a refusal lists them: one line for a resource, its verbs together, sorted."""
    merged: dict[tuple[str, ...], Object] = {}
    lines = set()
    for rule in rules:
        if rule.get("nonResourceURLs"):
            lines.add(_line(rule))
            continue
        key = (*rule["apiGroups"], *rule["resources"], *rule.get("resourceNames", ()))
        known = merged.setdefault(key, {**rule, "verbs": []})
        known["verbs"] = [*known["verbs"], *rule["verbs"]]
    return sorted(lines | {_line(rule) for rule in merged.values()})


def _parts(rule: Object) -> Iterator[Object]:
    verbs = rule.get("verbs") or ()
    for group in rule.get("apiGroups") or ():
        for resource in rule.get("resources") or ():
            for verb in verbs:
                part = {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
                names = rule.get("resourceNames") or ()
                yield from [{**part, "resourceNames": [name]} for name in names] if names else [part]
    for url in rule.get("nonResourceURLs") or ():
        yield from ({"nonResourceURLs": [url], "verbs": [verb]} for verb in verbs)


def _line(rule: Object) -> str:
    words = (f"{field[0].upper()}{field[1:]}:{quoted_list(rule[field])}" for field in FIELDS if rule.get(field))
    return "{" + ", ".join(words).replace("ApiGroups", "APIGroups") + "}"


def _url_matches(url: str, path: str) -> bool:
    return url in (ALL, path) or (url.endswith(ALL) and path.startswith(url.rstrip(ALL)))
