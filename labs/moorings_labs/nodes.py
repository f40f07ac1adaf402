"""A lab node: its files, and the process that is its PID 1. Powering off is killing that process; everything of it dies with it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from moorings_core import durable
from moorings_core.ports.cluster import LabNode
from moorings_core.ports.errors import MooringsError

from . import cgroups, golden
from .layout import Layout

INIT = Path(__file__).with_name("init.py")
PRIVATE = ("/run/containerd", "/var/lib/cni")
"""Where containerd and its shims put sockets and notes of CNI results whatever they are told: each node has its own."""
KILL_SECONDS = 10.0


class NodeError(MooringsError):
    """A node does not start; the text ends with the last lines of its log."""


@dataclass(frozen=True, slots=True)
class NodePlan:
    """A node with everything that its files say."""

    layout: Layout
    node: LabNode
    address: str
    server: str
    """the server's address"""

    @property
    def root(self) -> Path:
        """The node's own directory."""
        return self.layout.node_root(self.node.name)

    @property
    def run(self) -> Path:
        """The directory of its sockets."""
        return self.layout.node_run(self.node.name)

    @property
    def socket(self) -> Path:
        """containerd's socket."""
        return self.run / "containerd.sock"

    @property
    def registries(self) -> Path:
        """The directory that says where the images of which registry come from."""
        return self.layout.registries(self.node.name)

    @property
    def is_server(self) -> bool:
        """Whether the control plane runs here."""
        return "server" in self.node.roles

    @property
    def is_node(self) -> bool:
        """Whether pods run here."""
        return "node" in self.node.roles


def write_files(plan: NodePlan) -> None:
    """Write the node's configuration."""
    for directory in (plan.root / "logs", plan.root / "agent", plan.run):
        directory.mkdir(parents=True, exist_ok=True)
    if plan.is_node:
        text = golden.configuration(plan.root / "containerd", plan.run, plan.root / "agent", plan.registries)
        durable.write(plan.root / "containerd.toml", text.encode())
        durable.write(plan.root / "resolv.conf", b"")
    config = {
        "hostname": plan.node.name,
        "tmpfs": PRIVATE,
        "binds": [[str(plan.root), str(plan.root)]],
        "sysctls": {"/proc/sys/net/ipv4/ip_forward": "1"},
        "children": _children(plan),
    }
    durable.write(plan.root / "init.json", json.dumps(config).encode())


def start(plan: NodePlan) -> int:
    """Start a node that does not run; return the id of its PID 1 as the machine sees it."""
    known = pid_of(plan.layout, plan.node.name)
    if known:
        return known
    write_files(plan)
    shutil.rmtree(plan.run, ignore_errors=True)
    plan.run.mkdir(parents=True)
    first = plan.is_server and not plan.is_node  # pods are not to come before those of other nodes
    groups = cgroups.make(plan.layout.cgroup, plan.node.name, plan.node.cpu, plan.node.memory, first=first)
    log = (plan.root / "logs" / "init.log").open("ab")
    namespace = f"/run/netns/{plan.layout.namespace(plan.node.name)}"
    flags = ["--mount", "--pid", "--fork", "--uts", "--ipc", "--kill-child=SIGKILL", "--propagation", "private"]
    command = ["nsenter", f"--net={namespace}", "unshare", *flags, sys.executable, "-I", "-S", str(INIT), str(plan.root / "init.json")]
    process = subprocess.Popen(cgroups.joined(groups, command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    log.close()
    durable.write(_pid_file(plan.layout, plan.node.name), f"{process.pid} {_start_time(process.pid)}".encode())
    return process.pid


def pid_of(layout: Layout, node: str) -> int:
    """Return the process that holds a running node, 0 when it is off. Ids that were given to another process do not count."""
    file = _pid_file(layout, node)
    if not file.exists():
        return 0
    pid, _, started = file.read_text().partition(" ")
    return int(pid) if _start_time(int(pid)) == started.strip() != "" else 0


def first_process(layout: Layout, node: str) -> int:
    """Return the machine's id of the node's PID 1, 0 when the node is off."""
    holder = pid_of(layout, node)
    if not holder:
        return 0
    children = Path(f"/proc/{holder}/task/{holder}/children")
    listed = children.read_text().split() if children.exists() else []
    return int(listed[0]) if listed else 0


async def power_off(layout: Layout, node: str) -> None:
    """Kill a node at once, as a power cut does, and wait until it is gone."""
    first, holder = first_process(layout, node), pid_of(layout, node)
    for pid in (first, holder):
        if pid:
            _kill(pid)
    async with asyncio.timeout(KILL_SECONDS):
        while _start_time(first) or pid_of(layout, node):
            _reap(holder)
            await asyncio.sleep(0.005)
    _pid_file(layout, node).unlink(missing_ok=True)
    await asyncio.to_thread(cgroups.remove, layout.cgroup, node)


def enter(layout: Layout, node: str) -> list[str]:
    """Return the words before a command that runs it inside a node. Raises NodeError."""
    first = first_process(layout, node)
    if not first:
        raise NodeError(f"node {node} is not running: `moorings node start {node}`")
    return ["nsenter", "--target", str(first), "--mount", "--net", "--pid", "--uts", "--ipc", "--"]


def last_lines(layout: Layout, node: str, component: str, count: int = 5) -> str:
    """Return the end of a component's log."""
    file = layout.node_root(node) / "logs" / f"{component}.log"
    return "\n".join(file.read_text(errors="replace").splitlines()[-count:]) if file.exists() else ""


def _children(plan: NodePlan) -> list[dict[str, object]]:
    program = [sys.executable, "-m", "moorings_core.cli"]
    logs, pki = plan.root / "logs", plan.layout.pki
    found: list[dict[str, object]] = []
    if plan.is_server:
        options = ["--config", str(plan.layout.cluster_file), "--data", str(plan.root / "server"), "--advertise", plan.address]
        found.append({"name": "server", "command": [*program, "server", *options], "log": str(logs / "server.log")})
    if plan.is_node:
        containerd = ["containerd", "--config", str(plan.root / "containerd.toml"), "--log-level", "warn"]
        found.append({"name": "containerd", "command": containerd, "log": str(logs / "containerd.log")})
        name = plan.node.name
        options = ["--credentials", str(pki / name), "--node-name", name, "--root", str(plan.root / "agent")]
        options += ["--run", str(plan.run), "--containerd-socket", str(plan.socket), "--node-ip", plan.address]
        options += ["--cgroup", f"/{plan.layout.cgroup}/{name}", "--cpu", str(plan.node.cpu), "--memory", str(plan.node.memory)]
        for key, value in plan.node.labels.items():
            options += ["--label", f"{key}={value}"]
        found.append({"name": "agent", "command": [*program, "agent", *options], "log": str(logs / "agent.log")})
    return found


def _pid_file(layout: Layout, node: str) -> Path:
    return layout.node_root(node) / "pid"


def _start_time(pid: int) -> str:
    """Return when a process started, "" when there is none or it is a zombie: an id alone may belong to somebody else by now."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in ("Z", "X") or pid == 0 else fields[19]


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _reap(pid: int) -> None:
    """Take the exit code of a holder that this very process started."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
