"""What a request belongs to: the first FlowSchema that matches it. Source: apiserver pkg/util/flowcontrol/rule.go."""

from __future__ import annotations

import zlib
from typing import NamedTuple

from moorings_core.api.context import User
from moorings_core.api.paths import Target
from moorings_core.ports.objects import Object

ANY = "*"
ACCOUNT = "system:serviceaccount:"


class Asked(NamedTuple):
    """What of a request decides where it belongs."""

    user: User
    verb: str
    target: Target | None
    path: str


def order(schema: Object) -> tuple[int, str]:
    """Return the place of a schema among the others."""
    return schema["spec"].get("matchingPrecedence", 1000), schema["metadata"]["name"]


def matches(schema: Object, asked: Asked) -> bool:
    """Whether a request belongs to a schema."""
    return any(_subject(rule, asked.user) and _rule(rule, asked) for rule in schema["spec"].get("rules") or ())


def flow_of(schema: Object, asked: Asked) -> int:
    """Return a hash of the flow within a schema that a request belongs to."""
    method = (schema["spec"].get("distinguisherMethod") or {}).get("type", "")
    who = asked.user.name if method == "ByUser" else asked.target.namespace if method == "ByNamespace" and asked.target else ""
    text = f"{schema['metadata']['name']}/{who}".encode()
    return zlib.crc32(text) << 32 | zlib.adler32(text)


def _subject(rule: Object, user: User) -> bool:
    return any(_is(subject, user) for subject in rule.get("subjects") or ())


def _is(subject: Object, user: User) -> bool:
    match subject.get("kind"):
        case "User":
            return (subject.get("user") or {}).get("name") in (ANY, user.name)
        case "Group":
            name = (subject.get("group") or {}).get("name")
            return name == ANY or name in user.groups
    account = subject.get("serviceAccount") or {}
    namespace, name = account.get("namespace", ""), account.get("name", "")
    if name == ANY:
        return user.name.startswith(f"{ACCOUNT}{namespace}:")
    return user.name == f"{ACCOUNT}{namespace}:{name}"


def _rule(rule: Object, asked: Asked) -> bool:
    if asked.target is None:
        return any(_among(asked.verb, r.get("verbs")) and _url(asked.path, r) for r in rule.get("nonResourceRules") or ())
    return any(_resource(r, asked.verb, asked.target) for r in rule.get("resourceRules") or ())


def _resource(rule: Object, verb: str, target: Target) -> bool:
    resource = f"{target.plural}/{target.subresource}" if target.subresource else target.plural
    if not (_among(verb, rule.get("verbs")) and _among(target.group, rule.get("apiGroups")) and _among(resource, rule.get("resources"))):
        return False
    return _among(target.namespace, rule.get("namespaces")) if target.namespace else bool(rule.get("clusterScope"))


def _among(word: str, allowed: list[str] | None) -> bool:
    return bool(allowed) and (word in (allowed or ()) or ANY in (allowed or ()))


def _url(path: str, rule: Object) -> bool:
    urls = rule.get("nonResourceURLs") or ()
    return any(url in (ANY, path) or (url.endswith("/*") and path.startswith(url[:-1])) for url in urls)
