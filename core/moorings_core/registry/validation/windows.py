"""Rules of pods for Windows, and of options that only it has.

Source: upstream's validateWindowsSecurityContextOptions, validateWindowsHostProcessPod, validateLinux and validateWindows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from moorings_core.ports.objects import Object

from . import names
from .errors import FieldError, Path, Pointed, forbidden, invalid
from .formats import named

SPEC_KIB_MOST = 64
DOMAIN_MOST, USER_MOST = 256, 104
NET_BIOS = re.compile(r'[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}')
_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
CONTROLS, USER_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]"), re.compile(r'["/\\:;|=,+*?<>@\[\]]')
NOT_ON_WINDOWS, NOT_ON_LINUX = "cannot be set for a windows pod", "windows options cannot be set for a linux pod"
OF_PODS = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "fsGroup", "fsGroupChangePolicy", "sysctls", "runAsUser", "runAsGroup",
    "supplementalGroups", "supplementalGroupsPolicy", "seLinuxChangePolicy",
)  # fmt: skip
OF_CONTAINERS = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "capabilities", "readOnlyRootFilesystem", "privileged",
    "allowPrivilegeEscalation", "procMount", "runAsUser", "runAsGroup",
)  # fmt: skip
OF_SPECS = (("hostUsers", False), ("hostPID", True), ("hostIPC", True), ("shareProcessNamespace", False))
"""Fields of a PodSpec that Windows has not, and whether false says as little as nothing"""
Containers = Sequence[tuple[Object, Path]]


def options(given: Object | None, path: Path) -> list[FieldError]:
    """Return what is wrong with the options of a security context."""
    if given is None:
        return []
    spec, user = given.get("gmsaCredentialSpec"), given.get("runAsUserName")
    found = named(given.get("gmsaCredentialSpecName"), path / "gmsaCredentialSpecName", names.subdomain)
    if spec == "":
        found.append(invalid(path / "gmsaCredentialSpec", spec, "gmsaCredentialSpec cannot be an empty string"))
    elif spec is not None and len(spec) > SPEC_KIB_MOST * 1024:
        found.append(invalid(path / "gmsaCredentialSpec", Pointed(spec), f"gmsaCredentialSpec size must be under {SPEC_KIB_MOST} KiB"))
    if user is None:
        return found
    return found + [invalid(path / "runAsUserName", Pointed(user), f"runAsUserName{text}") for text in _user(user)]


def _user(name: str) -> Iterator[str]:
    if not name:
        yield " cannot be an empty string"
    elif CONTROLS.search(name):
        yield " cannot contain control characters"
    elif name.count("\\") > 1:
        yield " cannot contain more than one backslash"
    else:
        yield from _parts(*name.rpartition("\\"))


def _parts(domain: str, backslash: str, user: str) -> Iterator[str]:
    if len(domain) >= DOMAIN_MOST:
        yield f"'s Domain length must be under {DOMAIN_MOST} characters"
    if backslash and not (NET_BIOS.fullmatch(domain) or DOMAIN.fullmatch(domain)):
        yield "'s Domain doesn't match the NetBios nor the DNS format"
    if not user:
        yield "'s User cannot be empty"
    elif len(user) > USER_MOST:
        yield f"'s User length must not be longer than {USER_MOST} characters"
    if user and not user.strip(". "):
        yield "'s User cannot contain only periods or spaces"
    if USER_CHARACTERS.search(user):
        yield "'s User cannot contain the following characters: \"/\\:;|=,+*?<>@[]"


def host_processes(spec: Object, containers: Containers, path: Path) -> list[FieldError]:
    """Return what is wrong with a pod whose containers are processes of their node: all are, and on its network."""
    whole, found, count = _is_host_process(spec), list[FieldError](), 0
    for container, where in containers:
        own = _is_host_process(container)
        if whole is not None and own is not None and whole != own:
            text = f"pod hostProcess value must be identical if both are specified, was {str(whole).lower()}"
            found.append(invalid(where / "securityContext" / "windowsOptions" / "hostProcess", own, text))
        count += bool(whole if own is None else own)
    if count and count != len(containers):
        text = "If pod contains any hostProcess containers then all containers must be HostProcess containers"
        found.append(invalid(path, "", text))
    if count and not spec.get("hostNetwork"):
        found.append(invalid(path / "hostNetwork", False, "hostNetwork must be true if pod contains any hostProcess containers"))
    return found


def _is_host_process(holder: Object) -> bool | None:
    own: bool | None = ((holder.get("securityContext") or {}).get("windowsOptions") or {}).get("hostProcess")
    return own


def of_system(spec: Object, containers: Containers, path: Path) -> list[FieldError]:
    """Return which fields the operating system of a pod has not."""
    system, holders = (spec.get("os") or {}).get("name"), [(spec, path), *containers]
    if system == "linux":
        there = [where for holder, where in holders if (holder.get("securityContext") or {}).get("windowsOptions") is not None]
        return [forbidden(where / "securityContext" / "windowsOptions", NOT_ON_LINUX) for where in there]
    if system != "windows":
        return []
    found = _set(spec, OF_PODS, path)
    found += [forbidden(path / f, NOT_ON_WINDOWS) for f, plain in OF_SPECS if spec.get(f) is not None and (spec[f] or not plain)]
    return found + [error for container, where in containers for error in _set(container, OF_CONTAINERS, where)]


def _set(holder: Object, fields: tuple[str, ...], path: Path) -> list[FieldError]:
    context = holder.get("securityContext") or {}
    return [forbidden(path / "securityContext" / field, NOT_ON_WINDOWS) for field in fields if context.get(field) is not None]
