"""The runtime port: what an agent needs of a container runtime. What CRI offers, in plain values; times are seconds since 1970.

Contract suite: tests/contracts/runtime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from .errors import MooringsError

Namespace = Literal["pod", "container", "node", "target"]
POD_UID = "io.kubernetes.pod.uid"
"""The label that every sandbox and container has: its pod's uid."""


class RuntimeFailure(MooringsError):
    """The runtime refused or failed; `code` is the gRPC code's name and the text is the runtime's own."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Resources:
    """Limits of a cgroup: shares and quota of cpu (quota per period, microseconds), memory in bytes; 0: none."""

    cpu_shares: int = 0
    cpu_quota: int = 0
    cpu_period: int = 0
    memory: int = 0
    oom_score_adj: int = 0


@dataclass(frozen=True, slots=True)
class Security:
    """What a process may do. seccomp: "RuntimeDefault", "Unconfined" or a profile's path."""

    privileged: bool = False
    user: int | None = None
    group: int | None = None
    groups: tuple[int, ...] = ()
    read_only_root: bool = False
    no_new_privileges: bool = False
    add_capabilities: tuple[str, ...] = ()
    drop_capabilities: tuple[str, ...] = ()
    seccomp: str = "Unconfined"


@dataclass(frozen=True, slots=True)
class Namespaces:
    """Whose namespaces a container shares; target: the container whose processes it sees, where pid is "target"."""

    network: Namespace = "pod"
    pid: Namespace = "container"
    ipc: Namespace = "pod"
    target: str = ""


@dataclass(frozen=True, slots=True)
class HostPort:
    """A port of the node that leads to a pod."""

    protocol: str
    container_port: int
    host_port: int
    host_ip: str = ""


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """A pod's shell: its namespaces, name resolution and cgroup."""

    name: str
    namespace: str
    uid: str
    attempt: int
    hostname: str
    log_directory: str
    dns: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
    """(servers, searches, options)"""
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    cgroup_parent: str = ""
    namespaces: Namespaces = Namespaces()
    security: Security = Security()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[HostPort, ...] = ()


@dataclass(frozen=True, slots=True)
class MountSpec:
    """A directory, file or device of the node inside a container. propagation: "", "HostToContainer" or "Bidirectional"."""

    host: str
    container: str
    read_only: bool = False
    propagation: str = ""


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """A container in a sandbox. log_path is relative to the sandbox's log directory."""

    name: str
    attempt: int
    image: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    working_dir: str
    environment: tuple[tuple[str, str], ...]
    mounts: tuple[MountSpec, ...]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    log_path: str
    resources: Resources = Resources()
    security: Security = Security()
    namespaces: Namespaces = Namespaces()
    devices: tuple[tuple[str, str], ...] = ()
    """(path on the node, path in the container)"""
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False


@dataclass(frozen=True, slots=True)
class SandboxState:
    """A sandbox as the runtime has it."""

    id: str
    name: str
    namespace: str
    uid: str
    attempt: int
    ready: bool
    created: float
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ContainerState:
    """A container as the runtime has it. state: "created", "running", "exited", "unknown"."""

    id: str
    sandbox: str
    name: str
    attempt: int
    state: str
    created: float
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ContainerDetail:
    """What only a closer look at a container tells."""

    state: str
    started: float
    finished: float
    exit_code: int
    reason: str
    message: str
    image: str
    image_ref: str
    log_path: str
    annotations: Mapping[str, str]


class ContainerUsage(NamedTuple):
    """What a container that runs uses at a time: cpu in seconds since its start, working set and own files in bytes."""

    container: str
    name: str
    labels: Mapping[str, str]
    at: float
    cpu: float
    memory: int
    disk: int


class ImageInfo(NamedTuple):
    """A local image; user is its default user, None where it names one that is no number."""

    id: str
    digests: tuple[str, ...]
    user: int | None
    user_name: str


class ExecResult(NamedTuple):
    """What a command in a container printed, and its exit code."""

    stdout: bytes
    stderr: bytes
    code: int


class Conditions(NamedTuple):
    """Whether the runtime works, and what it says of its network."""

    ready: bool
    network_ready: bool
    message: str


class Runtime(Protocol):
    """A container runtime. Every method raises RuntimeFailure; stopping and removing what is gone is no error."""

    async def version(self) -> tuple[str, str]:
        """Return (name, version)."""

    async def conditions(self) -> Conditions:
        """Return whether pods can run."""

    async def run_sandbox(self, spec: SandboxSpec) -> str:
        """Make a sandbox with its network and return its id."""

    async def stop_sandbox(self, sandbox: str) -> None:
        """End everything in a sandbox and give its addresses back."""

    async def remove_sandbox(self, sandbox: str) -> None:
        """Forget a sandbox and its containers."""

    async def sandboxes(self, uid: str | None = None) -> Sequence[SandboxState]:
        """Return all sandboxes, or those of one pod."""

    async def reap(self) -> Sequence[str]:
        """End what runs and the runtime has lost track of, if it was so the last time too; return its ids. Raises also OSError."""

    async def sandbox_addresses(self, sandbox: str) -> tuple[str, ...]:
        """Return the sandbox's IP addresses."""

    async def create_container(self, sandbox: str, spec: ContainerSpec, sandbox_spec: SandboxSpec) -> str:
        """Make a container and return its id."""

    async def start_container(self, container: str) -> None:
        """Start a container."""

    async def stop_container(self, container: str, grace: float) -> None:
        """Send the stop signal and, after `grace` seconds, SIGKILL."""

    async def update_container(self, container: str, resources: Resources) -> None:
        """Change the limits of a container that runs; 0 leaves one as it is, a cpu_quota of -1 takes it away."""

    async def usage(self) -> Sequence[ContainerUsage]:
        """Return what the containers that run use."""

    async def remove_container(self, container: str) -> None:
        """Forget a container."""

    async def containers(self, uid: str | None = None) -> Sequence[ContainerState]:
        """Return all containers, or those of one pod."""

    async def inspect(self, container: str) -> ContainerDetail:
        """Look closer at a container."""

    async def exec(self, container: str, command: Sequence[str], timeout: float) -> ExecResult:
        """Run a command in a container. Raises TimeoutError after `timeout` seconds."""

    async def exec_url(self, container: str, command: Sequence[str], *, stdin: bool, stdout: bool, stderr: bool, tty: bool) -> str:
        """Return where to stream a command."""

    async def attach_url(self, container: str, *, stdin: bool, stdout: bool, stderr: bool, tty: bool) -> str:
        """Return where to stream the main process."""

    async def port_forward_url(self, sandbox: str, ports: Sequence[int]) -> str:
        """Return where to stream a port."""

    async def image(self, name: str) -> ImageInfo | None:
        """Return a local image, or None."""

    async def pull(self, name: str) -> str:
        """Fetch an image and return its reference."""

    async def close(self) -> None:
        """Release the connection."""
