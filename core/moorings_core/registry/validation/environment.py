"""Rules of a container's environment, and of references to fields of its pod. Source: upstream's ValidateEnv, ValidateEnvFrom."""

from __future__ import annotations

from collections.abc import Sequence

from moorings_core.ports.objects import Object
from moorings_core.registry.quantity import parse

from . import contexts, names
from .errors import FieldError, Path, invalid, not_supported, required
from .formats import named, qualified

FILE_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
ENVIRONMENT_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
OTHER_FIELDS = ("spec.restartPolicy", "spec.schedulerName", "status.phase", "spec.host")
AMOUNTS = tuple(f"{kind}.{name}" for kind in ("limits", "requests") for name in ("cpu", "ephemeral-storage", "memory"))
HUGE_PAGES = ("limits.hugepages-", "requests.hugepages-")
BYTES = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")
DIVISORS = {
    "cpu": (("1m", "1"), "only divisor's values 1m and 1 are supported with the cpu resource"),
    "memory": (BYTES, f"only divisor's values {', '.join(BYTES)} are supported with the memory resource"),
    "ephemeral-storage": (BYTES, f"only divisor's values {', '.join(BYTES)} are supported with the local ephemeral storage resource"),
    "hugepages": (BYTES, f"only divisor's values {', '.join(BYTES)} are supported with the hugepages resource"),
}
NONE_OF = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"


def variables(given: Sequence[Object], path: Path) -> list[FieldError]:
    """Return what is wrong with the variables of an environment."""
    found: list[FieldError] = []
    for i, variable in enumerate(given):
        if not variable.get("name"):
            found.append(required(path.at(i) / "name"))
        elif complaint := names.variable(variable["name"]):
            found.append(invalid(path.at(i) / "name", variable["name"], complaint))
        if variable.get("valueFrom") is not None:
            found += _from(variable["valueFrom"], path.at(i) / "valueFrom", alone=not variable.get("value"))
    return found


def _from(source: Object, path: Path, *, alone: bool) -> list[FieldError]:
    there = [field for field in SOURCES if source.get(field) is not None]
    found = [error for field in there for error in SOURCES[field](source[field], path / field)]
    if not there:
        return [invalid(path, "", NONE_OF)]
    if not alone:
        return [*found, invalid(path, "", "may not be specified when `value` is not empty")]
    return found if len(there) == 1 else [*found, invalid(path, "", "may not have more than one field specified at a time")]


def sources(given: Sequence[Object], path: Path) -> list[FieldError]:
    """Return what is wrong with the objects that make variables of all their keys."""
    found: list[FieldError] = []
    for i, source in enumerate(given):
        if source.get("prefix") and (complaint := names.variable(source["prefix"])):
            found.append(invalid(path.at(i) / "prefix", source["prefix"], complaint))
        there = [f for f in ("configMapRef", "secretRef") if source.get(f) is not None]
        for kind in there:
            name, where = source[kind].get("name", ""), path.at(i) / kind / "name"
            found += named(name, where, names.subdomain) if name else [required(where)]
        if not there:
            found.append(invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(there) > 1:
            found.append(invalid(path, "", "may not have more than one field specified at a time"))
    return found


def field_ref(reference: Object, allowed: Sequence[str], path: Path) -> list[FieldError]:
    """Return what is wrong with a reference to a field of the pod."""
    version, name, where = reference.get("apiVersion", "v1"), reference.get("fieldPath", ""), path / "fieldPath"
    if not name:
        return [required(where)]
    base, bracket, rest = name.partition("['")
    subscript = rest.removesuffix("']") if bracket and name.endswith("']") else None
    if complaint := _unknown(version, name, base if subscript is not None else None):
        return [invalid(where, name, f"error converting fieldPath: {complaint}")]
    if subscript is not None:
        return qualified(subscript.lower() if base == "metadata.annotations" else subscript, path)
    known = "spec.nodeName" if name == "spec.host" else name
    return [] if known in allowed else [not_supported(where, known, allowed)]


def _unknown(version: str, name: str, base: str | None) -> str:
    if version != "v1":
        return f"unsupported pod version: {version}"
    if base is not None:
        return "" if base in ("metadata.annotations", "metadata.labels") else f"field label does not support subscript: {name}"
    return "" if name in {*FILE_FIELDS, *ENVIRONMENT_FIELDS, *OTHER_FIELDS} else f"field label not supported: {name}"


def amount_ref(reference: Object, path: Path, *, volume: bool = False) -> list[FieldError]:
    """Return what is wrong with a reference to a request or limit of a container; volume: it must say of which."""
    name, found = reference.get("resource", ""), list[FieldError]()
    if volume and not reference.get("containerName"):
        found.append(required(path / "containerName"))
    elif not name:
        found.append(required(path / "resource"))
    elif name not in AMOUNTS and not name.startswith(HUGE_PAGES):
        found.append(not_supported(path / "resource", name, AMOUNTS))
    what = "hugepages" if name.startswith(HUGE_PAGES) else name.partition(".")[2]
    known, text = DIVISORS.get(what, ((), ""))
    divisor = str(reference.get("divisor", "0"))
    if known and parse(divisor) != 0 and divisor not in known:
        found.append(invalid(path / "divisor", name, text))
    return found


def _amount(reference: Object, path: Path) -> list[FieldError]:
    return amount_ref(reference, path)


def _field(reference: Object, path: Path) -> list[FieldError]:
    return field_ref(reference, ENVIRONMENT_FIELDS, path)


def _key(reference: Object, path: Path) -> list[FieldError]:
    found, key = named(reference.get("name", ""), path / "name", names.subdomain), reference.get("key", "")
    return found + (named(key, path / "key", names.config_key) if key else [required(path / "key")])


def _file(reference: Object, path: Path) -> list[FieldError]:
    key, volume, file = (reference.get(field, "") for field in ("key", "volumeName", "path"))
    found = named(key, path / "key", names.variable) if key else [required(path / "key")]
    found += named(volume, path / "volumeName", names.label) if volume else [required(path / "volumeName")]
    return found + (contexts.no_backsteps(file, path / "path") if file else [required(path / "path")])


SOURCES = {"fieldRef": _field, "resourceFieldRef": _amount, "configMapKeyRef": _key, "secretKeyRef": _key, "fileKeyRef": _file}


def file_volumes(containers: Sequence[tuple[Object, Path]], volumes: Sequence[Object]) -> list[FieldError]:
    """Return which variables are read from a volume that is not there, or no emptyDir."""
    known = {volume.get("name", ""): volume for volume in volumes}
    found: list[FieldError] = []
    for container, path in containers:
        for i, variable in enumerate(container.get("env") or ()):
            reference = (variable.get("valueFrom") or {}).get("fileKeyRef")
            if reference is None:
                continue
            name, where = reference.get("volumeName", ""), (path / "env").at(i) / "valueFrom" / "fileKeyRef" / "volumeName"
            if name not in known:
                found.append(FieldError("FieldValueNotFound", where, f'Not found: "{name}"'))
            elif known[name].get("emptyDir") is None:
                found.append(invalid(where, name, "referenced volume must be of type emptyDir"))
    return found
