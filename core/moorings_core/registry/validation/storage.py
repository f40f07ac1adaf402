"""Rules of volumes, claims and classes."""

from __future__ import annotations

from moorings_core.ports.objects import Object
from moorings_core.registry.quantity import compare, parse

from .errors import FieldError, Path, forbidden, invalid, not_supported, required
from .pods import host_path

SPEC = Path("spec")
MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
POLICIES = ("Delete", "Recycle", "Retain")
BINDING = ("Immediate", "WaitForFirstConsumer")
NOT_SOURCES = {
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
}


def _claim(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    found = _modes(spec)
    asked = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    where = (SPEC / "resources").at("storage")
    if asked is None:
        return [*found, required(where)]
    return found + positive(asked, where)


def positive(amount: object, where: Path) -> list[FieldError]:
    """Return whether an amount is no quantity, or not more than nothing."""
    try:
        good = parse(str(amount)) > 0
    except ValueError as error:
        return [invalid(where, str(amount), str(error))]
    return [] if good else [invalid(where, str(amount), "must be greater than zero")]


def _claim_update(new: Object, old: Object) -> list[FieldError]:
    bound = (old.get("status") or {}).get("phase") == "Bound"
    free = {"volumeName", "volumeAttributesClassName", *(("resources",) if bound else ())}
    before = {k: v for k, v in old["spec"].items() if k not in free}
    after = {k: v for k, v in new["spec"].items() if k not in free}
    if old["spec"].get("storageClassName") is None:
        after.pop("storageClassName", None)
    if before != after or (old["spec"].get("volumeName") and new["spec"].get("volumeName") != old["spec"]["volumeName"]):
        return [
            forbidden(SPEC, "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims")
        ]
    return _shrunk(new, old)


def _shrunk(new: Object, old: Object) -> list[FieldError]:
    before, after = (o["spec"].get("resources", {}).get("requests", {}).get("storage") for o in (old, new))
    if before and after and compare(after, before) < 0:
        return [forbidden(SPEC / "resources" / "requests" / "storage", "field can not be less than status.capacity")]
    return []


def _volume(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    found = _modes(spec)
    capacity = (spec.get("capacity") or {}).get("storage")
    found += [required(SPEC / "capacity")] if capacity is None else positive(capacity, (SPEC / "capacity").at("storage"))
    sources = [k for k, v in spec.items() if k not in NOT_SOURCES and v is not None]
    if not sources:
        found.append(required(SPEC, "must specify a volume type"))
    elif len(sources) > 1:
        found.append(forbidden(SPEC / sources[1], "may not specify more than 1 volume type"))
    if spec.get("hostPath") is not None:
        found += host_path(spec["hostPath"], SPEC / "hostPath")
    if spec.get("persistentVolumeReclaimPolicy") not in POLICIES:
        found.append(not_supported(SPEC / "persistentVolumeReclaimPolicy", spec.get("persistentVolumeReclaimPolicy", ""), POLICIES))
    return found


def _volume_update(new: Object, old: Object) -> list[FieldError]:
    source = next((k for k in old["spec"] if k not in NOT_SOURCES), None)
    if source and new["spec"].get(source) != old["spec"][source]:
        return [forbidden(SPEC / "persistentvolumesource", "spec.persistentvolumesource is immutable after creation")]
    return []


def _class(obj: Object) -> list[FieldError]:
    found = [] if obj.get("provisioner") else [required(Path("provisioner"))]
    if obj.get("reclaimPolicy") not in POLICIES:
        found.append(not_supported(Path("reclaimPolicy"), obj.get("reclaimPolicy", ""), POLICIES))
    if obj.get("volumeBindingMode") not in BINDING:
        found.append(not_supported(Path("volumeBindingMode"), obj.get("volumeBindingMode", ""), BINDING))
    return found


def _class_update(new: Object, old: Object) -> list[FieldError]:
    return [
        invalid(field, None, "field is immutable")
        for field in ("provisioner", "parameters", "reclaimPolicy", "volumeBindingMode")
        if new.get(field) != old.get(field)
    ]


def _modes(spec: Object) -> list[FieldError]:
    modes = spec.get("accessModes") or ()
    if not modes:
        return [required(SPEC / "accessModes", "at least 1 access mode is required")]
    found = [not_supported(SPEC / "accessModes", m, MODES) for m in modes if m not in MODES]
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        found.append(forbidden(SPEC / "accessModes", "may not use ReadWriteOncePod with other access modes"))
    if spec.get("volumeMode") not in (None, "Block", "Filesystem"):
        found.append(not_supported(SPEC / "volumeMode", spec["volumeMode"], ("Block", "Filesystem")))
    return found


CREATE = {
    ("", "persistentvolumeclaims"): _claim,
    ("", "persistentvolumes"): _volume,
    ("storage.k8s.io", "storageclasses"): _class,
}
UPDATE = {
    ("", "persistentvolumeclaims"): _claim_update,
    ("", "persistentvolumes"): _volume_update,
    ("storage.k8s.io", "storageclasses"): _class_update,
}
