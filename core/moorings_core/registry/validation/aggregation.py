"""Rules of APIServices. Source: kube-aggregator pkg/apis/apiregistration/validation."""

from __future__ import annotations

from moorings_core.ports.objects import Object

from . import names
from .errors import FieldError, Path, invalid, required

SPEC = Path("spec")
KIND = ("apiregistration.k8s.io", "apiservices")


def _service(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    group, version, name = spec.get("group", ""), spec.get("version", ""), obj["metadata"].get("name", "")
    found: list[FieldError] = []
    if name and name != f"{version}.{group}":
        found.append(invalid("metadata.name", name, f'must be `spec.version+"."+spec.group`: "{version}.{group}"'))
    if not group and version != "v1":
        found.append(required(SPEC / "group", "only v1 may have an empty group and it better be legacy kube"))
    if group and (complaint := names.subdomain(group)):
        found.append(invalid(SPEC / "group", group, complaint))
    if complaint := names.label_1035(version):
        found.append(invalid(SPEC / "version", version, complaint))
    least, priority = spec.get("groupPriorityMinimum", 0), spec.get("versionPriority", 0)
    if not 0 < least <= 20000:
        found.append(invalid(SPEC / "groupPriorityMinimum", least, "must be positive and less than 20000"))
    if not 0 < priority <= 1000:
        found.append(invalid(SPEC / "versionPriority", priority, "must be positive and less than 1000"))
    return found + _reference(spec)


def _reference(spec: Object) -> list[FieldError]:
    service, bundle, anyone = spec.get("service"), spec.get("caBundle", ""), bool(spec.get("insecureSkipTLSVerify"))
    if service is None:
        found = [invalid(SPEC / "caBundle", f"{len(bundle)} bytes", "local APIServices may not have a caBundle")] if bundle else []
        if anyone:
            found.append(invalid(SPEC / "insecureSkipTLSVerify", True, "local APIServices may not have insecureSkipTLSVerify"))
        return found
    found = [required(SPEC / "service" / field) for field in ("namespace", "name") if not service.get(field)]
    if not 0 < service.get("port", 443) < 65536:
        detail = "port is not valid: must be between 1 and 65535, inclusive"
        found.append(invalid(SPEC / "service" / "port", service["port"], detail))
    if bundle and anyone:
        found.append(invalid(SPEC / "insecureSkipTLSVerify", True, "may not be true if caBundle is present"))
    return found


CREATE = {KIND: _service}
