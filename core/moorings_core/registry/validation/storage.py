"""Rules of volumes, claims, classes and attachments. Source: upstream's pkg/apis/core/validation and pkg/apis/storage/validation."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence

from moorings_core.ports.objects import Object
from moorings_core.registry.quantity import compare, parse

from . import declared, names
from .errors import FieldError, Path, duplicate, forbidden, invalid, not_supported, required, too_long
from .formats import driver_name, named, qualified
from .placement import label_selector, node_selector
from .resource_names import amounts, is_native
from .volume_sources import SOURCES, source

SPEC = Path("spec")
MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
POLICIES = ("Delete", "Recycle", "Retain")
CLASS_POLICIES = ("Delete", "Retain")
BINDING = ("Immediate", "WaitForFirstConsumer")
VOLUME_MODES = ("Block", "Filesystem")
INLINE = "in the context of inline volumes"
IMMUTABLE = "field is immutable"
MOST_PARAMETERS, MOST_PARAMETER_BYTES = 512, 256 * 1024


def _claim(obj: Object) -> list[FieldError]:
    return claim_spec(obj.get("spec") or {}, SPEC)


def claim_spec(spec: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with what a claim asks for."""
    modes = spec.get("accessModes") or ()
    found = [] if modes else [required(path / "accessModes", "at least 1 access mode is required")]
    found += label_selector(spec.get("selector"), path / "selector") + _modes(modes, path)
    asked, where = ((spec.get("resources") or {}).get("requests") or {}).get("storage"), (path / "resources").at("storage")
    found += [required(where)] if asked is None else positive(asked, where)
    found += _class_name(spec.get("storageClassName"), path / "storageClassName")
    if spec.get("volumeMode") not in (None, *VOLUME_MODES):
        found.append(not_supported(path / "volumeMode", spec["volumeMode"], VOLUME_MODES))
    found += _sources(spec, path)
    return found + _class_name(spec.get("volumeAttributesClassName"), path / "volumeAttributesClassName")


def _class_name(name: str | None, path: Path) -> list[FieldError]:
    return named(name, path, names.subdomain) if name else []


def _sources(spec: Object, path: Path) -> list[FieldError]:
    old, new = spec.get("dataSource"), spec.get("dataSourceRef")
    found = [error for field in ("dataSource", "dataSourceRef") for error in _data_source(spec.get(field), path / field)]
    if old is None or new is None:
        return found
    if new.get("namespace"):
        found += named(new["namespace"], path / "dataSourceRef" / "namespace", names.label)
        found.append(invalid(path, {}, "may not be specified when dataSourceRef.namespace is specified"))
    elif any(old.get(field) != new.get(field) for field in ("apiGroup", "kind", "name")):
        found.append(invalid(path, {}, "must match dataSourceRef"))
    return found


def _data_source(given: Object | None, path: Path) -> list[FieldError]:
    if given is None:
        return []
    group, kind = given.get("apiGroup") or "", given.get("kind") or ""
    found = [required(path / field) for field in ("name", "kind") if not given.get(field)]
    if not group and kind != "PersistentVolumeClaim":
        found.append(invalid(path, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup"))
    return found + (named(group, path / "apiGroup", names.subdomain) if group else [])


def positive(amount: object, where: Path) -> list[FieldError]:
    """Return whether an amount is no quantity, or not more than nothing."""
    try:
        good = parse(str(amount)) > 0
    except ValueError as error:
        return [invalid(where, str(amount), str(error))]
    return [] if good else [invalid(where, str(amount), "must be greater than zero")]


FIXED = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"


def _claim_update(new: Object, old: Object) -> list[FieldError]:
    after, before, status = new["spec"], old["spec"], old.get("status") or {}
    bound = status.get("phase") == "Bound"
    free = {"volumeAttributesClassName", "resources"} if bound else set[str]()
    if not before.get("volumeName"):
        free.add("volumeName")
    if before.get("storageClassName") is None and after.get("storageClassName") is not None:
        free.add("storageClassName")
    changed = sorted(field for field in {*before, *after} - free if before.get(field) != after.get(field))
    if bound and _fixed_resources(before) != _fixed_resources(after):
        changed.append("resources")
    found = [forbidden(SPEC, f"{FIXED}\nchanged: {', '.join(changed)}")] if changed else []
    found += _shrunk(after, before, status)
    if before.get("volumeMode") != after.get("volumeMode"):
        found.append(invalid("volumeMode", after.get("volumeMode"), IMMUTABLE))
    return found + _class_kept(after, before, status)


def _fixed_resources(spec: Object) -> Object:
    """Return what of the resources of a bound claim stays: all but how much storage."""
    given = spec.get("resources") or {}
    return {**given, "requests": {k: v for k, v in (given.get("requests") or {}).items() if k != "storage"}}


def _shrunk(after: Object, before: Object, status: Object) -> list[FieldError]:
    was, now = (((spec.get("resources") or {}).get("requests") or {}).get("storage") or "0" for spec in (before, after))
    held = (status.get("capacity") or {}).get("storage") or "0"
    if compare(now, was) >= 0 or compare(now, held) > 0:
        return []
    return [forbidden(SPEC / "resources" / "requests" / "storage", "field can not be less than status.capacity")]


def _class_kept(after: Object, before: Object, status: Object) -> list[FieldError]:
    name, where = after.get("volumeAttributesClassName"), SPEC / "volumeAttributesClassName"
    if name == before.get("volumeAttributesClassName") or status.get("currentVolumeAttributesClassName") is None or name:
        return []
    what = "nil" if name is None else "empty string"
    return [forbidden(where, f"update to {what} is forbidden when status.currentVolumeAttributesClassName is not nil")]


RESIZES = (
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
)


def _claim_status(new: Object, old: Object) -> list[FieldError]:
    status, path = new.get("status") or {}, Path("status")
    found: list[FieldError] = []
    for name, state in (status.get("allocatedResourceStatuses") or {}).items():
        where = path / "allocatedResourceStatuses"
        found += _grown(name, where)
        if state not in RESIZES:
            found.append(not_supported(where, name, RESIZES))
    for name, amount in (status.get("allocatedResources") or {}).items():
        where = path / "allocatedResources"
        found += _grown(name, where) or amounts({name: amount}, where)
    return found


def _grown(name: str, path: Path) -> list[FieldError]:
    """Return whether a claim has no such resource."""
    found = qualified(name, path)
    return [not_supported(path, name, ("storage",))] if not found and is_native(name) and name != "storage" else found


def _volume(obj: Object) -> list[FieldError]:
    return volume_spec(obj.get("spec") or {}, SPEC, obj["metadata"].get("name", ""))


def volume_spec(spec: Object, path: Path, name: str) -> list[FieldError]:
    """Return what is wrong with what a PersistentVolume is; name is its own."""
    modes, capacity, affinity = spec.get("accessModes") or (), spec.get("capacity"), spec.get("nodeAffinity")
    found = ([] if modes else [required(path / "accessModes")]) + _modes(modes, path) + _capacity(capacity, path / "capacity")
    if spec.get("persistentVolumeReclaimPolicy", "") not in ("", *POLICIES):
        found.append(not_supported(path / "persistentVolumeReclaimPolicy", spec["persistentVolumeReclaimPolicy"], POLICIES))
    if affinity is not None:
        found += _affinity(affinity, path / "nodeAffinity")
    found += source(spec, path, name, bound=affinity is not None) + _recycled_root(spec, path)
    found += _class_name(spec.get("storageClassName"), path / "storageClassName")
    if spec.get("volumeMode") not in (None, *VOLUME_MODES):
        found.append(not_supported(path / "volumeMode", spec["volumeMode"], VOLUME_MODES))
    return found + _attributes(spec, path)


def _inline(spec: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with a volume that an attachment itself describes."""
    found = [forbidden(path / field, f"may not be specified {INLINE}") for field in ("claimRef", "capacity") if spec.get(field)]
    if spec.get("csi") is None:
        found.append(required(path / "csi", f"has to be specified {INLINE}"))
    modes = spec.get("accessModes") or ()
    found += ([] if modes else [required(path / "accessModes")]) + _modes(modes, path)
    if spec.get("persistentVolumeReclaimPolicy", "") not in ("", "Retain"):
        found.append(forbidden(path / "persistentVolumeReclaimPolicy", f"may only be Retain {INLINE}"))
    if spec.get("nodeAffinity") is not None:
        found.append(forbidden(path / "nodeAffinity", f"may not be specified {INLINE}"))
    found += source(spec, path, "", bound=False)
    if spec.get("storageClassName"):
        found.append(forbidden(path / "storageClassName", f"may not be specified {INLINE}"))
    if spec.get("volumeMode") not in (None, "Filesystem"):
        found.append(forbidden(path / "volumeMode", f"may not specify volumeMode other than Filesystem {INLINE}"))
    return found


def _capacity(capacity: Object | None, path: Path) -> list[FieldError]:
    found = [] if capacity else [required(path)]
    if set(capacity or ()) != {"storage"}:
        found.append(not_supported(path, dict(sorted(capacity.items())) if capacity else None, ("storage",)))
    return found + [error for name, value in (capacity or {}).items() for error in positive(value, path.at(name))]


def _affinity(affinity: Object, path: Path) -> list[FieldError]:
    if affinity.get("required") is None:
        return [required(path / "required", "must specify required node constraints")]
    return node_selector(affinity["required"], path / "required")


def _recycled_root(spec: Object, path: Path) -> list[FieldError]:
    host = (spec.get("hostPath") or {}).get("path") or ""
    if posixpath.normpath(host or ".") not in ("/", "//") or spec.get("persistentVolumeReclaimPolicy") != "Recycle":
        return []
    return [forbidden(path / "persistentVolumeReclaimPolicy", "may not be 'recycle' for a hostPath mount of '/'")]


def _attributes(spec: Object, path: Path) -> list[FieldError]:
    name = spec.get("volumeAttributesClassName")
    if name is None:
        return []
    where = path / "volumeAttributesClassName"
    found = named(name, where, names.subdomain) if name else [required(where, "an empty string is disallowed")]
    if spec.get("csi") is None:
        found.append(required(path / "csi", "has to be specified when using volumeAttributesClassName"))
    return found


def _volume_update(new: Object, old: Object) -> list[FieldError]:
    before = {field: old["spec"].get(field) for field in SOURCES}
    after = {field: new["spec"].get(field) for field in SOURCES}
    found: list[FieldError] = []
    if _without_expand_secret(after, before) != before:
        shown = ", ".join(field for field in SOURCES if after[field] != before[field])
        found.append(
            forbidden(SPEC / "persistentvolumesource", f"spec.persistentvolumesource is immutable after creation\nchanged: {shown}")
        )
    if new["spec"].get("volumeMode") != old["spec"].get("volumeMode"):
        found.append(invalid("volumeMode", new["spec"].get("volumeMode"), IMMUTABLE))
    if old["spec"].get("nodeAffinity") is not None and new["spec"].get("nodeAffinity") != old["spec"]["nodeAffinity"]:
        shown = new["spec"].get("nodeAffinity")
        found.append(invalid("nodeAffinity", shown, IMMUTABLE))
    if old["spec"].get("volumeAttributesClassName") is not None and new["spec"].get("volumeAttributesClassName") is None:
        found.append(forbidden(SPEC / "volumeAttributesClassName", "update from non-nil value to nil is forbidden"))
    return found


def _without_expand_secret(after: Object, before: Object) -> Object:
    """A secret for growing may be added."""
    if not after.get("csi") or not before.get("csi") or before["csi"].get("controllerExpandSecretRef") is not None:
        return after
    return {**after, "csi": {k: v for k, v in after["csi"].items() if k != "controllerExpandSecretRef"}}


def _class(obj: Object) -> list[FieldError]:
    provisioner, policy, binding = (obj.get(field) or "" for field in ("provisioner", "reclaimPolicy", "volumeBindingMode"))
    found = (_provisioner(provisioner, Path("provisioner")) if provisioner else []) + _parameters(obj.get("parameters") or {})
    if policy and policy not in CLASS_POLICIES:
        found.append(not_supported(Path("reclaimPolicy"), policy, CLASS_POLICIES))
    if binding not in BINDING:
        found.append(not_supported(Path("volumeBindingMode"), binding, BINDING))
    found += _topologies(obj.get("allowedTopologies") or ())
    return found if provisioner else [*found, *declared.late([required(Path("provisioner"))])]


def _provisioner(name: str, path: Path) -> list[FieldError]:
    return qualified(name.lower(), path) if name else [required(path)]


def _parameters(given: Object) -> list[FieldError]:
    path = Path("parameters")
    if len(given) > MOST_PARAMETERS:
        return [too_long(path, MOST_PARAMETERS)]
    found = [invalid(path, key, "field can not be empty.") for key in given if not key]
    if sum(len(key.encode()) + len(value.encode()) for key, value in given.items()) > MOST_PARAMETER_BYTES:
        found.append(too_long(path, MOST_PARAMETER_BYTES))
    return found


def _topologies(terms: Sequence[Object]) -> list[FieldError]:
    found: list[FieldError] = []
    seen: list[dict[str, set[str]]] = []
    for i, term in enumerate(terms):
        path, keys = Path("allowedTopologies").at(i), dict[str, set[str]]()
        for j, expression in enumerate(term.get("matchLabelExpressions") or ()):
            where, values, key = (path / "matchLabelExpressions").at(j), expression.get("values") or (), expression.get("key", "")
            found += [] if values else [required(where / "values")]
            found += [duplicate((where / "values").at(k), value) for k, value in enumerate(values) if value in values[:k]]
            found += qualified(key, where / "key")
            if key in keys:
                found.append(duplicate(where / "key", key))
            keys[key] = set(values)
        found += [duplicate(path / "matchLabelExpressions", "") for earlier in seen if earlier == keys]
        seen.append(keys)
    return found


def _attributes_class(obj: Object) -> list[FieldError]:
    found = _provisioner(obj.get("driverName") or "", Path("driverName")) + _parameters(obj.get("parameters") or {})
    return found if obj.get("parameters") else [*found, required(Path("parameters"), "must contain at least one key/value pair")]


def _attributes_class_update(new: Object, old: Object) -> list[FieldError]:
    return [
        forbidden(field, f"updates to {field} are forbidden.") for field in ("driverName", "parameters") if new.get(field) != old.get(field)
    ]


def _attachment(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    given, where = spec.get("source") or {}, SPEC / "source"
    volume, inline = given.get("persistentVolumeName"), given.get("inlineVolumeSpec")
    one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
    found: list[FieldError] = []
    if volume is None and inline is None:
        found.append(required(where, one))
    elif volume is not None and inline is not None:
        found.append(forbidden(where, one))
    elif volume == "":
        found.append(required(where / "persistentVolumeName", "must specify non empty persistentVolumeName"))
    elif inline is not None:
        found += _inline(inline, where / "inlineVolumeSpec")
    found += named(spec.get("nodeName") or "", SPEC / "nodeName", names.subdomain)
    found += named(volume, where / "persistentVolumeName", names.subdomain)
    return found + declared.late(declared.driver_name(spec.get("attacher") or "", SPEC / "attacher"))


def _attachment_update(new: Object, old: Object) -> list[FieldError]:
    if new.get("spec") == old.get("spec"):
        return _attachment(new)
    # a part of what may not change is not looked at by what is declared on it
    found = [error for error in _attachment(new) if not error.late]
    return driver_name((new.get("spec") or {}).get("attacher") or "", SPEC / "attacher") + found + _immutable("spec")(new, old)


def _immutable(*fields: str) -> Callable[[Object, Object], list[FieldError]]:
    def rule(new: Object, old: Object) -> list[FieldError]:
        return declared.late(invalid(field, None, IMMUTABLE) for field in fields if new.get(field) != old.get(field))

    return rule


def _modes(modes: Sequence[str], path: Path) -> list[FieldError]:
    found = [not_supported(path / "accessModes", m, MODES) for m in modes if m not in MODES]
    if "ReadWriteOncePod" in modes and any(m in MODES and m != "ReadWriteOncePod" for m in modes):
        found.append(forbidden(path / "accessModes", "may not use ReadWriteOncePod with other access modes"))
    return found


_STORAGE = "storage.k8s.io"
CREATE = {
    ("", "persistentvolumeclaims"): _claim,
    ("", "persistentvolumes"): _volume,
    (_STORAGE, "storageclasses"): _class,
    (_STORAGE, "volumeattributesclasses"): _attributes_class,
    (_STORAGE, "volumeattachments"): _attachment,
}
UPDATE = {
    ("", "persistentvolumeclaims"): _claim_update,
    ("", "persistentvolumes"): _volume_update,
    (_STORAGE, "storageclasses"): _immutable("provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"),
    (_STORAGE, "volumeattributesclasses"): _attributes_class_update,
    (_STORAGE, "volumeattachments"): _attachment_update,
}
STATUS = {("", "persistentvolumeclaims"): _claim_status}
