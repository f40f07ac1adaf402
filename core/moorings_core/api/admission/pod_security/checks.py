"""The checks of each level at each version, and what they find in a pod."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from moorings_core.ports.objects import Object

from . import baseline, restricted
from .baseline import Check, in_user_namespace, is_plain
from .levels import LATEST, Level
from .restricted import on_linux

NEWEST = 37


@dataclass(frozen=True, slots=True)
class Versions:
    """One check: its forms by the first minor that has each, and the baseline check whose place it takes."""

    name: str
    forms: Sequence[tuple[int, Check]]
    replaces: str = ""

    def at(self, minor: int) -> Check | None:
        """Return the form of a version, or None where it has none yet."""
        return next((check for since, check in reversed(self.forms) if since <= minor), None)


BASELINE = (
    Versions("appArmorProfile", [(0, baseline.app_armor)]),
    Versions("capabilities_baseline", [(0, baseline.capabilities)]),
    Versions("hostNamespaces", [(0, baseline.host_namespaces)]),
    Versions("hostPathVolumes", [(0, baseline.host_paths)]),
    Versions("hostPorts", [(0, baseline.host_ports)]),
    Versions("hostProbesAndHostLifecycle", [(34, baseline.probe_hosts)]),
    Versions("privileged", [(0, baseline.privileged)]),
    Versions("procMount", [(0, baseline.proc_mount), (35, in_user_namespace(baseline.proc_mount))]),
    Versions("seLinuxOptions", [(0, baseline.selinux()), (31, baseline.selinux("container_engine_t"))]),
    Versions("seccompProfile_baseline", [(0, baseline.seccomp_annotations), (19, baseline.seccomp)]),
    Versions("sysctls", [(minor, baseline.sysctls(minor)) for minor in (0, 27, 29, 32, 37)]),
    Versions("windowsHostProcess", [(0, baseline.host_process)]),
)
_ESCALATION, _CAPABILITIES, _SECCOMP = restricted.privilege_escalation, restricted.capabilities, restricted.seccomp
RESTRICTED = (
    Versions("allowPrivilegeEscalation", [(8, _ESCALATION), (25, on_linux(_ESCALATION))]),
    Versions("capabilities_restricted", [(22, _CAPABILITIES), (25, on_linux(_CAPABILITIES))], "capabilities_baseline"),
    Versions("procMount_restricted", [(35, baseline.proc_mount)], "procMount"),
    Versions("restrictedVolumes", [(0, restricted.volumes)], "hostPathVolumes"),
    Versions("runAsNonRoot", [(0, restricted.non_root), (35, in_user_namespace(restricted.non_root))]),
    Versions("runAsUser", [(23, restricted.user), (35, in_user_namespace(restricted.user))]),
    Versions("seccompProfile_restricted", [(19, _SECCOMP), (25, on_linux(_SECCOMP))], "seccompProfile_baseline"),
)
"""Both in the order of their names, which is the order of findings in an answer"""


@dataclass(frozen=True, slots=True)
class Findings:
    """What a level forbids and a pod does."""

    found: tuple[tuple[str, str], ...]

    @property
    def reason(self) -> str:
        """What is forbidden, without where."""
        return ", ".join(reason for reason, _ in self.found)

    @property
    def detail(self) -> str:
        """What is forbidden and where."""
        return ", ".join(f"{reason} ({detail})" if detail else reason for reason, detail in self.found)

    def __bool__(self) -> bool:
        return bool(self.found)


NOTHING = Findings(())


def evaluate(level: Level, metadata: Object, spec: Object) -> Findings:
    """Return what a level finds in a pod, or in a pod's template."""
    if level.name == "privileged":
        return NOTHING
    if level.name == "baseline" and is_plain(metadata, spec):
        return NOTHING
    minor = NEWEST if level.minor == LATEST else min(level.minor, NEWEST)
    return Findings(tuple(found for check in _checks(level.name, minor) if (found := check(metadata, spec))))


@functools.lru_cache(maxsize=256)
def _checks(name: str, minor: int) -> tuple[Check, ...]:
    strict = [(v, check) for v in RESTRICTED if (check := v.at(minor))] if name == "restricted" else []
    replaced = {v.replaces for v, _ in strict}
    return (*(check for v in BASELINE if v.name not in replaced and (check := v.at(minor))), *(check for _, check in strict))
