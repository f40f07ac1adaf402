"""Rules of FlowSchemas. Source: upstream's pkg/apis/flowcontrol/validation."""

from __future__ import annotations

from collections.abc import Sequence

from moorings_core.ports.objects import Object

from . import names
from .errors import FieldError, Path, forbidden, invalid, not_supported, required
from .formats import named

GROUP = "flowcontrol.apiserver.k8s.io"
SPEC = Path("spec")
PRECEDENCE_MOST = 10_000
METHODS = ("ByNamespace", "ByUser")
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")
SUBJECTS = (("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group"))
NAMESPACE_WORDS = "each member of this list must be '*' or a DNS-1123 label; "


def _schema(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    found = _precedence(spec.get("matchingPrecedence", 0), obj["metadata"].get("name", ""))
    method = spec.get("distinguisherMethod")
    if method is not None and method.get("type") not in METHODS:
        found.append(not_supported(SPEC / "distinguisherMethod" / "type", {"Type": method.get("type", "")}, METHODS))
    level, path = (spec.get("priorityLevelConfiguration") or {}).get("name", ""), SPEC / "priorityLevelConfiguration" / "name"
    found += named(level, path, names.subdomain) if level else [required(path, "must reference a priority level")]
    for i, rule in enumerate(spec.get("rules") or ()):
        found += _rule(rule, (SPEC / "rules").at(i))
    return found


def _precedence(number: int, name: str) -> list[FieldError]:
    path = SPEC / "matchingPrecedence"
    found = [] if number > 0 else [invalid(path, number, "must be a positive value")]
    if number > PRECEDENCE_MOST:
        found.append(invalid(path, number, f"must not be greater than {PRECEDENCE_MOST}"))
    if number == 1 and name != "exempt":
        found.append(invalid(path, number, "only the schema named 'exempt' may have matchingPrecedence 1"))
    return found


def _rule(rule: Object, path: Path) -> list[FieldError]:
    subjects, resources, urls = (rule.get(field) or () for field in ("subjects", "resourceRules", "nonResourceRules"))
    found = [] if subjects else [required(path / "subjects", "subjects must contain at least one value")]
    for i, subject in enumerate(subjects):
        found += _subject(subject, (path / "subjects").at(i))
    if not resources and not urls:
        found.append(required(path, "at least one of resourceRules and nonResourceRules has to be non-empty"))
    for i, resource in enumerate(resources):
        found += _resources(resource, (path / "resourceRules").at(i))
    for i, url in enumerate(urls):
        found += _urls(url, (path / "nonResourceRules").at(i))
    return found


def _subject(subject: Object, path: Path) -> list[FieldError]:
    kind, found = subject.get("kind", ""), list[FieldError]()
    own = dict(SUBJECTS).get(kind)
    if own is None:
        return [not_supported(path / "kind", kind, sorted(dict(SUBJECTS)))]
    given, where = subject.get(own), path / own
    if given is None:
        found.append(required(where, f"{own} is required when subject kind is '{kind}'"))
    elif not given.get("name"):
        found.append(required(where / "name"))
    elif kind == "ServiceAccount" and given["name"] != "*":
        found += named(given["name"], where / "name", names.subdomain)
    if given is not None and kind == "ServiceAccount":
        home = given.get("namespace", "")
        text = "must specify namespace for service account"
        found += named(home, where / "namespace", names.label) if home else [required(where / "namespace", text)]
    others = ((word, field) for word, field in SUBJECTS if field != own and subject.get(field) is not None)
    return found + [forbidden(path / field, f"{field} is forbidden when subject kind is not '{word}'") for word, field in others]


def _verbs(rule: Object, path: Path) -> list[FieldError]:
    verbs = rule.get("verbs") or ()
    if not verbs or "*" in verbs:
        return _all_or_some(verbs, path, "verbs must contain at least one value", "verbs")
    return [] if set(verbs) <= set(VERBS) else [not_supported(path, verbs, VERBS)]


def _all_or_some(values: Sequence[str], path: Path, none: str, word: str) -> list[FieldError]:
    """Return whether a list is empty, or names others beside all."""
    if not values:
        return [required(path, none)]
    return [invalid(path, values, f"if '*' is present, must not specify other {word}")] if "*" in values and len(values) > 1 else []


def _resources(rule: Object, path: Path) -> list[FieldError]:
    found = _verbs(rule, path / "verbs")
    for field, one, word in (("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")):
        found += _all_or_some(rule.get(field) or (), path / field, f"resource rules must supply at least one {one}", word)
    spaces, where = rule.get("namespaces") or (), path / "namespaces"
    if "*" in spaces or (not spaces and not rule.get("clusterScope")):
        text = "resource rules that are not cluster scoped must supply at least one namespace"
        return found + _all_or_some(spaces, where, text, "namespaces")
    wrong = ((i, space, names.label(space)) for i, space in enumerate(spaces))
    return found + [invalid(where.at(i), space, NAMESPACE_WORDS + complaint) for i, space, complaint in wrong if complaint]


def _urls(rule: Object, path: Path) -> list[FieldError]:
    found, urls, where = _verbs(rule, path / "verbs"), rule.get("nonResourceURLs") or (), path / "nonResourceURLs"
    if not urls or "*" in urls:
        return found + _all_or_some(urls, where, "nonResourceURLs must contain at least one value", "non-resource URLs")
    return found + [invalid(where.at(i), url, complaint) for i, url in enumerate(urls) if (complaint := _url(url))]


def _url(url: str) -> str:
    if not url:
        return "must not be empty"
    if not url.startswith("/"):
        return "must start with slash"
    for what, word in ((" ", "white-space"), ("//", "double slash")):
        if what in url:
            return f"must not contain {word}"
    return "wildcard can only do suffix matching" if "*" in url.removesuffix("/*") else ""


CREATE = {(GROUP, "flowschemas"): _schema}
