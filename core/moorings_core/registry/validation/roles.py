"""Rules of roles and of who has them. Source: upstream's pkg/apis/rbac/validation, and what it declares on the types."""

from __future__ import annotations

from moorings_core.ports.objects import Object

from . import names
from .errors import FieldError, Path, invalid, not_supported, required
from .formats import named
from .placement import label_selector

GROUP = "rbac.authorization.k8s.io"
SUBJECTS = ("ServiceAccount", "User", "Group")
_ROLE_REF = (("APIGroup", "apiGroup"), ("Kind", "kind"), ("Name", "name"))


def _role(obj: Object) -> list[FieldError]:
    return _rules(obj, namespaced=True)


def _cluster_role(obj: Object) -> list[FieldError]:
    rules, aggregation = _rules(obj, namespaced=False), obj.get("aggregationRule")
    if aggregation is None:
        return rules
    path = Path("aggregationRule") / "clusterRoleSelectors"
    selectors = aggregation.get("clusterRoleSelectors") or ()
    found: list[FieldError] = []
    if not selectors:
        found.append(required(path, "at least one clusterRoleSelector required if aggregationRule is non-nil"))
    for i, selector in enumerate(selectors):
        if wrong := label_selector(selector, path.at(i)):
            found += [*wrong, invalid(path.at(i), None, "invalid label selector.")]
    declared = [error for error in rules if error.field.endswith(".verbs")]
    return [error for error in rules if error not in declared] + found + declared


def _rules(obj: Object, *, namespaced: bool) -> list[FieldError]:
    found: list[FieldError] = []
    declared: list[FieldError] = []
    for i, rule in enumerate(obj.get("rules") or ()):
        path, urls = Path("rules").at(i), rule.get("nonResourceURLs")
        if not rule.get("verbs"):
            declared.append(required(path / "verbs"))
        if urls and namespaced:
            found.append(invalid(path / "nonResourceURLs", urls, "namespaced rules cannot apply to non-resource URLs"))
        if urls and any(rule.get(field) for field in ("apiGroups", "resources", "resourceNames")):
            text = "rules cannot apply to both regular resources and non-resource URLs"
            found.append(invalid(path / "nonResourceURLs", urls, text))
        if not urls:
            found += [
                required(path / field, f"resource rules must supply at least one {word}")
                for field, word in (("apiGroups", "api group"), ("resources", "resource"))
                if not rule.get(field)
            ]
    return found + declared


def _role_binding(obj: Object) -> list[FieldError]:
    return _binding(obj, ("Role", "ClusterRole"), namespaced=True)


def _cluster_role_binding(obj: Object) -> list[FieldError]:
    return _binding(obj, ("ClusterRole",), namespaced=False)


def _binding(obj: Object, kinds: tuple[str, ...], *, namespaced: bool) -> list[FieldError]:
    reference, path = obj.get("roleRef") or {}, Path("roleRef")
    found, declared = list[FieldError](), list[FieldError]()
    for field, known in (("apiGroup", (GROUP,)), ("kind", kinds)):
        if reference.get(field, "") not in known:
            found.append(not_supported(path / field, reference.get(field, ""), known))
    if reference.get("name"):
        found += named(reference["name"], path / "name", names.path_segment)
    for i, subject in enumerate(obj.get("subjects") or ()):
        where = Path("subjects").at(i)
        found += _subject(subject, where, namespaced=namespaced)
        if not subject.get("name"):
            declared.append(required(where / "name"))
    if not reference.get("name"):
        declared.append(required(path / "name"))
    return found + declared


def _subject(subject: Object, path: Path, *, namespaced: bool) -> list[FieldError]:
    kind, name, group = subject.get("kind", ""), subject.get("name", ""), subject.get("apiGroup", "")
    if kind not in SUBJECTS:
        return [not_supported(path / "kind", kind, SUBJECTS)]
    if kind != "ServiceAccount":
        return [] if group == GROUP else [not_supported(path / "apiGroup", group, (GROUP,))]
    found = named(name, path / "name", names.subdomain) if name else []
    if group:
        found.append(not_supported(path / "apiGroup", group, ("",)))
    if not namespaced and not subject.get("namespace"):
        found.append(required(path / "namespace"))
    return found


def _binding_update(new: Object, old: Object) -> list[FieldError]:
    if new.get("roleRef") != old.get("roleRef"):
        shown = {name: (new.get("roleRef") or {}).get(field, "") for name, field in _ROLE_REF}
        return [invalid("roleRef", shown, "field is immutable")]
    return []


CREATE = {
    (GROUP, "roles"): _role,
    (GROUP, "clusterroles"): _cluster_role,
    (GROUP, "rolebindings"): _role_binding,
    (GROUP, "clusterrolebindings"): _cluster_role_binding,
}
UPDATE = {(GROUP, "rolebindings"): _binding_update, (GROUP, "clusterrolebindings"): _binding_update}
