"""A node's cgroup in every hierarchy of the machine, v1 or v2: its caps, what runs in it, and its end.

LAB/NODE            the caps; no process of its own, since v2 allows none where groups below are counted
LAB/NODE/system     PID 1, the runtime, the agent
LAB/NODE/kubepods   the pods, made by the runtime
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
SYSTEM = "system"
CPU_PERIOD = 100_000
SHARES, WEIGHT, FIRST_TIMES = 1024, 100, 20
"""What a group has of its parent's time beside others (v1, v2), and how much more one has that comes first"""
LEAVE_SECONDS, POLL_SECONDS = 5.0, 0.005


def make(lab: str, node: str, cpu: float = 0, memory: int = 0, *, first: bool = False) -> list[Path]:
    """Make a node's cgroups with its caps (cores and bytes; 0: none); return those that its processes go into.

    first: where there is not time for all it has most of it, as a server has, for whose answers all nodes wait.
    """
    found: list[Path] = []
    for hierarchy in _hierarchies():
        for group in (hierarchy / lab, hierarchy / lab / node, hierarchy / lab / node / SYSTEM):
            _delegate(group.parent)
            group.mkdir(parents=True, exist_ok=True)
            _inherit(group)
        _limit(hierarchy / lab / node, cpu, memory, first=first)
        found.append(hierarchy / lab / node / SYSTEM)
    return found


def joined(groups: Sequence[Path], command: Sequence[str]) -> list[str]:
    """Return the command as one that enters the groups first."""
    script = "".join(f"echo $$ > {group}/cgroup.procs && " for group in groups) + 'exec "$@"'
    return ["sh", "-c", script, "sh", *command]


def remove(lab: str, node: str) -> None:
    """Remove a node's cgroups once the processes that were killed have left them, and the lab's when no node is in it any more."""
    end = time.monotonic() + LEAVE_SECONDS
    for hierarchy in _hierarchies():
        group = hierarchy / lab / node
        while group.exists() and time.monotonic() < end:
            for directory, _, _ in os.walk(group, topdown=False):
                _remove(directory)
            time.sleep(POLL_SECONDS if group.exists() else 0)
        _remove(hierarchy / lab)


def _hierarchies() -> list[Path]:
    """Return the one tree of v2, or the trees of v1 (on a hybrid machine with the empty tree of v2), each once."""
    if (ROOT / "cgroup.controllers").exists():
        return [ROOT]
    return sorted({path.resolve() for path in ROOT.iterdir() if path.is_dir()})


def _delegate(group: Path) -> None:
    """Let the groups below be counted by everything that this one is counted by (v2)."""
    control = group / "cgroup.subtree_control"
    if control.exists():
        wanted = set((group / "cgroup.controllers").read_text().split()) - set(control.read_text().split())
        for controller in sorted(wanted):
            control.write_text(f"+{controller}")


def _inherit(group: Path) -> None:
    """A fresh cpuset of v1 has neither cores nor memory, and nobody can enter it."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        file = group / name
        if file.exists() and (group / "tasks").exists() and not file.read_text().strip():
            file.write_text((group.parent / name).read_text())


def _limit(group: Path, cpu: float, memory: int, *, first: bool) -> None:
    limits = {
        "cpu.shares": str(SHARES * FIRST_TIMES) if first else "",
        "cpu.weight": str(WEIGHT * FIRST_TIMES) if first else "",
        "cpu.cfs_quota_us": str(int(cpu * CPU_PERIOD)) if cpu else "",
        "cpu.max": f"{int(cpu * CPU_PERIOD)} {CPU_PERIOD}" if cpu else "",
        "memory.limit_in_bytes": str(memory or ""),
        "memory.max": str(memory or ""),
    }
    for name, value in limits.items():
        if value and (group / name).exists():
            (group / name).write_text(value)


def _remove(directory: str | Path) -> None:
    try:
        os.rmdir(directory)
    except OSError:
        return  # not there, or somebody is still in it: `verify` tells what stays
