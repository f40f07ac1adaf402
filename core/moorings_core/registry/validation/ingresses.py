"""Rules of Ingresses and their classes. Source: upstream's pkg/apis/networking/validation."""

from __future__ import annotations

from collections.abc import Sequence

from moorings_core.ports.objects import Object

from . import ips, names
from .errors import FieldError, Path, forbidden, invalid, not_supported, required, too_long
from .formats import domain_path, named, needed
from .handlers import port as port_number

SPEC = Path("spec")
PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
SCOPES = ("Cluster", "Namespace")
NOT_IN_PATHS, NOT_AT_ENDS = ("//", "/./", "/../", "%2f", "%2F"), ("/..", "/.")
CONTROLLER_MOST = 250
CLASS_ANNOTATION = "kubernetes.io/ingress.class"


def _ingress(obj: Object) -> list[FieldError]:
    spec, given = obj.get("spec") or {}, (obj["metadata"].get("annotations") or {}).get(CLASS_ANNOTATION)
    backend, rules, name = spec.get("defaultBackend"), spec.get("rules"), spec.get("ingressClassName")
    found: list[FieldError] = []
    if backend is None and not rules:
        found.append(invalid(SPEC, rules, "either `defaultBackend` or `rules` must be specified"))
    if backend is not None:
        found += _backend(backend, SPEC / "defaultBackend")
    for i, rule in enumerate(rules or ()):
        found += _rule(rule, (SPEC / "rules").at(i))
    for i, tls in enumerate(spec.get("tls") or ()):
        path = (SPEC / "tls").at(i)
        for j, host in enumerate(tls.get("hosts") or ()):
            found += named(host, (path / "hosts").at(j), _host)
        found += named(tls.get("secretName") or None, path / "secretName", names.subdomain)
    found += named(name, SPEC / "ingressClassName", names.subdomain)
    if given is not None and name is not None and given != name:
        found.append(invalid(Path("annotations") / CLASS_ANNOTATION, given, "must match `ingressClassName` when both are specified"))
    return found


def _host(host: str) -> str:
    return names.wildcard(host) if "*" in host else names.subdomain(host)


def _rule(rule: Object, path: Path) -> list[FieldError]:
    host, http = rule.get("host", ""), rule.get("http")
    found = named(host, path / "host", _no_address) + named(host, path / "host", _host) if host else []
    return found + (_routes(http.get("paths") or (), path / "http" / "paths") if http is not None else [])


def _no_address(host: str) -> str:
    return "must be a DNS name, not an IP address" if ips.is_like(host) else ""


def _routes(routes: Sequence[Object], path: Path) -> list[FieldError]:
    found = [] if routes else [required(path)]
    for i, route in enumerate(routes):
        kind, where = route.get("pathType"), path.at(i)
        if kind is None:
            found.append(required(where / "pathType", "pathType must be specified"))
            continue
        if kind not in PATH_TYPES:
            found.append(not_supported(where / "pathType", kind, PATH_TYPES))
        else:
            found += [invalid(where / "path", route.get("path", ""), text) for text in _path(route.get("path", ""), kind)]
        found += _backend(route.get("backend") or {}, where / "backend")
    return found


def _path(text: str, kind: str) -> list[str]:
    absolute = [] if text.startswith("/") else ["must be an absolute path"]
    if kind == "ImplementationSpecific":
        return absolute if text else []
    wrong = [f"must not contain '{part}'" for part in NOT_IN_PATHS if part in text]
    return absolute + wrong + [f"cannot end with '{part}'" for part in NOT_AT_ENDS if text.endswith(part)]


def _backend(backend: Object, path: Path) -> list[FieldError]:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        return [invalid(path, "", "cannot set both resource and service backends")]
    if resource is not None:
        return _reference(resource, path / "resource")
    if service is None:
        return [invalid(path, "", "resource or service backend is required")]
    port, where = service.get("port") or {}, path / "service" / "port"
    found = needed(service.get("name"), path / "service" / "name", names.label)
    if port.get("name") and port.get("number"):
        return [*found, invalid(path, "", "cannot set both port name & port number")]
    for field in ("name", "number"):
        if port.get(field):
            return found + port_number(port[field], where / field)
    return [*found, required(path, "port name or number is required")]


def _reference(given: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with a reference to an object of any kind."""
    found = named(given.get("apiGroup"), path / "apiGroup", names.subdomain)
    return found + [error for field in ("kind", "name") for error in needed(given.get(field), path / field, names.path_segment)]


def _class(obj: Object) -> list[FieldError]:
    spec, path = obj.get("spec") or {}, SPEC / "controller"
    controller, parameters = spec.get("controller", ""), spec.get("parameters")
    found = [too_long(path, CONTROLLER_MOST)] if len(controller) > CONTROLLER_MOST else []
    found += domain_path(controller, path)
    if parameters is None:
        return found
    where = SPEC / "parameters"
    wrong = _reference(parameters, where)
    declared = [error for error in wrong if error.reason == "FieldValueRequired"]
    return found + [error for error in wrong if error not in declared] + _scope(parameters, where) + declared


def _scope(parameters: Object, path: Path) -> list[FieldError]:
    scope, home = parameters.get("scope"), parameters.get("namespace")
    if scope not in SCOPES:
        return [not_supported(path / "scope", scope, SCOPES)]
    if scope == "Cluster":
        return [] if home is None else [forbidden(path / "namespace", "`parameters.scope` is set to 'Cluster'")]
    if home is None:
        return [required(path / "namespace", "`parameters.scope` is set to 'Namespace'")]
    return named(home, path / "namespace", names.label)


def _class_update(new: Object, old: Object) -> list[FieldError]:
    after, before = ((o.get("spec") or {}).get("controller", "") for o in (new, old))
    return [] if after == before else [invalid(SPEC / "controller", after, "field is immutable")]


GROUP = "networking.k8s.io"
CREATE = {(GROUP, "ingresses"): _ingress, (GROUP, "ingressclasses"): _class}
UPDATE = {(GROUP, "ingressclasses"): _class_update}
