"""The cluster file as typed, immutable values; `config` reads, checks and defaults it. Durations are seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Which store keeps the objects; the rest goes to the backend."""

    backend: str = "sqlite"
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditConfig:
    """What is recorded of requests, and where. policy: a file with an audit.k8s.io/v1 Policy, "": a default at level Metadata.

    directory "": below the server's data. max_size: bytes of a file before the next one is begun; keep: full files that are kept.
    """

    enabled: bool = True
    policy: str = ""
    directory: str = ""
    max_size: int = 100 << 20
    keep: int = 10


@dataclass(frozen=True, slots=True)
class EncryptionConfig:
    """Which resources are stored encrypted, e.g. "secrets" or "tokens.example.org"; none: nothing is."""

    resources: tuple[str, ...] = ("secrets",)


@dataclass(frozen=True, slots=True)
class OidcConfig:
    """An OpenID Connect issuer whose tokens are believed. username_prefix None: the issuer and "#", or nothing for e-mail addresses."""

    issuer: str
    client_id: str
    username_claim: str = "sub"
    username_prefix: str | None = None
    groups_claim: str = ""
    groups_prefix: str = ""
    required_claims: Mapping[str, str] = field(default_factory=dict)
    signing_algorithms: tuple[str, ...] = ("RS256",)
    ca_file: str = ""


@dataclass(frozen=True, slots=True)
class PodSecurityConfig:
    """The Pod Security levels (privileged, baseline, restricted) of namespaces that have no labels of their own.

    enforce: pods beyond it are refused; warn, audit: they are told of. Namespaces that are exempt are not looked at.
    """

    enforce: str = "baseline"
    audit: str = "baseline"
    warn: str = "baseline"
    exempt_namespaces: tuple[str, ...] = ("kube-system",)


OPEN = PodSecurityConfig(enforce="privileged")
"""What holds in a lab, where every pod is its user's own: nothing is refused, and what would be elsewhere is told"""


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """What one server process runs: any of "api", "controllers", "scheduler"."""

    run: tuple[str, ...] = ("api", "controllers", "scheduler")
    port: int = 6443
    store: StoreConfig = field(default_factory=StoreConfig)
    oidc: tuple[OidcConfig, ...] = ()
    encryption: EncryptionConfig = field(default_factory=EncryptionConfig)
    audit: AuditConfig = field(default_factory=AuditConfig)
    pod_security: PodSecurityConfig = field(default_factory=PodSecurityConfig)


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Pod addresses and how they are reached. mtu 0 means: found by looking at the node's link.

    allocate_node_cidrs: the controllers give each node a part of pod_cidrs; otherwise somebody else does, or nodes claim blocks.
    """

    backend: str = "vxlan"
    pod_cidrs: tuple[str, ...] = ("10.64.0.0/16",)
    node_prefix: int = 24
    allocate_node_cidrs: bool = True
    mtu: int = 0
    swap_to: tuple[str, ...] = ("vxlan", "routed")
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DnsConfig:
    """Cluster DNS: the domain, the address pods ask, and who answers the rest of the world."""

    backend: str = "builtin"
    domain: str = "cluster.local"
    upstreams: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServicesConfig:
    """Virtual addresses of Services and the proxy that serves them."""

    backend: str = "nftables"
    cidrs: tuple[str, ...] = ("10.96.0.0/16",)
    node_ports: tuple[int, int] = (30000, 32767)
    dns: DnsConfig = field(default_factory=DnsConfig)
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """One StorageClass with the backend that makes its volumes."""

    name: str = "local"
    backend: str = "image"
    default: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CloudConfig:
    """The cloud outside the cluster; parameters belong to the backend (for metal: `pools`, a list of address ranges)."""

    backend: str = "none"
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """The container runtime behind the agent."""

    backend: str = "cri"
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LabNode:
    """A node of a lab; cpu in cores (0: all), memory in bytes (0: all). roles: "server", "node"."""

    name: str
    roles: tuple[str, ...] = ("node",)
    cpu: float = 0
    memory: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LabConfig:
    """Only for `moorings up`: the machines to make and the pace of their timers ("fast", "default")."""

    profile: str = "fast"
    nodes: tuple[LabNode, ...] = ()


@dataclass(frozen=True, slots=True)
class Timing:
    """The timers that a profile sets, in seconds. The defaults are upstream's."""

    lease_duration: float = 40
    lease_renew: float = 10
    node_grace: float = 50
    eviction_toleration: int = 300
    crash_backoff: float = 10
    crash_backoff_max: float = 300
    image_backoff: float = 10
    image_backoff_max: float = 300
    volume_refresh: float = 60
    node_status: float = 10
    election: float = 15
    storage_look: float = 10


FAST = Timing(4, 1, 4, 2, 1, 8, 1, 8, 1, 2, 3, 1)
"""The timers of a lab whose user waits for faults to show."""


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """The whole cluster file. `ClusterConfig()` is a working cluster."""

    name: str = "moorings"
    server: ServerConfig = field(default_factory=ServerConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    services: ServicesConfig = field(default_factory=ServicesConfig)
    storage: tuple[StorageConfig, ...] = (StorageConfig(default=True),)
    cloud: CloudConfig = field(default_factory=CloudConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    lab: LabConfig = field(default_factory=LabConfig)
    timing: Timing = field(default_factory=Timing)
