"""Rules of webhook configurations. Source: upstream's pkg/apis/admissionregistration/validation."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from moorings_core.ports.objects import Object

from . import names
from .errors import FieldError, Path, duplicate, invalid, not_supported, required
from .expressions import check_expression
from .placement import label_selector

GROUP = "admissionregistration.k8s.io"
VERSIONS = ("v1", "v1beta1")
FAILURE, MATCH, REINVOCATION = ("Fail", "Ignore"), ("Equivalent", "Exact"), ("IfNeeded", "Never")
SIDE_EFFECTS = ("None", "NoneOnDryRun")
OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
SCOPES = ("*", "Cluster", "Namespaced")
MOST_CONDITIONS = 64
FORM = "; desired format: https://host[/path]"


def _configuration(obj: Object) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for i, webhook in enumerate(obj.get("webhooks") or ()):
        path = Path("webhooks").at(i)
        found += _webhook(webhook, path) + _versions(webhook.get("admissionReviewVersions") or (), path / "admissionReviewVersions")
        name = webhook.get("name") or ""
        if name in seen:
            found.append(duplicate(path / "name", name))
        seen.update([name] if name else [])
    return found


def _webhook(webhook: Object, path: Path) -> list[FieldError]:
    found = _qualified(webhook.get("name") or "", path / "name")
    for i, rule in enumerate(webhook.get("rules") or ()):
        found += check_rule(rule, (path / "rules").at(i))
    for field, allowed in (("failurePolicy", FAILURE), ("matchPolicy", MATCH)):
        found += _one_of(webhook, field, allowed, path)
    effects = webhook.get("sideEffects")
    if effects is None:
        found.append(required(path / "sideEffects", f"must specify one of {', '.join(SIDE_EFFECTS)}"))
    elif effects not in SIDE_EFFECTS:
        found.append(not_supported(path / "sideEffects", effects, SIDE_EFFECTS))
    seconds = webhook.get("timeoutSeconds")
    if seconds is not None and not 1 <= seconds <= 30:
        found.append(invalid(path / "timeoutSeconds", seconds, "the timeout value must be between 1 and 30 seconds"))
    for field in ("namespaceSelector", "objectSelector"):
        found += label_selector(webhook.get(field), path / field)
    found += _one_of(webhook, "reinvocationPolicy", REINVOCATION, path)
    found += client_config(webhook.get("clientConfig") or {}, path / "clientConfig")
    return found + check_conditions(webhook.get("matchConditions") or (), path / "matchConditions", params=False)


def _one_of(webhook: Object, field: str, allowed: Sequence[str], path: Path) -> list[FieldError]:
    value = webhook.get(field)
    return [] if value is None or value in allowed else [not_supported(path / field, value, allowed)]


def _qualified(name: str, path: Path) -> list[FieldError]:
    if not name:
        return [required(path)]
    if problem := names.subdomain(name):
        return [invalid(path, name, problem)]
    if name.count(".") < 2:
        return [invalid(path, name, "should be a domain with at least three segments separated by dots")]
    return []


def client_config(client: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with where a webhook is called."""
    url, service = client.get("url"), client.get("service")
    if (url is None) == (service is None):
        return [required(path, "exactly one of url or service is required")]
    return _url(url, path / "url") if url is not None else _service(service or {}, path / "service")


def _url(url: str, path: Path) -> list[FieldError]:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        return [required(path, f"url must be a valid URL: {error}{FORM}")]
    found = [] if parts.scheme == "https" else [invalid(path, parts.scheme, f"'https' is the only allowed URL scheme{FORM}")]
    host = parts.netloc.rpartition("@")[2]
    if not host:
        found.append(invalid(path, host, f"host must be specified{FORM}"))
    if "@" in parts.netloc:
        found.append(invalid(path, parts.netloc.rpartition("@")[0], "user information is not permitted in the URL"))
    if parts.fragment:
        found.append(invalid(path, parts.fragment, "fragments are not permitted in the URL"))
    if parts.query:
        found.append(invalid(path, parts.query, "query parameters are not permitted in the URL"))
    return found


def _service(service: Object, path: Path) -> list[FieldError]:
    # upstream names the one where the other is missing
    found = [required(path / other) for field, other in (("namespace", "name"), ("name", "namespace")) if not service.get(field)]
    port = service.get("port", 443)
    if not 1 <= port <= 65535:
        found.append(invalid(path / "port", port, "port is not valid: must be between 1 and 65535, inclusive"))
    where = service.get("path")
    if where in (None, "", "/"):
        return found
    if where == "//":
        return [*found, invalid(path / "path", where, "segment[0] may not be empty")]
    if not where.startswith("/"):
        found.append(invalid(path / "path", where, "must start with a '/'"))
    for i, step in enumerate(where[1:].removesuffix("/").split("/")):
        problem = names.subdomain(step) if step else "may not be empty"
        if problem:
            found.append(invalid(path / "path", where, f"segment[{i}]{': ' if step else ' '}{problem}"))
    return found


def _versions(versions: Sequence[str], path: Path) -> list[FieldError]:
    if not versions:
        return [required(path, f"must specify one of {', '.join(VERSIONS)}")]
    found: list[FieldError] = []
    for i, version in enumerate(versions):
        if version in versions[:i]:
            found.append(invalid(path.at(i), version, "duplicate version"))
        elif problem := names.label_1035(version):
            found.append(invalid(path.at(i), version, problem))
    if not set(versions) & set(VERSIONS):
        found.append(invalid(path, list(versions), f"must include at least one of {', '.join(VERSIONS)}"))
    return found


def check_rule(rule: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with a rule of a webhook or policy."""
    operations = rule.get("operations") or []
    found = [] if operations else [required(path / "operations")]
    if len(operations) > 1 and "*" in operations:
        found.append(invalid(path / "operations", operations, "if '*' is present, must not specify other operations"))
    found += [not_supported((path / "operations").at(i), o, OPERATIONS) for i, o in enumerate(operations) if o not in OPERATIONS]
    for field, words in (("apiGroups", "API groups"), ("apiVersions", "API versions")):
        values = rule.get(field) or []
        if not values:
            found.append(required(path / field))
        if len(values) > 1 and "*" in values:
            found.append(invalid(path / field, values, f"if '*' is present, must not specify other {words}"))
    found += [required((path / "apiVersions").at(i)) for i, version in enumerate(rule.get("apiVersions") or ()) if not version]
    found += _resources(rule.get("resources") or [], path / "resources")
    if rule.get("scope") is not None and rule["scope"] not in SCOPES:
        found.append(not_supported(path / "scope", rule["scope"], SCOPES))
    return found


def _resources(resources: list[str], path: Path) -> list[FieldError]:
    found = [] if resources else [required(path)]
    below_all: set[str] = set()
    all_below: set[str] = set()
    for i, name in enumerate(resources):
        if not name:
            found.append(required(path.at(i)))
            continue
        plural, slash, below = name.partition("/")
        if not slash:
            continue
        if plural in below_all:
            found.append(invalid(path.at(i), name, f"if '{plural}/*' is present, must not specify {name}"))
        if below in all_below:
            found.append(invalid(path.at(i), name, f"if '*/{below}' is present, must not specify {name}"))
        below_all.update([plural] if below == "*" else [])
        all_below.update([below] if plural == "*" else [])
    if len(resources) > 1 and "*/*" in resources:
        found.append(invalid(path, resources, "if '*/*' is present, must not specify other resources"))
    if "*" in resources and any(name and "/" not in name and name != "*" for name in resources):
        found.append(invalid(path, resources, "if '*' is present, must not specify other resources without subresources"))
    return found


def check_conditions(conditions: Sequence[Object], path: Path, *, params: bool) -> list[FieldError]:
    """Return what is wrong with match conditions."""
    found: list[FieldError] = []
    if len(conditions) > MOST_CONDITIONS:
        text = f"Too many: {len(conditions)}: must have at most {MOST_CONDITIONS} items"
        found.append(FieldError("FieldValueTooMany", path, text))
    seen: set[str] = set()
    for i, condition in enumerate(conditions):
        here, name = path.at(i), condition.get("name") or ""
        expression = (condition.get("expression") or "").strip()
        found += check_expression(expression, here / "expression", "bool", params=params) if expression else [required(here / "expression")]
        if not name:
            found.append(required(here / "name"))
        elif problem := names.label_key(name):
            found.append(invalid(here / "name", name, problem))
        if name and name in seen:
            found.append(duplicate(here / "name", name))
        seen.add(name)
    return found


CREATE = {(GROUP, f"{kind}webhookconfigurations"): _configuration for kind in ("mutating", "validating")}
