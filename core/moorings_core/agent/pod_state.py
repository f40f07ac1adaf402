"""What the agent knows of its node, and what it keeps of one pod between two looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from moorings_core.ports.cluster import Timing
from moorings_core.ports.objects import Object

from .plan import Memory, ProbeView
from .probes import ContainerProbes
from .resize import Resizing
from .resolv import ClusterDns, Dns


@dataclass(frozen=True, slots=True)
class PodSettings:
    """What is the same for all pods of a node."""

    node: str
    addresses: tuple[str, ...]
    root: Path
    dns: ClusterDns
    node_dns: Dns
    timing: Timing
    allocatable: Mapping[str, str]
    cgroup: str = ""

    def log_directory(self, pod: Object) -> Path:
        """Return where a pod's logs are."""
        metadata = pod["metadata"]
        return self.root / "logs" / f"{metadata['namespace']}_{metadata['name']}_{metadata['uid']}"

    def log_directories(self, uid: str) -> list[Path]:
        """Return where logs of a pod are of which only the uid is known."""
        return list((self.root / "logs").glob(f"*_{uid}"))


@dataclass(slots=True)
class PodState:
    """What the agent keeps of a pod between looks; after a restart it is found out again, only delays begin anew."""

    memory: Memory = field(default_factory=Memory)
    waiting: dict[str, tuple[str, str]] = field(default_factory=dict)
    """container -> (reason, message) of why it does not run"""
    probes: dict[str, ContainerProbes] = field(default_factory=dict)
    """by container id"""
    messages: dict[str, str] = field(default_factory=dict)
    """last words by container id"""
    verdict: tuple[str, str] | None = None
    """(reason, message) of why the agent fails the whole pod"""
    grace: float | None = None
    """Seconds that its end may take where that is not for the pod to say"""
    mount_failures: int = 0
    """how often in a row its volumes could not be made"""
    refreshed: float = 0
    resizing: Resizing = field(default_factory=Resizing)

    @property
    def views(self) -> dict[str, ProbeView]:
        """What the probes say, by container id."""
        return {run_id: probes.view for run_id, probes in self.probes.items()}

    def stop_probes(self) -> None:
        """Ask no container any more."""
        for probes in self.probes.values():
            probes.stop()
