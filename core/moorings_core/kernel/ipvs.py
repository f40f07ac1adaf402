"""The kernel's IP virtual servers (ip_vs), keyed by packet marks, through pyroute2's generic netlink.

pyroute2 is imported when a connection is opened: nobody else pays for it. Source: linux/ip_vs.h, ipvsadm(8).
"""

from __future__ import annotations

import contextlib
import errno
import socket
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from . import sysctl
from .nftables.netns import enter

MASQUERADE, SCHEDULER = 0, "rr"
SETTINGS = {"net/ipv4/vs/conntrack": 1, "net/ipv4/vs/expire_nodest_conn": 1, "net/ipv4/vs/conn_reuse_mode": 1}
"""Flows are tracked, so that their source can be translated; those of a deleted real server end instead of waiting for it."""
MISSING = "this kernel has no IP virtual servers: it needs CONFIG_IP_VS and CONFIG_IP_VS_RR (modules ip_vs, ip_vs_rr)"


PLACE, LOAD_SECONDS = Path("/proc/net/ip_vs"), 20.0


class IpvsMissing(OSError):
    """The kernel lacks the feature."""

    def __init__(self) -> None:
        super().__init__(errno.ENOPROTOOPT, MISSING)


def is_there() -> bool:
    """Whether the kernel has virtual servers; a module is loaded if it can be."""
    if not PLACE.exists():
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(["modprobe", "-a", "ip_vs", "ip_vs_rr"], capture_output=True, timeout=LOAD_SECONDS, check=False)
    return PLACE.exists()


class Virtual(NamedTuple):
    """A virtual server: packets of a family (AF_INET, AF_INET6) with a mark."""

    family: int
    mark: int


class Real(NamedTuple):
    """A real server behind a virtual one."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class State:
    """How a real server stands: weight 0 gets no new connections; connections: those it still has."""

    weight: int
    connections: int


class Ipvs:
    """A socket to ip_vs in one network namespace. Calls block, and come one at a time. They raise OSError."""

    def __init__(self, netns: str | None = None) -> None:
        """Open it and set what this backend needs. Raises IpvsMissing."""
        if not is_there():
            raise IpvsMissing
        from pyroute2 import IPVS, IPVSDest, IPVSService
        from pyroute2.netlink.exceptions import NetlinkError

        self._dest, self._service, self._error = IPVSDest, IPVSService, NetlinkError
        # pyroute2 keeps a socket for each thread that calls: so there is one thread, and it lives in the namespace.
        self._thread = ThreadPoolExecutor(1, "ipvs", *((enter, (netns,)) if netns else ()))
        try:
            self._socket = self._thread.submit(IPVS).result()
            self._thread.submit(_settle).result()
        except (NetlinkError, OSError):
            self._thread.shutdown()
            raise

    def close(self) -> None:
        """Close the socket; the servers stay."""
        self._thread.submit(self._socket.close).result()
        self._thread.shutdown()

    def virtuals(self) -> set[Virtual]:
        """Return the virtual servers that are keyed by marks."""
        found = (_attributes(message, "IPVS_CMD_ATTR_SERVICE") for message in self._do(lambda: self._socket.service("dump")) or ())
        return {Virtual(a["IPVS_SVC_ATTR_AF"], a["IPVS_SVC_ATTR_FWMARK"]) for a in found if a.get("IPVS_SVC_ATTR_FWMARK")}

    def reals(self, virtual: Virtual) -> dict[Real, State] | None:
        """Return the real servers of a virtual one; None: it is not there."""
        if self._do(lambda: self._socket.service("get", service=self._key(virtual)), done=errno.ESRCH) is None:
            return None  # a dump of what is not there is empty, and no error
        found = {}
        for message in self._do(lambda: self._socket.dest("dump", service=self._key(virtual))) or ():
            a = _attributes(message, "IPVS_CMD_ATTR_DEST")
            count = a["IPVS_DEST_ATTR_ACTIVE_CONNS"] + a["IPVS_DEST_ATTR_INACT_CONNS"]
            found[Real(a["IPVS_DEST_ATTR_ADDR"], a["IPVS_DEST_ATTR_PORT"])] = State(a["IPVS_DEST_ATTR_WEIGHT"], count)
        return found

    def add_virtual(self, virtual: Virtual) -> None:
        """Add a virtual server; one that is there is fine."""
        self._do(lambda: self._socket.service("add", service=self._key(virtual)), done=errno.EEXIST)

    def delete_virtual(self, virtual: Virtual) -> None:
        """Delete a virtual server with its real ones."""
        self._do(lambda: self._socket.service("del", service=self._key(virtual)), done=errno.ESRCH)

    def add_real(self, virtual: Virtual, real: Real) -> None:
        """Add a real server, or give one that is there its weight back."""
        if self._do(lambda: self._socket.dest("add", self._key(virtual), self._real(virtual, real, 1)), done=errno.EEXIST) is None:
            self._do(lambda: self._socket.dest("set", self._key(virtual), self._real(virtual, real, 1)))

    def drain(self, virtual: Virtual, real: Real) -> None:
        """Let a real server have no new connections."""
        self._do(lambda: self._socket.dest("set", self._key(virtual), self._real(virtual, real, 0)), done=errno.ENOENT)

    def delete_real(self, virtual: Virtual, real: Real) -> None:
        """Delete a real server; its connections end."""
        self._do(lambda: self._socket.dest("del", self._key(virtual), self._real(virtual, real, 0)), done=errno.ENOENT)

    def _key(self, virtual: Virtual) -> Any:
        whole = "255.255.255.255" if virtual.family == socket.AF_INET else "128.0.0.0"  # of IPv6 the length, in this field's bytes
        return self._service(af=virtual.family, fwmark=virtual.mark, sched_name=SCHEDULER, netmask=whole)

    def _real(self, virtual: Virtual, real: Real, weight: int) -> Any:
        return self._dest(addr_family=virtual.family, addr=real.address, port=real.port, fwd_method=MASQUERADE, weight=weight)

    def _do(self, call: Callable[[], Iterable[Any]], done: int = 0) -> list[Any] | None:
        """Return the answers; None when the kernel says by `done` that it is so already."""
        try:
            return self._thread.submit(lambda: list(call())).result()
        except self._error as error:
            if done and error.code == done:
                return None
            raise OSError(error.code, f"ip_vs: {error}") from error


def _settle() -> None:
    for name, value in SETTINGS.items():
        sysctl.ensure(name, value)


def _attributes(message: Any, name: str) -> dict[str, Any]:
    return dict(message.get_attr(name)["attrs"])
