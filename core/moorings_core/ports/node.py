"""What a backend that runs on a node is given, and what the agent expects of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .client import Client
from .cluster import ClusterConfig


@dataclass(frozen=True, slots=True)
class NodeContext:
    """The node a component runs on.

    root outlives a reboot, run does not; both are the node's own. addresses are the node's InternalIPs, IPv4 first.
    cgroup is the node's own, below each hierarchy: "" is the root, as on a host of its own.
    """

    name: str
    addresses: tuple[str, ...]
    client: Client
    config: ClusterConfig
    root: Path
    run: Path
    cgroup: str = ""


class NodeComponent(Protocol):
    """A part of the agent: network, proxy, DNS, storage, cloud. Crash-only: starting is recovering."""

    async def run(self) -> None:
        """Serve until cancelled. Raises when it can't serve at all; the agent reports that and starts it again."""


class NodeComponentFactory(Protocol):
    """What an entry point of a node-side port names: it makes the component and touches nothing yet."""

    def __call__(self, context: NodeContext, parameters: Mapping[str, Any]) -> NodeComponent:
        """Return the component for this node; parameters are those of the cluster file."""
