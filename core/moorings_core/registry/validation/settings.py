"""Rules of ConfigMaps, Secrets, namespaces and priorities."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable

from moorings_core.ports.objects import Object

from . import names
from .errors import FieldError, Path, forbidden, invalid, not_supported, required
from .formats import qualified
from .metadata import STANDARD_FINALIZERS

SIZE_MOST = 1 << 20
CONFIG_DATA = ("data", "binaryData")
SYSTEM_PRIORITY = 1_000_000_000


def _config_map(obj: Object) -> list[FieldError]:
    found, size = _keys(obj, CONFIG_DATA)
    for key in set(obj.get("data") or ()) & set(obj.get("binaryData") or ()):
        found.append(invalid(Path("data").at(key), key, "duplicate of key present in binaryData"))
    return found + _size(size)


def _secret(obj: Object) -> list[FieldError]:
    found, size = _keys(obj, ("data",))
    for key, value in (obj.get("data") or {}).items():
        try:
            base64.b64decode(value or "", validate=True)
        except (binascii.Error, ValueError):
            found.append(invalid(Path("data").at(key), "<secret contents redacted>", "must be base64"))
    if obj.get("type") == "kubernetes.io/tls":
        found += [required(Path("data").at(k)) for k in ("tls.crt", "tls.key") if k not in (obj.get("data") or {})]
    return found + _size(size)


def _keys(obj: Object, fields: tuple[str, ...]) -> tuple[list[FieldError], int]:
    found: list[FieldError] = []
    size = 0
    for field in fields:
        for key, value in (obj.get(field) or {}).items():
            size += len(str(value))
            if complaint := names.config_key(key):
                found.append(invalid(Path(field).at(key), key, complaint))
    return found, size


def _size(size: int) -> list[FieldError]:
    if size <= SIZE_MOST:
        return []
    return [FieldError("FieldValueTooLong", "", f"Too long: may not be more than {SIZE_MOST} bytes")]


def _immutable(*fields: str) -> Callable[[Object, Object], list[FieldError]]:
    def rule(new: Object, old: Object) -> list[FieldError]:
        if not old.get("immutable"):
            return []
        found = [] if new.get("immutable") else [forbidden("immutable", "field is immutable when `immutable` is set")]
        return found + [
            forbidden(field, "field is immutable when `immutable` is set") for field in fields if new.get(field) != old.get(field)
        ]

    return rule


def _secret_update(new: Object, old: Object) -> list[FieldError]:
    fixed = [] if new.get("type") == old.get("type") else [invalid("type", new.get("type"), "field is immutable")]
    return fixed + _immutable_secret(new, old)


SYSTEM_CLASSES = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}
PREEMPTION = ("PreemptLowerPriority", "Never")


def _priority(obj: Object) -> list[FieldError]:
    name, value, policy = obj["metadata"].get("name", ""), obj.get("value", 0), obj.get("preemptionPolicy")
    found: list[FieldError] = []
    if name.startswith("system-") and (complaint := _no_system_class(name, value, default=bool(obj.get("globalDefault")))):
        text = f"priority class names with 'system-' prefix are reserved for system use only. error: {complaint}"
        found.append(forbidden("metadata.name", text))
    if not name.startswith("system-") and value > SYSTEM_PRIORITY:
        found.append(forbidden("value", f"maximum allowed value of a user defined priority is {SYSTEM_PRIORITY}"))
    if policy == "":
        found.append(required("preemptionPolicy"))
    elif policy not in (None, *PREEMPTION):
        found.append(not_supported("preemptionPolicy", policy, PREEMPTION))
    return found


def _no_system_class(name: str, value: int, *, default: bool) -> str:
    """Return why a class is none of the system's, or ""."""
    if name not in SYSTEM_CLASSES:
        return f"{name} is not a known system priority class"
    if value != SYSTEM_CLASSES[name]:
        return f"value of {name} PriorityClass must be {SYSTEM_CLASSES[name]}"
    return f"globalDefault of {name} PriorityClass must be false" if default else ""


def _namespace(obj: Object) -> list[FieldError]:
    path = Path("spec") / "finalizers"
    found: list[FieldError] = []
    for finalizer in (obj.get("spec") or {}).get("finalizers") or ():
        found += qualified(finalizer, path)
        if "/" not in finalizer and finalizer not in STANDARD_FINALIZERS:
            found.append(invalid(path, finalizer, "name is neither a standard finalizer name nor is it fully qualified"))
    return found


def _priority_update(new: Object, old: Object) -> list[FieldError]:
    found = [forbidden("value", "may not be changed in an update.")] if new.get("value") != old.get("value") else []
    policy = new.get("preemptionPolicy")
    return found if policy == old.get("preemptionPolicy") else [*found, invalid("preemptionPolicy", policy, "field is immutable")]


def _namespace_status(new: Object, old: Object) -> list[FieldError]:
    phase, ending = (new.get("status") or {}).get("phase", ""), "deletionTimestamp" in new["metadata"]
    if phase == ("Terminating" if ending else "Active"):
        return []
    text = (
        "may only be 'Terminating' if `deletionTimestamp` is not empty"
        if ending
        else "may only be 'Active' if `deletionTimestamp` is empty"
    )
    return [invalid("status.Phase", phase, text)]


_immutable_secret = _immutable("data")
CREATE = {
    ("", "configmaps"): _config_map,
    ("", "secrets"): _secret,
    ("", "namespaces"): _namespace,
    ("scheduling.k8s.io", "priorityclasses"): _priority,
}
UPDATE = {
    ("", "configmaps"): _immutable(*CONFIG_DATA),
    ("", "secrets"): _secret_update,
    ("scheduling.k8s.io", "priorityclasses"): _priority_update,
}
STATUS = {("", "namespaces"): _namespace_status}
