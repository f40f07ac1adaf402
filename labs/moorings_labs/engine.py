"""Labs: up, down, and everything in between. Every step may have been done before; starting again is going on.

What is to be made is written down before anything is made, so that a lab whose `up` was killed can be finished or taken down.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from moorings_core.client.http import HttpClient
from moorings_core.client.resources import NODES, PODS
from moorings_core.config import load_text, with_lab
from moorings_core.kernel import loops, mounts
from moorings_core.ports.cluster import ClusterConfig
from moorings_core.ports.errors import ApiError, MooringsError
from moorings_core.ports.objects import Object

from . import certificates, golden, images, network, nodes
from . import layout as layouts
from .layout import Layout, State
from .nodes import NodePlan
from .pools import with_pools
from .progress import step

POLL_SECONDS = 0.05
XFS_MAGIC = b"XFSB"
IMPORT_SECONDS, STATUS_SECONDS = 60.0, 5.0


class LabError(MooringsError):
    """A lab cannot be made or used; the text names the node, the step, the log's last lines and what to do."""


class NoSuchLab(LabError):
    """There is no lab of that name."""

    exit_code = 4


class NoSuchNode(LabError):
    """The lab has no node (or component) of that name."""

    exit_code = 4


class LabTimeout(LabError):
    """A step took longer than it was given."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab as its files say."""

    layout: Layout
    state: State
    config: ClusterConfig

    def plan(self, name: str) -> NodePlan:
        """Return the plan of a node. Raises NoSuchNode."""
        found = next((n for n in self.config.lab.nodes if n.name == name), None)
        if found is None:
            raise NoSuchNode(f"lab {self.state.name} has no node {name!r}; it has {', '.join(n for n, _ in self.state.nodes)}")
        addresses = dict(self.state.nodes)
        return NodePlan(self.layout, found, addresses[name], addresses[self.server])

    @property
    def plans(self) -> list[NodePlan]:
        """The plans of all nodes, the server first."""
        ordered = sorted(self.config.lab.nodes, key=lambda n: "server" not in n.roles)
        return [self.plan(n.name) for n in ordered]

    @property
    def server(self) -> str:
        """The name of the server's node."""
        return next(n.name for n in self.config.lab.nodes if "server" in n.roles)


def find(name: str) -> Lab:
    """Return a lab. Raises NoSuchLab."""
    state = layouts.load(name)
    if state is None:
        known = ", ".join(sorted(d.name for d in layouts.root().glob("*") if layouts.load(d.name))) or "none"
        raise NoSuchLab(f"there is no lab {name!r}; labs here: {known}")
    layout = Layout(state.name, state.number)
    return Lab(layout, state, load_text(layout.cluster_file.read_text(), str(layout.cluster_file)))


def check(text: str, source: str) -> ClusterConfig:
    """Return the configuration of a cluster file. Raises ConfigError and UnknownBackend, which name the file."""
    load_text(text, source)
    return load_text(with_lab(text), source)


async def up(name: str, text: str, timeout: float) -> Lab:
    """Make or finish a lab; return when every node is Ready. Raises LabError, ConfigError, UnknownBackend."""
    text = with_lab(text)
    config = load_text(text)
    with _locked(name):
        lab = _prepare(name, text, config)
        with step("network"):
            await network.make(lab.layout, lab.state, dict(lab.state.nodes))
        with step("certificates and images"):
            await asyncio.to_thread(certificates.make, lab.layout, lab.state, config)
            prepared = await asyncio.to_thread(golden.directory)
        with step("machines"):
            await asyncio.gather(*(asyncio.to_thread(_start, plan, prepared) for plan in lab.plans))
        with step("API"):
            await _api(lab, timeout)
        with step("nodes ready"):
            await ready(lab, {plan.node.name for plan in lab.plans if plan.is_node}, timeout)
        return lab


async def down(name: str) -> None:
    """Take a lab down, whatever is there of it. Raises NoSuchLab."""
    state = layouts.load(name)
    if state is None:
        raise NoSuchLab(f"there is no lab {name!r}")
    layout = Layout(state.name, state.number)
    with _locked(name):
        await asyncio.gather(*(nodes.power_off(layout, node) for node, _ in state.nodes))
        await network.remove(layout, state)
        await asyncio.to_thread(_release_loops, layout.root)
        shutil.rmtree(layout.run, ignore_errors=True)
        shutil.rmtree(layout.root)


async def power_off(lab: Lab, node: str) -> None:
    """Cut a node's power: its processes die at once and its kernel's network state is gone; its disk stays. Raises LabError."""
    plan = lab.plan(node)
    with _locked(lab.state.name):
        await nodes.power_off(lab.layout, plan.node.name)
        await network.remove_namespace(lab.layout.namespace(plan.node.name))


async def start(lab: Lab, node: str, timeout: float) -> None:
    """Give a node its power back and wait until it is Ready. Raises LabError, NodeError, LabTimeout."""
    plan = lab.plan(node)
    with _locked(lab.state.name):
        await network.make(lab.layout, lab.state, {node})
        await asyncio.to_thread(nodes.start, plan)
        await _api(lab, timeout)
        if plan.is_node:
            await ready(lab, {node}, timeout)


async def status(lab: Lab) -> list[dict[str, str | int]]:
    """Return a row for each node: what the machine says of it, and what the API says when it answers."""
    known, pods = await _known(lab)
    return [
        {
            "name": plan.node.name,
            "roles": ",".join(plan.node.roles),
            "power": "on" if (pid := nodes.first_process(lab.layout, plan.node.name)) else "off",
            "ready": ("yes" if is_ready(known[plan.node.name]) else "no") if plan.node.name in known else "-",
            "address": plan.address,
            "pods": pods.count(plan.node.name),
            "pid": pid,
        }
        for plan in lab.plans
    ]


async def _known(lab: Lab) -> tuple[dict[str, Object], list[str]]:
    """Return the API's nodes by name, and the node of each pod; nothing when it does not answer."""
    client = HttpClient.from_kubeconfig(lab.layout.kubeconfig)
    try:
        async with asyncio.timeout(STATUS_SECONDS):
            known = {n["metadata"]["name"]: n for n in (await client.list(NODES)).items}
            return known, [p["spec"].get("nodeName", "") for p in (await client.list(PODS)).items]
    except (ApiError, OSError, TimeoutError):
        return {}, []
    finally:
        await client.close()


async def ready(lab: Lab, wanted: set[str], timeout: float) -> None:
    """Wait until nodes are Ready. Raises LabTimeout naming what is missing."""
    client = HttpClient.from_kubeconfig(lab.layout.kubeconfig)
    missing = wanted
    try:
        async with asyncio.timeout(timeout):
            while missing:
                missing = wanted - await _ready_nodes(client)
                await asyncio.sleep(POLL_SECONDS if missing else 0)
    except TimeoutError:
        node = min(missing)
        last = nodes.last_lines(lab.layout, node, "agent")
        hint = f"moorings logs {node}"
        raise LabTimeout(f"node {node} is not Ready after {timeout:g}s; its agent's last lines:\n{last}\nNext: {hint}") from None
    finally:
        await client.close()


async def load_image(lab: Lab, archive: Path) -> dict[str, bool]:
    """Import an image archive into every node that runs; return which nodes have it. Raises LabError."""
    if not images.is_archive(archive):
        raise LabError(f"{archive} is no image archive: make one with `docker save` or `ctr image export`")
    running = [p for p in lab.plans if p.is_node and nodes.pid_of(lab.layout, p.node.name)]
    await asyncio.gather(*(_import(plan, archive) for plan in running))
    return {plan.node.name: plan in running for plan in lab.plans if plan.is_node}


async def _ready_nodes(client: HttpClient) -> set[str]:
    try:
        page = await client.list(NODES)
    except (ApiError, OSError, TimeoutError):
        return set()
    return {n["metadata"]["name"] for n in page.items if is_ready(n)}


def is_ready(node: Object) -> bool:
    """Whether a Node is Ready and pods may be put on it."""
    conditions = node.get("status", {}).get("conditions", ())
    tainted = any(t["key"] == "node.kubernetes.io/not-ready" for t in node["spec"].get("taints", ()))
    return not tainted and any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _prepare(name: str, text: str, config: ClusterConfig) -> Lab:
    """Write down what is to be made; a lab that is there keeps what it has."""
    if layouts.load(name) is None:
        with _numbering():
            state = layouts.choose(name, config.lab.nodes, network.used())
            layout = Layout(state.name, state.number)
            layout.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            layout.cluster_file.write_text(with_pools(text, layout))
            state.save(layout)
        return find(name)
    lab = find(name)
    config = load_text(with_pools(text, lab.layout))
    differing = [f.name for f in fields(config) if getattr(config, f.name) != getattr(lab.config, f.name)]
    if differing:
        hint = f"`moorings swap` exchanges a backend; for the rest `moorings down {name}` first"
        raise LabError(f"lab {name} is there, made from a file that differs in {', '.join(differing)}: {hint}")
    return lab


async def _api(lab: Lab, timeout: float) -> None:
    client = HttpClient.from_kubeconfig(lab.layout.kubeconfig)
    try:
        async with asyncio.timeout(timeout):
            while True:
                try:
                    await client.list(NODES, limit=1)
                    return
                except (ApiError, OSError, TimeoutError):
                    await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        last = nodes.last_lines(lab.layout, lab.server, "server")
        raise LabTimeout(f"the server does not answer after {timeout:g}s; its last lines:\n{last}\nNext: moorings logs server") from None
    finally:
        await client.close()


def _start(plan: NodePlan, prepared: Path) -> None:
    """Start a machine; a new one gets its disk first."""
    if plan.is_node:
        plan.root.mkdir(parents=True, exist_ok=True)
        golden.copy(prepared, plan.root / "containerd")
    nodes.start(plan)


async def _import(plan: NodePlan, archive: Path) -> None:
    command = ["ctr", "--address", str(plan.socket), "--namespace", "k8s.io", "images", "import", str(archive)]
    inside = nodes.enter(plan.layout, plan.node.name)
    done = await asyncio.to_thread(subprocess.run, [*inside, *command], capture_output=True, text=True, check=False, timeout=IMPORT_SECONDS)
    if done.returncode != 0:
        raise LabError(f"node {plan.node.name}: importing {archive.name} failed: {done.stderr.strip()}")


def _release_loops(directory: Path) -> None:
    """Give back the loop devices of the lab's volumes; their mounts went with the nodes."""
    for file in directory.glob("nodes/*/agent/volumes/*/volumes/*"):
        loops.detach(loops.identity(file))
    for image in directory.glob("nodes/*/agent/volumes/*.img"):
        pool = loops.find(loops.identity(image))
        if pool is not None:
            _release_pool(pool)


def _release_pool(pool: loops.Loop) -> None:
    """Give back the loops of files on a pool's own file system: they hold it, and only a mount of it tells which they are."""
    with tempfile.TemporaryDirectory(prefix="moorings-") as place:
        with open(pool.path, "rb") as device:
            fs_type = "xfs" if device.read(4) == XFS_MAGIC else "btrfs"
        mounts.mount(pool.path, place, fs_type)
        try:
            for file in Path(place).glob("volumes/*"):
                loops.detach(loops.identity(file))
        finally:
            mounts.unmount(place)
    loops.detach(pool.backing)


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """Be the only one who changes a lab. Raises LabError."""
    layouts.root().mkdir(parents=True, exist_ok=True)
    path = layouts.root() / f".{name}.lock"
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            same = path.stat().st_ino == os.fstat(file.fileno()).st_ino  # its last holder may have removed it meanwhile
        except OSError:
            same = False
        if not same:
            raise LabError(f"lab {name} is being changed by another process")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def _numbering() -> Iterator[None]:
    """Be the only one who gives a lab its number, for as long as that takes."""
    directory = os.open(layouts.root(), os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)
