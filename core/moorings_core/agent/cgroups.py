"""The cgroup of each pod, named as the kubelet names it. The runtime makes it below the node's own; the agent removes it.

A runtime leaves the parent directory of a removed sandbox behind; on cgroup v1 there is one in every hierarchy.
"""

from __future__ import annotations

import os
from pathlib import Path

from moorings_core.log import get_logger
from moorings_core.ports.objects import Object
from moorings_core.registry.quality import qos_class

log = get_logger(__name__)
ROOT = Path("/sys/fs/cgroup")


class PodCgroups:
    """Cgroup names of pods below a node's own group ("" is the root, as on a host of its own)."""

    def __init__(self, base: str = "") -> None:
        self._base = base.rstrip("/")

    def parent(self, pod: Object) -> str:
        """Return the cgroup under which a pod's containers go."""
        kind = qos_class(pod).lower()
        middle = "" if kind == "guaranteed" else f"/{kind}"
        return f"{self._base}/kubepods{middle}/pod{pod['metadata']['uid']}"

    def remove(self, uid: str) -> None:
        """Remove what is left of a pod's cgroups."""
        for directory in self._directories():
            _remove_tree(directory / f"pod{uid}")

    def leftovers(self) -> set[str]:
        """Return the uids of all pods that have a cgroup."""
        return {p.name.removeprefix("pod") for d in self._directories() if d.is_dir() for p in d.glob("pod?*")}

    def _directories(self) -> list[Path]:
        """Return every directory with cgroups of pods: on v1 three in each hierarchy, on v2 three in all."""
        unified = (ROOT / "cgroup.controllers").exists()
        hierarchies = [ROOT] if unified else [p for p in ROOT.iterdir() if p.is_dir() and not p.is_symlink()]
        bases = [h / self._base.lstrip("/") / "kubepods" for h in hierarchies]
        return [base / part for base in bases for part in ("", "burstable", "besteffort")]


class NodeCgroup:
    """A node's own cgroup ("" is the root, as on a host of its own): what the node uses altogether."""

    def __init__(self, base: str = "") -> None:
        self._base = base.strip("/")

    def usage(self) -> tuple[float, int]:
        """Return (cpu in seconds, working set in bytes). Raises OSError where the kernel does not account for them."""
        if (ROOT / "cgroup.controllers").exists():
            directory = ROOT / self._base
            cpu = _fields(directory / "cpu.stat")["usage_usec"] / 1e6
            current = directory / "memory.current"
            if not current.exists():  # the root has none
                return cpu, _machine_memory()
            return cpu, max(int(current.read_text()) - _fields(directory / "memory.stat").get("inactive_file", 0), 0)
        cpu = int((ROOT / "cpuacct" / self._base / "cpuacct.usage").read_text()) / 1e9
        memory = ROOT / "memory" / self._base
        used = int((memory / "memory.usage_in_bytes").read_text())
        return cpu, max(used - _fields(memory / "memory.stat").get("total_inactive_file", 0), 0)


def _fields(path: Path) -> dict[str, int]:
    return {name: int(value) for name, value in (line.split() for line in path.read_text().splitlines())}


def _machine_memory() -> int:
    found = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in Path("/proc/meminfo").read_text().splitlines()}
    return found["MemTotal"] - found["MemAvailable"]


def _remove_tree(path: Path) -> None:
    if not path.is_dir():
        return
    for directory, _, _ in os.walk(path, topdown=False):
        try:
            os.rmdir(directory)
        except OSError as error:
            log.debug("cgroup still in use", path=directory, error=str(error))
