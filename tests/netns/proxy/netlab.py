"""A small world of network namespaces for traffic tests; sockets in it are used from the test's own process.

world (172.30.0.1) -- node (172.30.0.2) -- pods 10.64.0.N, one namespace each, routed
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from moorings_core.kernel import bpf
from moorings_core.kernel.nftables.netns import call_in

T = TypeVar("T")
counter = itertools.count()
WORLD, NODE, WORLD6, NODE6 = "172.30.0.1", "172.30.0.2", "fd30::1", "fd30::2"


@dataclass
class Net:
    """Namespaces by short name; `close` removes them."""

    prefix: str = field(default_factory=lambda: f"px{os.getpid()}-{next(counter)}")
    names: list[str] = field(default_factory=list)
    cgroup: Path | None = None
    """Where sockets of the node and its pods are made, if that matters."""

    def path(self, name: str) -> str:
        return f"/run/netns/{self.prefix}-{name}"

    def add(self, name: str) -> str:
        subprocess.run(["ip", "netns", "add", f"{self.prefix}-{name}"], check=True)
        self.names.append(name)
        self.ip(name, "link set lo up")
        return self.path(name)

    def ip(self, name: str, *lines: str) -> None:
        command = ["ip", "-n", f"{self.prefix}-{name}", "-batch", "-"]
        done = subprocess.run(command, input="\n".join(lines), text=True, capture_output=True)
        assert done.returncode == 0, done.stderr

    def run(self, name: str, *command: str, check: bool = True) -> str:
        done = subprocess.run(["ip", "netns", "exec", f"{self.prefix}-{name}", *command], capture_output=True, text=True)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def sysctl(self, name: str, *settings: str) -> None:
        self.run(name, "sysctl", "-qw", *settings)

    def close(self) -> None:
        for name in self.names:
            subprocess.run(["ip", "netns", "del", f"{self.prefix}-{name}"], check=True)

    def tcp(self, where: str, address: str, port: int, timeout: float = 3) -> str:
        """Connect, and return "NAME PEER-ADDRESS" as the server answers. Raises OSError."""
        with self.connect(where, address, port, timeout) as sock:
            return sock.recv(200).decode()

    def connect(self, where: str, address: str, port: int, timeout: float = 3) -> socket.socket:
        sock = self.socket(where, address, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        try:
            sock.connect((address, port))
        except OSError:
            sock.close()
            raise
        return sock

    def socket(self, where: str, address: str, kind: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return self.call(where, lambda: socket.socket(family, kind))

    def call(self, where: str, function: Callable[[], T]) -> T:
        """Return function(), run in a namespace and, but for the world's, in the node's cgroup."""

        def body() -> T:
            if self.cgroup and where != "world":
                (self.cgroup / "cgroup.threads").write_text(str(threading.get_native_id()))
            return function()

        return call_in(self.path(where), body)


class Lab(Net):
    """The world above."""

    def __init__(self) -> None:
        super().__init__()
        self.pods = 0
        self.servers: list[Server] = []
        self.node = self.path("node")

    def build(self) -> None:
        self.add("node")
        self.add("world")
        self.ip(
            "node",
            f"link add world type veth peer name eth0 netns {self.prefix}-world",
            f"addr add {NODE}/24 dev world",
            f"addr add {NODE6}/64 dev world nodad",
            "link set world up",
            f"route add default via {WORLD}",
            f"route add default via {WORLD6}",
        )
        self.ip("world", f"addr add {WORLD}/24 dev eth0", f"addr add {WORLD6}/64 dev eth0 nodad", "link set eth0 up")
        self.ip("world", f"route add default via {NODE}", f"route add default via {NODE6}")
        self.sysctl("node", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")

    def pod(self) -> tuple[str, str, str]:
        """Make a pod; return its short name, IPv4 and IPv6 address."""
        self.pods += 1
        name, four, six = f"p{self.pods}", f"10.64.0.{self.pods + 1}", f"fd64::{self.pods + 1}"
        self.add(name)
        self.ip(
            "node",
            f"link add {name} type veth peer name eth0 netns {self.prefix}-{name}",
            f"addr add 10.64.0.1/32 dev {name}",
            f"addr add fd64::1/128 dev {name} nodad",
            f"link set {name} up",
            f"route add {four}/32 dev {name}",
            f"route add {six}/128 dev {name}",
        )
        self.ip(
            name,
            f"addr add {four}/32 dev eth0",
            f"addr add {six}/128 dev eth0 nodad",
            "link set eth0 up",
            "route add 10.64.0.1 dev eth0",
            "route add fd64::1 dev eth0",
            "route add default via 10.64.0.1",
            "route add default via fd64::1",
        )
        return name, four, six

    def serve(self, name: str, port: int = 8080) -> Server:
        server = Server(self.path(name), name, port)
        self.servers.append(server)
        return server

    def close(self) -> None:
        for server in self.servers:
            server.close()
        super().close()

    def socket_of(self, where: str, family: int, kind: int, protocol: int) -> socket.socket:
        return self.call(where, lambda: socket.socket(family, kind, protocol))

    def udp(self, where: str, address: str, port: int, timeout: float = 3, source: int = 0) -> str:
        """As tcp, by one datagram and its answer."""
        with self.socket(where, address, socket.SOCK_DGRAM) as sock:
            sock.settimeout(timeout)
            if source:
                sock.bind(("", source))
            sock.connect((address, port))
            sock.send(b"?")
            return sock.recv(200).decode()

    def spread(self, ask: Callable[[], str], times: int) -> Counter[str]:
        return Counter(ask().split()[0] for _ in range(times))


class Server:
    """TCP and UDP on one port of both families; answers "NAME PEER-ADDRESS", then echoes."""

    def __init__(self, netns: str, name: str, port: int) -> None:
        self.name, self.closing = name, False

        def bind(kind: int) -> socket.socket:
            sock = socket.socket(socket.AF_INET6, kind)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.bind(("::", port))
            return sock

        self.listener = call_in(netns, lambda: bind(socket.SOCK_STREAM))
        self.listener.listen(128)
        self.datagrams = call_in(netns, lambda: bind(socket.SOCK_DGRAM))
        self.open: list[socket.socket] = []
        self.threads = [threading.Thread(target=self._tcp, daemon=True), threading.Thread(target=self._udp, daemon=True)]
        for thread in self.threads:
            thread.start()

    def _words(self, peer: tuple[str, ...]) -> bytes:
        return f"{self.name} {peer[0].removeprefix('::ffff:')}".encode()

    def _tcp(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, peer = self.listener.accept()
                self.open.append(sock)
                sock.sendall(self._words(peer))
                thread = threading.Thread(target=self._echo, args=(sock,), daemon=True)
                self.threads.append(thread)
                thread.start()

    def _echo(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := sock.recv(65536):
                sock.sendall(data)
        sock.close()

    def _udp(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                _, peer = self.datagrams.recvfrom(2048)
                if self.closing:
                    return
                self.datagrams.sendto(self._words(peer), peer)

    def close(self) -> None:
        self.closing = True
        for sock in (self.listener, *self.open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self.datagrams.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(5)
        for sock in (self.listener, self.datagrams, *self.open):
            sock.close()


@contextlib.contextmanager
def lab() -> Iterator[Lab]:
    made = Lab()
    try:
        made.build()
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def cgroup(lab: Lab) -> Iterator[str]:
    """Give a lab a cgroup of v2 that threads can enter one by one; yield its name below the hierarchy. This process moves beside it."""
    root = bpf.cgroups()
    assert root is not None
    whole = root / lab.prefix
    lab.cgroup = whole / "node"
    lab.cgroup.mkdir(parents=True)
    before = next(line.split(":", 2)[2] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0:"))
    try:
        (lab.cgroup / "cgroup.type").write_text("threaded")
        (whole / "cgroup.procs").write_text(str(os.getpid()))
        yield f"{whole.name}/node"
    finally:
        (root / before.lstrip("/") / "cgroup.procs").write_text(str(os.getpid()))
        lab.cgroup.rmdir()
        whole.rmdir()
        lab.cgroup = None
