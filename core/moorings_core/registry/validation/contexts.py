"""Rules of security contexts, of pods and of containers. Source: upstream's ValidateSecurityContext, validatePodSpecSecurityContext."""

from __future__ import annotations

import re

from moorings_core.ports.objects import Object

from . import windows
from .errors import FieldError, Path, duplicate, invalid, not_supported, required

INT32_MOST = 2147483647
RANGE = f"must be between 0 and {INT32_MOST}, inclusive"
PROC_MOUNTS = ("Default", "Unmasked")
SECCOMP = ("Localhost", "RuntimeDefault", "Unconfined")
APPARMOR = ("Localhost", "RuntimeDefault", "Unconfined")
CHANGES = ("Always", "OnRootMismatch")
GROUPS = ("Merge", "Strict")
LABELLINGS = ("MountOption", "Recursive")
SYSCTL = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
KERNEL_IPC = ("sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced", "shm", "msgmax", "msgmnb", "msgmni", "msg")
SYSCTL_WORDS = f"must have at most 253 characters and match regex {SYSCTL}"


def of_container(given: Object, path: Path, *, own_users: bool = False) -> list[FieldError]:
    """Return what is wrong with a container's context; own_users: its pod has users of its own."""
    found = _identities(given, path, ("runAsUser", "runAsGroup"))
    found += _known(given, path, "procMount", PROC_MOUNTS)
    if given.get("procMount") == "Unmasked" and not own_users:
        found.append(invalid(path / "procMount", "Unmasked", "`hostUsers` must be false to use `Unmasked`"))
    found += _seccomp(given.get("seccompProfile"), path / "seccompProfile")
    if given.get("allowPrivilegeEscalation") is False and given.get("privileged"):
        found.append(invalid(path, _internal(given), "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"))
    if given.get("allowPrivilegeEscalation") is False and "CAP_SYS_ADMIN" in ((given.get("capabilities") or {}).get("add") or ()):
        text = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
        found.append(invalid(path, _internal(given), text))
    found += windows.options(given.get("windowsOptions"), path / "windowsOptions")
    return found + _apparmor(given.get("appArmorProfile"), path / "appArmorProfile")


_PARTS: dict[str, dict[str, str | None]] = {
    "capabilities": {"add": None, "drop": None},
    "seLinuxOptions": {"user": "", "role": "", "type": "", "level": ""},
    "windowsOptions": dict.fromkeys(("gmsaCredentialSpecName", "gmsaCredentialSpec", "runAsUserName", "hostProcess")),
    "seccompProfile": {"type": "", "localhostProfile": None},
    "appArmorProfile": {"type": "", "localhostProfile": None},
}
"""Fields of the structures in a context, with what they hold when nothing was given"""
_FIELDS = (
    "capabilities", "privileged", "seLinuxOptions", "windowsOptions", "runAsUser", "runAsGroup", "runAsNonRoot", "readOnlyRootFilesystem",
    "allowPrivilegeEscalation", "procMount", "seccompProfile", "appArmorProfile",
)  # fmt: skip
_INITIALS = re.compile(r"^(seLinux|gmsa|[a-z])")


def _internal(given: Object) -> Object:
    """Return a container's context as upstream's own structure shows it."""

    def shown(field: str) -> object:
        value = given.get(field)
        return value if value is None or field not in _PARTS else {_go(f): value.get(f, empty) for f, empty in _PARTS[field].items()}

    return {_go(field): shown(field) for field in _FIELDS}


def _go(field: str) -> str:
    return _INITIALS.sub(lambda match: {"seLinux": "SELinux", "gmsa": "GMSA"}.get(match[0], match[0].upper()), field)


def of_pod(spec: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with the context of a pod of this spec."""
    given = spec.get("securityContext") or {}
    found = _identities(given, path, ("fsGroup", "runAsUser", "runAsGroup"))
    for i, group in enumerate(given.get("supplementalGroups") or ()):
        if not 0 <= group <= INT32_MOST:
            found.append(invalid((path / "supplementalGroups").at(i), group, RANGE))
    found += _sysctls(given, spec, path / "sysctls")
    found += _known(given, path, "fsGroupChangePolicy", CHANGES)
    found += _seccomp(given.get("seccompProfile"), path / "seccompProfile")
    found += windows.options(given.get("windowsOptions"), path / "windowsOptions")
    found += _apparmor(given.get("appArmorProfile"), path / "appArmorProfile")
    return found + _known(given, path, "supplementalGroupsPolicy", GROUPS) + _known(given, path, "seLinuxChangePolicy", LABELLINGS)


def _identities(given: Object, path: Path, fields: tuple[str, ...]) -> list[FieldError]:
    return [invalid(path / f, given[f], RANGE) for f in fields if given.get(f) is not None and not 0 <= given[f] <= INT32_MOST]


def _known(given: Object, path: Path, field: str, known: tuple[str, ...]) -> list[FieldError]:
    return [] if given.get(field) in (None, *known) else [not_supported(path / field, given[field], known)]


def _sysctls(given: Object, spec: Object, path: Path) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for i, sysctl in enumerate(given.get("sysctls") or ()):
        name, where = sysctl.get("name", ""), path.at(i) / "name"
        if not name:
            found.append(required(where))
        elif len(name) > 253 or not re.match(SYSCTL, name):
            found.append(invalid(where, name, SYSCTL_WORDS))
        elif name in seen:
            found.append(duplicate(where, name))
        if spec.get(shared := _host_field(name)):
            found.append(invalid(where, name, f"may not be specified when '{shared}' is true"))
        seen.add(name)
    return found


def _host_field(sysctl: str) -> str:
    """Return which field of a pod's spec makes this setting the machine's, "" where none does."""
    dotted = sysctl if "." in sysctl.partition("/")[0] else sysctl.replace("/", ".")
    if dotted.startswith("net."):
        return "hostNetwork"
    own = dotted.startswith("fs.mqueue.") or (dotted.startswith("kernel.") and dotted[7:] in KERNEL_IPC)
    return "hostIPC" if own else ""


def _seccomp(profile: Object | None, path: Path) -> list[FieldError]:
    if profile is None:
        return []
    kind, local = profile.get("type", ""), profile.get("localhostProfile")
    found = (
        []
        if kind in SECCOMP
        else [
            not_supported(path / "type", kind, SECCOMP) if kind else required(path / "type", "type is required when seccompProfile is set")
        ]
    )
    if kind == "Localhost" and local is None:
        found.append(required(path / "localhostProfile", "must be set when seccomp type is Localhost"))
    elif kind == "Localhost":
        found += descending(str(local), path / "localhostProfile")
    elif local is not None:
        shown = {"Type": kind, "LocalhostProfile": local}
        found.append(invalid(path / "localhostProfile", shown, "can only be set when seccomp type is Localhost"))
    return found


def _apparmor(profile: Object | None, path: Path) -> list[FieldError]:
    if profile is None:
        return []
    kind, local, where = profile.get("type", ""), profile.get("localhostProfile"), path / "localhostProfile"
    if not kind:
        return [required(path / "type", "type is required when appArmorProfile is set")]
    if kind not in APPARMOR:
        return [not_supported(path / "type", kind, APPARMOR)]
    if kind == "Localhost":
        if not (local or "").strip():
            return [required(where, "must be set when AppArmor type is Localhost")]
        return [] if local == str(local).strip() else [invalid(where, local, "must not be padded with whitespace")]
    return [] if local is None else [invalid(where, local, "can only be set when AppArmor type is Localhost")]


def descending(text: str, path: Path) -> list[FieldError]:
    """Return whether a path leads out of where it begins."""
    found = [invalid(path, text, "must be a relative path")] if text.startswith("/") else []
    return found + no_backsteps(text, path)


def no_backsteps(text: str, path: Path) -> list[FieldError]:
    """Return whether a path leads back."""
    return [invalid(path, text, "must not contain '..'")] if ".." in text.split("/") else []
