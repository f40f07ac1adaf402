"""The proxy port: serves the virtual addresses of Services on one node.

A backend gets a table of what to serve, in full once and as changes after that; where it comes from (Services, EndpointSlices,
traffic policies, terminating endpoints, topology hints) is settled before, so a backend only knows addresses.
Contract suite: tests/contracts/proxy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from .errors import MooringsError
from .objects import Key

BACKEND, ERROR = "moorings.dev/proxy", "moorings.dev/proxy-error"
"""Annotations of a Node: which backend serves Services there, and why another one could not."""


class ProxyError(MooringsError):
    """The kernel refused what a backend wanted; the next sync or verify tries again."""


class Endpoint(NamedTuple):
    """Where a connection may go; local: it is on this node."""

    address: str
    port: int
    local: bool = False


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of a Service with the endpoints to choose from. protocol: "TCP", "UDP" or "SCTP"; node_port 0: none.

    endpoints serve the traffic policy Cluster, local_endpoints (a choice of its own, not always a subset) the policy Local.
    """

    protocol: str
    port: int
    node_port: int = 0
    endpoints: tuple[Endpoint, ...] = ()
    local_endpoints: tuple[Endpoint, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceEntry:
    """One Service as a node serves it. Addresses of both families are mixed; a backend serves each by endpoints of its family.

    source_ranges (CIDRs; none: all) limit who may use load_balancer_ips. internal_local and external_local: the traffic
    policies are Local. affinity: seconds for which a client address sticks to its endpoint, 0: it does not.
    health_port: where the number of local_ready endpoints is told over HTTP, 0: nowhere.
    """

    ports: tuple[ServicePort, ...]
    cluster_ips: tuple[str, ...] = ()
    external_ips: tuple[str, ...] = ()
    load_balancer_ips: tuple[str, ...] = ()
    source_ranges: tuple[str, ...] = ()
    internal_local: bool = False
    external_local: bool = False
    affinity: int = 0
    health_port: int = 0
    local_ready: int = 0


Table = Mapping[Key, ServiceEntry]
"""Everything to serve, by the Service's key."""

Delta = Mapping[Key, ServiceEntry | None]
"""What has changed; None: no longer served."""


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """What a backend knows of the node. node_addresses: for finding stale NodePort flows; every local address is served.

    pod_cidrs: sources in them are pods, whose address is kept on the way to a ClusterIP.
    service_cidrs: addresses in them that no Service has are dropped. netns: path of the namespace to work in, None: the own one.
    cgroup: the node's own, below each hierarchy, with all its pods; "": the root, as on a host of its own.
    """

    pod_cidrs: tuple[str, ...] = ()
    service_cidrs: tuple[str, ...] = ()
    node_addresses: tuple[str, ...] = ()
    netns: str | None = None
    cgroup: str = ""


class ProxyComponent(Protocol):
    """What an entry point of moorings.proxy makes: a `node.NodeComponent` that can be exchanged while it serves."""

    @property
    def serving(self) -> asyncio.Event:
        """Set once the kernel serves all Services."""

    async def run(self) -> None:
        """Serve until cancelled, or until what `leave` asked for is done. Raises when it can't work here."""

    def leave(self) -> None:
        """Take no new connections and end when the established ones have: another backend serves now."""


class Proxy(Protocol):
    """What serves the table in the kernel. Calls come one at a time. Raises ProxyError, after which nothing is half done."""

    async def configure(self, settings: ProxySettings) -> None:
        """Take in other ranges of addresses than those of the start; netns and node_addresses stay."""

    async def sync(self, table: Table) -> None:
        """Serve exactly this table, from whatever the kernel holds now (also that of an earlier process), without a gap."""

    async def change(self, delta: Delta) -> None:
        """Take in changes: all of a service's change is seen at once. Established TCP connections stay."""

    async def flush_conntrack(self, delta: Delta) -> int:
        """Delete flows of connectionless protocols that the services in delta no longer lead anywhere; return how many."""

    async def verify(self) -> int:
        """Compare the kernel with what should be served, repair it, and return how many differences there were."""

    async def watch(self) -> None:
        """Return when somebody else has touched the backend's state in the kernel: then `verify` is due."""

    async def handover(self) -> bool:
        """Remove all of this backend from the kernel: another one serves the table now. Return whether nothing is left.

        A backend whose established flows need its state takes no new ones from now on and returns False: call it again later.

        Established flows go on, as translation is kept with the flow; but only under another backend's nat chains and rules:
        the kernel stops tracking and translating in a namespace where nobody has any.
        """

    async def close(self) -> None:
        """Release sockets; what is in the kernel goes on serving."""
