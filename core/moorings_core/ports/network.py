"""The network port: how pods get their interface (`Network`), and how other nodes' pods are reached (`Transport`).

The wiring of a pod (veth, address, host route) is the same whatever the transport, and a transport only decides where packets
for *other nodes'* pod ranges go. That is what makes transports exchangeable under running pods: see `agent.exchange`.
Contract suite: tests/contracts/network.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from .errors import MooringsError
from .node import NodeComponent, NodeContext

ACCEPTS = "moorings.dev/network-accepts"
"""Node annotation: the transports this node takes packets in by, separated by commas."""
SENDS = "moorings.dev/network-sends"
"""Node annotation: the transports this node sends by, or is about to: two of them only in the moment of a change."""
ERROR = "moorings.dev/network-error"
"""Node annotation: why this node cannot do what the cluster's configuration asks; absent when it can."""
VTEP_MAC = "moorings.dev/vtep-mac"
"""Node annotation: the MAC of the node's VXLAN tunnel end, where it is not the one derived from the node's name."""

RANGES = "moorings.dev/pod-ranges"
"""Node annotation: the pod ranges of a node without spec.podCIDRs: of one block joined by commas, blocks separated by spaces."""
CLAIMS = "moorings-pod-blocks"
"""The ConfigMap in kube-system that says which blocks of the pod CIDRs belong to which node, where nodes claim them as they need them."""


class NetworkError(MooringsError):
    """The network cannot do what was asked; the message says what is missing."""


class NotReady(NetworkError):
    """It cannot be done yet, or not at the moment: try again."""


class Degraded(NetworkError):
    """Pods that are running already have lost connectivity."""


class AttachmentKey(NamedTuple):
    """The name of one attachment: a sandbox and its interface inside."""

    container_id: str
    interface: str


@dataclass(frozen=True, slots=True)
class PortMapping:
    """A port of the node that leads to the pod; host_ip "" is every address of the node."""

    host_port: int
    container_port: int
    protocol: str = "tcp"
    host_ip: str = ""


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """Limits of traffic to (ingress) and from (egress) a pod: bits a second, and bits at once; 0: none."""

    ingress_rate: int = 0
    ingress_burst: int = 0
    egress_rate: int = 0
    egress_burst: int = 0


UNLIMITED = Bandwidth()


@dataclass(frozen=True, slots=True)
class PodRequest:
    """A sandbox that is to be wired. netns is the path of its network namespace; pod is "namespace/name" where known.

    addresses: what it must have; ranges: where its addresses have to be; mac: what its interface must have. Empty: any.
    foreign: another plugin gave the addresses. wire False: another plugin wires it.
    """

    key: AttachmentKey
    netns: str
    pod: str = ""
    pod_uid: str = ""
    ports: tuple[PortMapping, ...] = ()
    bandwidth: Bandwidth = UNLIMITED
    addresses: tuple[str, ...] = ()
    ranges: tuple[str, ...] = ()
    mac: str = ""
    foreign: bool = False
    wire: bool = True


@dataclass(frozen=True, slots=True)
class Attachment:
    """A wired sandbox. addresses are host addresses ("10.64.1.5"), IPv4 first; gateways in the same order.

    host_link "": it has addresses only, another plugin wires it. foreign: another plugin gave the addresses.
    """

    key: AttachmentKey
    netns: str
    addresses: tuple[str, ...]
    gateways: tuple[str, ...]
    mac: str
    mtu: int
    host_link: str
    host_mac: str
    index: int
    slot: int
    pod: str = ""
    pod_uid: str = ""
    ports: tuple[PortMapping, ...] = ()
    bandwidth: Bandwidth = UNLIMITED
    foreign: bool = False


class Network(Protocol):
    """What the CNI verbs need: DESIGN section 4. Safe for concurrent calls with different keys."""

    @property
    def ranges(self) -> Sequence[str]:
        """The ranges that addresses are given from."""

    async def status(self) -> None:
        """Return when `attach` can be served. Raises NotReady (no range, no address left) or Degraded."""

    async def attach(self, pod: PodRequest) -> Attachment:
        """Wire a sandbox. Raises NetworkError; then nothing is left behind. Wiring the same key twice is an error."""

    async def detach(self, key: AttachmentKey) -> None:
        """Undo `attach`, whatever is left of it: no netns, no interface and an unknown key are all fine."""

    async def check(self, key: AttachmentKey) -> Attachment:
        """Return the attachment when everything of it is as made. Raises NetworkError that names what differs."""

    async def collect(self, valid: Collection[AttachmentKey]) -> None:
        """Detach everything that is not in valid."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A node as its peers see it: InternalIPs (IPv4 first), pod ranges, annotations."""

    name: str
    addresses: tuple[str, ...]
    pod_cidrs: tuple[str, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)


class Transport(Protocol):
    """A way to the pods of other nodes. All methods are level-triggered: called again with the same input they change nothing.

    The life of a transport on a node is accept, carry, withdraw; make before break across nodes is the caller's.
    """

    @property
    def name(self) -> str:
        """The name in the cluster file."""

    def overhead(self, addresses: Sequence[str]) -> int:
        """Return the bytes that it takes from the MTU of the link between nodes with such addresses."""

    async def accept(self, own: Peer, peers: Sequence[Peer]) -> None:
        """Make packets that peers send by this transport arrive at pods, without sending by it. Raises NetworkError."""

    async def carry(self, own: Peer, peers: Sequence[Peer]) -> None:
        """Send to the pods of exactly these peers by this transport, taking each route over from whatever held it.

        There is no moment without a route. What belongs to nodes that are no peers any more is removed. Raises NetworkError.
        """

    async def withdraw(self) -> None:
        """Remove everything that only this transport needs. Fine when there is nothing."""


class NetworkBackend(Protocol):
    """What an entry point of group `moorings.network` names.

    Calling it makes the node's CNI server, which is the same component for all transports of one package. A backend without
    `transport` is a network of its own: it cannot be exchanged on a running cluster.
    """

    def __call__(self, context: NodeContext, parameters: Mapping[str, Any]) -> NodeComponent:
        """Return the component that wires pods."""

    def transport(self, context: NodeContext, parameters: Mapping[str, Any]) -> Transport:
        """Return the way to other nodes. Touches nothing yet."""
