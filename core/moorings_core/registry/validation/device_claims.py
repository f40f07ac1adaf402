"""Rules of ResourceClaims, their templates, and DeviceClasses. Source: upstream's pkg/apis/resource/validation and types."""

from __future__ import annotations

from collections.abc import Sequence

from moorings_core.ports.objects import Object

from . import declared, devices, names
from .errors import FieldError, Path, invalid, not_supported, required
from .formats import named, needed
from .resource_names import is_extended

GROUP, SPEC = "resource.k8s.io", Path("spec")
REQUESTS_MOST, CONSTRAINTS_MOST, ALTERNATIVES_MOST = 32, 32, 8
MODES = ("All", "ExactCount")
ONE_OF = "exactly one of `exactly` or `firstAvailable` is required"
NO_REQUEST = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
NO_ATTRIBUTE = 'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'
IMMUTABLE = "field is immutable"
Names = dict[str, set[str]]


def _claim(obj: Object) -> list[FieldError]:
    return _spec(obj.get("spec") or {}, SPEC)


def _template(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    return devices.template_metadata(spec.get("metadata") or {}, SPEC / "metadata") + _spec(spec.get("spec") or {}, SPEC / "spec")


def _spec(spec: Object, path: Path) -> list[FieldError]:
    claim, where = spec.get("devices") or {}, path / "devices"
    requests, constraints, config = (claim.get(field) or () for field in ("requests", "constraints", "config"))
    known = request_names(claim)
    found: list[FieldError] = []
    if len(requests) <= REQUESTS_MOST:
        found += [e for i, request in enumerate(requests) for e in _request(request, (where / "requests").at(i))]
    if len(constraints) <= CONSTRAINTS_MOST:
        found += [e for i, each in enumerate(constraints) for e in _constraint(each, (where / "constraints").at(i), known)]
    if len(config) <= devices.CONFIG_MOST:
        for i, each in enumerate(config):
            place = (where / "config").at(i)
            found += references(each.get("requests") or (), place / "requests", known) + devices.configuration(each, place)
    return found + declared.late(_declared(claim, where))


def _request(request: Object, path: Path) -> list[FieldError]:
    exactly, alternatives = request.get("exactly"), request.get("firstAvailable") or ()
    found = named(request.get("name", ""), path / "name", names.label)
    if exactly is None and not alternatives:
        return [*found, required(path, ONE_OF)]
    if exactly is not None and alternatives:
        return [*found, invalid(path, None, f"{ONE_OF}, but multiple fields are set")]
    if exactly is not None:
        where = path / "exactly"
        return [*found, *needed(exactly.get("deviceClassName"), where / "deviceClassName", names.subdomain), *_asked(exactly, where)]
    if len(alternatives) <= ALTERNATIVES_MOST:
        for i, each in enumerate(alternatives):
            where = (path / "firstAvailable").at(i)
            found += named(each.get("name", ""), where / "name", names.label) + _asked(each, where)
    return found


def _asked(given: Object, path: Path) -> list[FieldError]:
    mode, count = given.get("allocationMode"), given.get("count") or 0
    found = devices.selectors(given.get("selectors") or (), path / "selectors")
    if mode == "All" and count:
        found.append(invalid(path / "count", count, "must not be specified when allocationMode is 'All'"))
    if mode == "ExactCount" and count <= 0:
        found.append(invalid(path / "count", count, "must be greater than zero"))
    tolerations = enumerate(given.get("tolerations") or ())
    return found + [error for i, each in tolerations for error in devices.toleration(each, (path / "tolerations").at(i))]


def _constraint(given: Object, path: Path, known: Names) -> list[FieldError]:
    found = references(given.get("requests") or (), path / "requests", known)
    if given.get("matchAttribute") is None and given.get("distinctAttribute") is None:
        found.append(required(path, NO_ATTRIBUTE))
    return found


def request_names(claim: Object) -> Names:
    """Return the requests of a claim, each with its alternatives, by name."""
    requests = claim.get("requests") or ()
    return {r.get("name", ""): {s.get("name", "") for s in r.get("firstAvailable") or ()} for r in requests}


def references(given: Sequence[str], path: Path, known: Names, *, listed: bool = True) -> list[FieldError]:
    """Return which names of requests are none; listed: they are in a list, not in a field of one."""
    if len(given) > REQUESTS_MOST:
        return []
    found: list[FieldError] = []
    for i, name in enumerate(given):
        first, *rest = name.split("/")
        where = path.at(i) if listed else path
        if len(rest) > 1:
            found.append(invalid(where, name, NO_REQUEST))
            continue
        found += [error for part in (first, *rest) for error in named(part, where, names.label)]
        if first not in known or (rest and rest[0] not in known[first]):
            found.append(invalid(where, name, NO_REQUEST))
    return found


def _declared(claim: Object, path: Path) -> list[FieldError]:
    """Return what upstream finds by what it declares, after everything else."""
    requests, constraints, config = (claim.get(field) or [] for field in ("requests", "constraints", "config"))
    found = declared.few(path / "requests", requests, REQUESTS_MOST)
    if not found:
        found += declared.unique(path / "requests", [r.get("name", "") for r in requests])
        found += [e for i, request in enumerate(requests) for e in _declared_request(request, (path / "requests").at(i))]
    many = declared.few(path / "constraints", constraints, CONSTRAINTS_MOST)
    found += many
    for i, each in enumerate(constraints if not many else ()):
        where = (path / "constraints").at(i)
        found += _declared_references(each, where)
        for field in ("matchAttribute", "distinctAttribute"):
            if each.get(field) is not None:
                found += devices.full_attribute_name(each[field], where / field)
    return found + _declared_config(config, path / "config")


def _declared_config(config: Sequence[Object], path: Path) -> list[FieldError]:
    if many := declared.few(path, config, devices.CONFIG_MOST):
        return many
    return [
        error
        for i, each in enumerate(config)
        for error in (*_declared_references(each, path.at(i)), *devices.declared_configuration(each, path.at(i)))
    ]


def _declared_references(given: Object, path: Path) -> list[FieldError]:
    references = given.get("requests") or []
    return declared.few(path / "requests", references, REQUESTS_MOST) or declared.unique(path / "requests", references)


def _declared_request(request: Object, path: Path) -> list[FieldError]:
    exactly, alternatives = request.get("exactly"), request.get("firstAvailable") or []
    found = _declared_asked(exactly, path / "exactly") if exactly is not None else []
    many = declared.few(path / "firstAvailable", alternatives, ALTERNATIVES_MOST)
    if many:
        return found + many
    found += declared.unique(path / "firstAvailable", [each.get("name", "") for each in alternatives])
    for i, each in enumerate(alternatives):
        where = (path / "firstAvailable").at(i)
        name = each.get("deviceClassName") or ""
        found += declared.long_name(name, where / "deviceClassName") if name else [required(where / "deviceClassName")]
        found += _declared_asked(each, where)
    return found


def _declared_asked(given: Object, path: Path) -> list[FieldError]:
    found = declared.few(path / "selectors", given.get("selectors"), devices.SELECTORS_MOST)
    mode = given.get("allocationMode") or ""
    if mode and mode not in MODES:
        found.append(not_supported(path / "allocationMode", mode, MODES))
    tolerations = enumerate(given.get("tolerations") or ())
    return found + [error for i, each in tolerations for error in devices.declared_toleration(each, (path / "tolerations").at(i))]


def _class(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    chosen, config, name = spec.get("selectors") or (), spec.get("config") or (), spec.get("extendedResourceName")
    found = devices.selectors(chosen, SPEC / "selectors")
    if len(config) <= devices.CONFIG_MOST:
        found += [error for i, each in enumerate(config) for error in devices.configuration(each, (SPEC / "config").at(i))]
    late = declared.few(SPEC / "selectors", chosen, devices.SELECTORS_MOST)
    late += declared.few(SPEC / "config", config, devices.CONFIG_MOST)
    late += [error for i, each in enumerate(config) for error in devices.declared_configuration(each, (SPEC / "config").at(i))]
    late += _extended(name, SPEC / "extendedResourceName") if name is not None else []
    return found + declared.late(late)


def _extended(name: str, path: Path) -> list[FieldError]:
    if is_extended(name):
        return []
    found: list[FieldError] = []
    if "/" not in name:
        found.append(invalid(path, name, "a name must be a domain-prefixed path, such as 'example.com/my-prop'"))
    elif "kubernetes.io/" in name:
        found.append(invalid(path, name, 'must not have "kubernetes.io/" domain'))
    if name.startswith("requests."):
        found.append(invalid(path, name, 'must not have "requests." prefix'))
    return found + [invalid(path, name, complaint) for complaint in names.label_key_complaints(f"requests.{name}")]


def _claim_update(new: Object, old: Object) -> list[FieldError]:
    return [] if new.get("spec") == old.get("spec") else declared.late([invalid(SPEC, None, IMMUTABLE)])


def _template_update(new: Object, old: Object) -> list[FieldError]:
    return [] if new.get("spec") == old.get("spec") else [invalid(SPEC, new.get("spec"), IMMUTABLE)]


CREATE = {(GROUP, "resourceclaims"): _claim, (GROUP, "resourceclaimtemplates"): _template, (GROUP, "deviceclasses"): _class}
UPDATE = {(GROUP, "resourceclaims"): _claim_update, (GROUP, "resourceclaimtemplates"): _template_update}
