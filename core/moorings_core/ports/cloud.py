"""The cloud port: what is outside the cluster and serves it: machines, routes between them, load balancers, disks.

A backend is one object (what an entry point of `moorings.cloud` names is that object, not a factory) with two optional halves: a
controller beside the API server, and a component on every node. The parts that a cloud has are read, planned and applied:
`plan` is pure, `plan(desired, desired)` is empty, and applying an operation twice does it once. Contract suite: tests/contracts/cloud.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from .client import Client
from .cluster import ClusterConfig
from .node import NodeComponent, NodeContext
from .objects import Key

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Operation(Generic[M]):
    """One step towards the model. verb: "create", "update", "delete"; item: as it should be (for delete: as it is)."""

    verb: str
    item: M


@dataclass(frozen=True, slots=True)
class Instance:
    """A machine that is, or was, a node. state: "running", "stopped", "gone"; addresses: (type, address) as in Node.status."""

    provider_id: str
    node: str
    state: str = "running"
    addresses: tuple[tuple[str, str], ...] = ()
    type: str = ""
    zone: str = ""
    region: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """The way to a node's pods that the cloud's own network knows."""

    cidr: str
    node: str
    blackhole: bool = False


@dataclass(frozen=True, slots=True)
class LoadBalancer:
    """What a Service of type LoadBalancer has outside. wanted: the addresses that the user asks for; owner: the Service's UID.

    addresses empty: none yet, and `reason` says why when it can't have one. version: the resourceVersion it was read at.
    """

    service: Key
    owner: str
    addresses: tuple[str, ...] = ()
    wanted: tuple[str, ...] = ()
    families: tuple[str, ...] = ("IPv4",)
    pool: str = ""
    reason: str = ""
    version: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk of the cloud. size in bytes; node: where it is attached, "" nowhere."""

    name: str
    size: int
    zone: str = ""
    node: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)


class Part(Protocol[M]):
    """One kind of thing that a cloud has."""

    async def actual(self) -> Sequence[M]:
        """Return what is there and is ours, by owner tag."""

    def plan(self, desired: Sequence[M], actual: Sequence[M]) -> Sequence[Operation[M]]:
        """Return what leads from actual to desired. Pure."""

    async def apply(self, operation: Operation[M]) -> None:
        """Do one operation; done before is success."""


class CloudController(Protocol):
    """The half beside the API server."""

    async def run(self) -> None:
        """Serve until cancelled. One at a time in a cluster: the caller elects."""


class CloudBackend(Protocol):
    """A cloud. Each property is None where the cloud has no such thing."""

    @property
    def instances(self) -> Part[Instance] | None:
        """Machines."""

    @property
    def routes(self) -> Part[Route] | None:
        """Routes to pods."""

    @property
    def load_balancers(self) -> Part[LoadBalancer] | None:
        """Load balancers."""

    @property
    def disks(self) -> Part[Disk] | None:
        """Disks."""

    def node_component(self, context: NodeContext) -> NodeComponent | None:
        """Return the half that runs on this node, None when there is none."""

    def controller(self, client: Client, config: ClusterConfig) -> CloudController | None:
        """Return the half that runs beside the API server, None when there is none. Raises MooringsError on bad parameters."""
