"""Labs: up, down, and everything in between. Every step may have been done before; starting again is going on.

What is to be made is written down before anything is made, so that a lab whose `up` was killed can be finished or taken down.
"""

from __future__ import annotations

import asyncio
import fcntl
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from moorings_core.client.http import HttpClient
from moorings_core.client.resources import NODES
from moorings_core.config import load_text, with_lab
from moorings_core.kernel import loops
from moorings_core.ports.cluster import ClusterConfig
from moorings_core.ports.errors import ApiError, MooringsError
from moorings_core.ports.objects import Object

from . import certificates, images, network, nodes
from . import layout as layouts
from .layout import Layout, State
from .nodes import NodePlan
from .pools import with_pools

POLL_SECONDS = 0.05
IMPORT_SECONDS = 60.0


class LabError(MooringsError):
    """A lab cannot be made or used; the text names the node, the step, the log's last lines and what to do."""


class NoSuchLab(LabError):
    """There is no lab of that name."""


class LabTimeout(LabError):
    """A step took longer than it was given."""


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab as its files say."""

    layout: Layout
    state: State
    config: ClusterConfig

    def plan(self, name: str) -> NodePlan:
        """Return the plan of a node. Raises LabError where there is no such node."""
        found = next((n for n in self.config.lab.nodes if n.name == name), None)
        if found is None:
            raise LabError(f"lab {self.state.name} has no node {name!r}; it has {', '.join(n for n, _ in self.state.nodes)}")
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


Tell = Callable[[str, float], None]
"""tell(step, seconds that it took)"""


def find(name: str) -> Lab:
    """Return a lab. Raises NoSuchLab."""
    state = layouts.load(name)
    if state is None:
        known = ", ".join(sorted(d.name for d in layouts.root().glob("*") if layouts.load(d.name))) or "none"
        raise NoSuchLab(f"there is no lab {name!r}; labs here: {known}")
    layout = Layout(state.name, state.number)
    return Lab(layout, state, load_text(layout.cluster_file.read_text(), str(layout.cluster_file)))


async def up(name: str, text: str, tell: Tell, timeout: float) -> Lab:
    """Make or finish a lab; return when every node is Ready. Raises LabError, ConfigError, UnknownBackend."""
    text = with_lab(text)
    config = load_text(text)
    with _locked(name):
        lab = _prepare(name, text, config)
        async with _timed("network", tell):
            await network.make(lab.layout, lab.state)
        async with _timed("certificates and images", tell):
            await asyncio.to_thread(certificates.make, lab.layout, lab.state, config)
            archive = await asyncio.to_thread(_base_images)
        async with _timed("machines", tell):
            await asyncio.gather(*(asyncio.to_thread(nodes.start, plan) for plan in lab.plans))
            await asyncio.gather(*(_import_once(plan, archive, timeout) for plan in lab.plans if plan.is_node))
        async with _timed("API", tell):
            await _api(lab, timeout)
        async with _timed("nodes ready", tell):
            await ready(lab, timeout)
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


async def ready(lab: Lab, timeout: float) -> None:
    """Wait until every node is Ready. Raises LabTimeout naming what is missing."""
    wanted = {plan.node.name for plan in lab.plans if plan.is_node}
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
    state = layouts.load(name)
    if state is None:
        state = layouts.choose(name, config.lab.nodes)
        layout = Layout(state.name, state.number)
        text = with_pools(text, layout)
        layout.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        layout.cluster_file.write_text(text)
        state.save(layout)
        return Lab(layout, state, load_text(text))
    lab = find(name)
    if [n.name for n in lab.config.lab.nodes] != [n.name for n in config.lab.nodes]:
        raise LabError(f"lab {name} is there with other nodes: `moorings down {name}` first")
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


def _base_images() -> Path:
    """Return the archive of the images that every node has, making it when this machine has none yet."""
    path = layouts.root().parent / "base-images.tar"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        images.busybox_archive(path)
    return path


async def _import_once(plan: NodePlan, archive: Path, timeout: float) -> None:
    marker = plan.root / "images-imported"
    if marker.exists():
        return
    async with asyncio.timeout(timeout):
        while not plan.socket.exists():
            await asyncio.sleep(0.01)
    await _import(plan, archive)
    marker.touch()


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


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """Be the only one who changes a lab. Raises LabError."""
    layouts.root().mkdir(parents=True, exist_ok=True)
    file = (layouts.root() / f".{name}.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise LabError(f"lab {name} is being changed by another process") from error
    try:
        yield
    finally:
        Path(file.name).unlink(missing_ok=True)
        file.close()


@asynccontextmanager
async def _timed(step: str, tell: Tell) -> AsyncIterator[None]:
    started = time.monotonic()
    yield
    tell(step, time.monotonic() - started)


def print_step(step: str, seconds: float) -> None:
    """Tell of a step on stderr."""
    sys.stderr.write(f"{step:<28}{seconds:6.2f} s\n")
