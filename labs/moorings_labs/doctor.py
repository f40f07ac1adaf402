"""What this machine has, what it lacks, and which feature that costs. Every check tries the thing itself and leaves nothing behind.

`examine` runs checks side by side; `need` raises the first thing without which a lab cannot run, in one sentence.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from moorings_core.kernel import filesystems
from moorings_core.ports.errors import MooringsError

from . import layout

Probe = Callable[[], str]
"""Returns "" where the thing is there, else what is wrong with it."""
CAPABILITY = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21, "CAP_SYS_RESOURCE": 24}
INOTIFY_EACH, NODES = 4, 4
PROBE_SECONDS = 10.0


class Lacking(MooringsError):
    """Something is missing without which nothing works; the text says what, which feature is lost, and what to do."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look for. costs: the feature that is lost without it. needed: no lab runs without it."""

    name: str
    probe: Probe
    costs: str
    needed: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found; problem is "" where all is well."""

    name: str
    problem: str
    costs: str
    needed: bool

    @property
    def verdict(self) -> str:
        """Return ok, missing (a feature is lost) or FAILED (nothing works)."""
        return "ok" if not self.problem else "FAILED" if self.needed else "missing"


def examine(checks: Iterable[Check]) -> list[Finding]:
    """Try everything, in the order given."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda c: Finding(c.name, c.probe(), c.costs, c.needed), checks))


def need(checks: Sequence[Check]) -> None:
    """Raise Lacking where something needed is missing."""
    for finding in examine([c for c in checks if c.needed]):
        if finding.problem:
            raise Lacking(f"{finding.problem}; without it there are no {finding.costs} (`moorings doctor` tells all)")


def link(kind: str, *options: str) -> str:
    """Try to make a link of a kind in a network namespace that goes with the command."""
    command = ["unshare", "--net", "ip", "link", "add", "probe", "type", kind, *options]
    return _try(command, f"this kernel makes no {kind} links")


def program(name: str, package: str) -> str:
    """Look for a program."""
    return "" if shutil.which(name) else f"{name} is not installed (apt-get install {package})"


def file_system(name: str) -> str:
    """Look whether the kernel can mount a file system, loading its module as mount would."""
    listed = Path("/proc/filesystems").read_text().split()
    return "" if name in listed else _module(name)


def reflink(directory: Path) -> str:
    """Look whether files below a directory, which need not be there yet, can share blocks."""
    place = next(path for path in (directory, *directory.parents) if path.exists())
    try:
        with tempfile.TemporaryDirectory(dir=place, prefix=".probe-") as scratch:
            one, other = Path(scratch, "one"), Path(scratch, "other")
            other.touch()
            return (
                "" if filesystems.shares_blocks(one, other) else f"files on {place} share no blocks (poolFsType: xfs gives a pool its own)"
            )
    except OSError as error:
        return f"{place} cannot be written to ({error.strerror})"


def capability(name: str) -> str:
    """Look whether this process may have a capability."""
    bounding = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff"))
    return "" if int(bounding, 16) >> CAPABILITY[name] & 1 else f"{name} is not ours to use"


def _root() -> str:
    return "" if os.geteuid() == 0 else "not root: nodes are network, mount and process namespaces (try sudo)"


def _nftables() -> str:
    return _try(["unshare", "--net", "nft", "add table ip probe"], "this kernel has no nf_tables")


def _queue_discipline(kind: str) -> str:
    command = ["unshare", "--net", "tc", "qdisc", "add", "dev", "lo", "root", kind]
    return _try(command, f"this kernel has no queue discipline {kind}")


def _path(path: str) -> str:
    return "" if Path(path).exists() else f"{path} is not there"


def _module(name: str) -> str:
    return "" if _loadable(name) else f"this kernel has no {name}"


def _sctp() -> str:
    """Try to open a socket, which loads the kernel's module where there is one."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
    except OSError as error:
        return f"this kernel has no SCTP sockets ({error.strerror})"
    return ""


def _virtual_server() -> str:
    return "" if Path("/proc/net/ip_vs").exists() else _module("ip_vs")


def _socket_programs() -> str:
    from moorings_proxy.ebpf import source  # here: nobody else in a lab needs it

    return source.missing()


def _inotify() -> str:
    limit = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
    return "" if limit >= INOTIFY_EACH * NODES else f"fs.inotify.max_user_instances is {limit}"


def _loadable(module: str) -> bool:
    try:
        command = ["modprobe", "--dry-run", "--quiet", module]
        return subprocess.run(command, capture_output=True, check=False, timeout=PROBE_SECONDS).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _try(command: list[str], problem: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PROBE_SECONDS)
    except FileNotFoundError:
        return f"{command[0]} is not installed"
    except subprocess.TimeoutExpired:
        return f"{' '.join(command)} does not end"
    return "" if done.returncode == 0 else f"{problem} ({' '.join(done.stderr.split()) or 'no reason given'})"


NODE = "labs and nodes"
NEEDED = (
    Check("root", _root, NODE, True),
    Check("CAP_SYS_ADMIN", partial(capability, "CAP_SYS_ADMIN"), NODE, True),
    Check("CAP_NET_ADMIN", partial(capability, "CAP_NET_ADMIN"), NODE, True),
    Check("containerd", partial(program, "containerd", "containerd"), "pods", True),
    Check("runc", partial(program, "runc", "runc"), "pods", True),
    Check("/etc/hosts", partial(_path, "/etc/hosts"), "pods: containerd copies it to each", True),
    Check("ip", partial(program, "ip", "iproute2"), "lab networks", True),
    Check("unshare", partial(program, "unshare", "util-linux"), NODE, True),
    Check("busybox", partial(_path, "/bin/busybox"), "base images (install busybox-static)", True),
    Check("veth", partial(link, "veth"), "pod networks", True),
    Check("bridge", partial(link, "bridge"), "lab switches", True),
    Check("nf_tables", _nftables, "services and masquerade (proxy backend nftables)", True),
    Check("overlay", partial(file_system, "overlay"), "container root file systems", True),
)
OPTIONAL = (
    Check("vxlan", partial(link, "vxlan", "id", "1", "dstport", "4789"), "network backend vxlan (routed works)"),
    Check("loop", lambda: _path("/dev/loop-control") and _module("loop"), "storage backend image"),
    Check("ext4", partial(program, "mkfs.ext4", "e2fsprogs"), "volumes with fsType ext4"),
    Check("xfs", lambda: file_system("xfs") or program("mkfs.xfs", "xfsprogs"), "volumes with fsType xfs"),
    Check(
        "btrfs", lambda: file_system("btrfs") or program("mkfs.btrfs", "btrfs-progs"), "storage backend btrfs, volumes with fsType btrfs"
    ),
    Check("reflink", lambda: reflink(layout.root()), "snapshots and clones by storage backend image without a pool of its own"),
    Check("conntrack", partial(program, "conntrack", "conntrack"), "the flow tables in `moorings exec NODE -- conntrack -L`"),
    Check("CAP_SYS_RESOURCE", partial(capability, "CAP_SYS_RESOURCE"), "OOM scores below the node's own (containerd restricts them)"),
    Check("ip_vs", _virtual_server, "proxy backend ipvs"),
    Check("ebpf", _socket_programs, "proxy backend ebpf"),
    Check("sctp", _sctp, "pods that speak SCTP themselves (Services and policies for SCTP work: they need no sockets)"),
    Check("wireguard", partial(link, "wireguard"), "encrypted underlays"),
    Check("dummy", partial(link, "dummy"), "dummy links inside pods and nodes"),
    Check("netem", partial(_queue_discipline, "netem"), "delay on lab links by the kernel"),
    Check("inotify", _inotify, "labs of more than four nodes"),
)
CHECKS = NEEDED + OPTIONAL
