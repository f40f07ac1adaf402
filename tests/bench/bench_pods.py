"""One pod from POST to Ready as a watcher sees it, thirty at once, and what an agent weighs. Nothing is asserted.

Run: python -m tests.bench.bench_pods [LAB]    LAB is up already; without it a lab is made and taken down again.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from moorings_core.client.http import HttpClient
from moorings_core.client.resources import PODS
from moorings_core.ports.errors import NotFound
from moorings_core.ports.objects import Object
from moorings_labs.layout import Layout, load

from .report import figure, spread

SERIAL, AT_ONCE = 20, 30
NAMESPACE = "default"
MOORINGS = [sys.executable, "-m", "moorings_core.cli"]
TOPOLOGY = Path(__file__).parents[2] / "labs/topologies/demo.yaml"


def pod(name: str) -> Object:
    """Return a pod that is Ready as soon as its process runs, and ends as soon as it is told to."""
    command = ["sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"]
    spec = {"containers": [{"name": "main", "image": "moorings.dev/busybox:1", "command": command}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}


class Watcher:
    """When each pod was seen Ready."""

    def __init__(self, client: HttpClient) -> None:
        self._client, self._ready = client, dict[str, asyncio.Future[float]]()

    async def run(self, since: str) -> None:
        """Follow all pods."""
        async for event in self._client.watch(PODS, NAMESPACE, since=since):
            conditions = event.object.get("status", {}).get("conditions", ())
            waiting = self._ready.get(event.object["metadata"].get("name", ""))
            if any(c["type"] == "Ready" and c["status"] == "True" for c in conditions) and waiting and not waiting.done():
                waiting.set_result(time.perf_counter())

    async def measure(self, name: str) -> float:
        """Create a pod and return the seconds until it was seen Ready."""
        self._ready[name] = asyncio.get_running_loop().create_future()
        start = time.perf_counter()
        await self._client.create(PODS, pod(name))
        return await asyncio.wait_for(self._ready[name], 60) - start


async def remove(client: HttpClient, names: list[str]) -> None:
    """Delete pods and wait until they are gone: their nodes have cleaned up by then."""
    await asyncio.gather(*(client.delete(PODS, name, NAMESPACE) for name in names))
    for name in names:
        async with asyncio.timeout(60):
            while await _exists(client, name):
                await asyncio.sleep(0.05)


async def _exists(client: HttpClient, name: str) -> bool:
    try:
        await client.get(PODS, name, NAMESPACE)
    except NotFound:
        return False
    return True


async def measure(layout: Layout) -> None:
    """Print all figures of a lab."""
    client = HttpClient.from_kubeconfig(layout.kubeconfig)
    watcher = Watcher(client)
    following = asyncio.create_task(watcher.run((await client.list(PODS, NAMESPACE)).version))
    weigh(layout, "agent, idle")
    serial = []
    for number in range(SERIAL):
        serial.append(await watcher.measure(name := f"bench-{os.getpid()}-{number}"))
        await remove(client, [name])
    spread("one pod, POST to Ready", serial, "s", "<= 0.25")
    names = [f"bench-{os.getpid()}-many-{number}" for number in range(AT_ONCE)]
    figure(f"{AT_ONCE} pods at once, all Ready", max(await asyncio.gather(*map(watcher.measure, names))), "s", "<= 3.5")
    weigh(layout, f"agent, {AT_ONCE} pods on the nodes")
    start = time.perf_counter()
    await remove(client, names)
    figure(f"{AT_ONCE} pods at once, deleted and cleaned up", time.perf_counter() - start, "s")
    following.cancel()
    await client.close()


def weigh(layout: Layout, label: str) -> None:
    """Print what each node's agent weighs (PSS: shared pages are divided by those who share them)."""
    found = []
    for directory in Path("/proc").iterdir():
        try:
            words = (directory / "cmdline").read_bytes().split(b"\0")
            if b"agent" in words and any(str(layout.root).encode() in w for w in words):
                text = (directory / "smaps_rollup").read_text()
                sizes = {line.split()[0]: int(line.split()[1]) for line in text.splitlines()[1:]}
                found.append(sizes["Pss:"] / 1024)
        except (FileNotFoundError, ProcessLookupError, NotADirectoryError):
            continue
    figure(f"{label}, PSS", statistics.median(found), "MB", "<= 45")


def main() -> None:
    """Measure the given lab, or one made for it."""
    name = sys.argv[1] if len(sys.argv) > 1 else f"bench{os.getpid()}"
    made = len(sys.argv) == 1
    if made:
        subprocess.run([*MOORINGS, "up", "-f", str(TOPOLOGY), "--name", name], check=True, stdout=subprocess.DEVNULL)
    try:
        state = load(name)
        if state is None:
            sys.exit(f"no lab {name!r} is up")
        asyncio.run(measure(Layout(name, state.number)))
    finally:
        if made:
            subprocess.run([*MOORINGS, "down", name], check=True)


if __name__ == "__main__":
    main()
