"""Pods that take more of the node's disk than they may are failed: emptyDir.sizeLimit and the limits of ephemeral-storage.

What limited pods take is measured again and again (nothing is measured of others): emptyDir volumes and logs by the blocks of their
files, containers' own files by the runtime. Volumes in memory have their limit in the kernel.
Source: upstream's pkg/kubelet/eviction, localStorageEviction.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from moorings_core.log import get_logger
from moorings_core.measures import Measure, told_by
from moorings_core.ports.objects import Object
from moorings_core.ports.runtime import Runtime, RuntimeFailure
from moorings_core.registry.quantity import parse, render

from .observed import CONTAINER, NAME, NAMESPACE
from .plan import is_sidecar
from .volumes.manager import PLUGINS

log = get_logger(__name__)
RESOURCE = "ephemeral-storage"
BLOCK = 512
"""The unit of st_blocks, whatever the file system."""
SHARE = 20
"""Measuring may take one part in so many of the time: large directories are looked at less often."""
SYSTEM_CRITICAL = 2_000_000_000
"""The priority from which on a pod is never evicted."""
Evict = Callable[[str, str], bool]
"""evict(uid, message): whether it is new that the pod is to go"""


@dataclass(frozen=True, slots=True)
class Used:
    """Bytes on disk: of emptyDir volumes by name, and of each container its own files and logs."""

    volumes: Mapping[str, int] = field(default_factory=dict)
    containers: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Excess:
    """What a pod has too much of: upstream's signal, and its words for the pod's status."""

    signal: str
    message: str


def is_limited(pod: Object) -> bool:
    """Whether a pod that runs has any limit that is to be watched."""
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed") or (pod["spec"].get("priority") or 0) >= SYSTEM_CRITICAL:
        return False
    return bool(_volume_limits(pod) or _limits(_long_lived(pod)) or pod_limit(pod) is not None)


def excess(pod: Object, used: Used) -> Excess | None:
    """Return what a pod has too much of, or None."""
    for name, limit in _volume_limits(pod).items():
        if used.volumes.get(name, 0) > parse(limit):
            return Excess("emptydirfs.limit", f'Usage of EmptyDir volume "{name}" exceeds the limit "{limit}". ')
    whole = pod_limit(pod)
    if whole is not None and sum(used.volumes.values()) + sum(used.containers.values()) > whole:
        text = render(whole, binary=True)
        return Excess("ephemeralpodfs.limit", f"Pod ephemeral local storage usage exceeds the total limit of containers {text}. ")
    for name, limit in _limits(_long_lived(pod)).items():
        if used.containers.get(name, 0) > parse(limit) > 0:
            return Excess("ephemeralcontainerfs.limit", f'Container {name} exceeded its local ephemeral storage limit "{limit}". ')
    return None


def pod_limit(pod: Object) -> Fraction | None:
    """Return what all containers together may take, None without any limit: regular ones add up, an initial one needs its own."""
    initial = pod["spec"].get("initContainers") or ()
    if not _limits([*pod["spec"]["containers"], *initial]):
        return None
    total = sum(map(_limit, _long_lived(pod)), Fraction(0))
    sidecars, most = Fraction(0), Fraction(0)
    for container in initial:
        if is_sidecar(container):
            sidecars += _limit(container)
        else:
            most = max(most, sidecars + _limit(container))
    return max(total, most)


class LocalStorage:
    """Watches what this node's pods take of its disk."""

    def __init__(self, runtime: Runtime, pods: Callable[[], Iterable[Object]], root: Path, logs: Callable[[Object], Path]) -> None:
        self._runtime, self._pods, self._root, self._logs = runtime, pods, root, logs
        self._evicted: Counter[str] = Counter()

    async def run(self, every: float, evict: Evict) -> None:
        """Look every so many seconds until cancelled; evict is told of every pod that has too much."""
        with told_by(self._measures):
            while True:
                started = time.monotonic()
                try:
                    for pod, found in await self.look():
                        if evict(pod["metadata"]["uid"], found.message):
                            self._evicted[found.signal] += 1
                except (RuntimeFailure, OSError) as error:
                    log.warning("local storage not measured", error=str(error))
                await asyncio.sleep(max(every, (time.monotonic() - started) * SHARE))

    async def look(self) -> list[tuple[Object, Excess]]:
        """Return the pods that have too much, and of what. Raises RuntimeFailure, OSError."""
        limited = [pod for pod in self._pods() if is_limited(pod)]
        if not limited:
            return []
        files: dict[tuple[str, str], dict[str, int]] = {}
        for usage in await self._runtime.usage() if any(pod_limit(pod) is not None for pod in limited) else ():
            of_pod = usage.labels.get(NAMESPACE, ""), usage.labels.get(NAME, "")
            files.setdefault(of_pod, {})[usage.labels.get(CONTAINER, "")] = usage.disk
        measured = await asyncio.to_thread(lambda: [self._used(pod, files) for pod in limited])
        found = ((pod, excess(pod, used)) for pod, used in zip(limited, measured, strict=True))
        return [(pod, over) for pod, over in found if over is not None]

    def _used(self, pod: Object, files: Mapping[tuple[str, str], Mapping[str, int]]) -> Used:
        metadata = pod["metadata"]
        volumes = self._root / "pods" / metadata["uid"] / "volumes" / PLUGINS["emptyDir"]
        names = [v["name"] for v in pod["spec"].get("volumes") or () if _on_disk(v)]
        containers = Counter(files.get((metadata["namespace"], metadata["name"]), {}))
        if pod_limit(pod) is not None:
            for container in _long_lived(pod):
                containers[container["name"]] += disk_usage(self._logs(pod) / container["name"])
        return Used({name: disk_usage(volumes / name) for name in names}, containers)

    def _measures(self) -> Iterable[Measure]:
        text = "Pods evicted for what they took"
        return [Measure("kubelet_evictions", text, (("eviction_signal", signal),), count) for signal, count in self._evicted.items()]


def disk_usage(directory: Path) -> int:
    """Return the bytes that everything below a directory takes on its disk, each file once. What vanishes meanwhile is nothing. Blocks."""
    seen: set[int] = set()
    try:
        root = os.lstat(directory)
    except FileNotFoundError:
        return 0
    total, waiting = root.st_blocks * BLOCK, [os.fspath(directory)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    if status.st_dev != root.st_dev or status.st_ino in seen:
                        continue
                    if status.st_nlink > 1 and not entry.is_dir(follow_symlinks=False):
                        seen.add(status.st_ino)
                    total += status.st_blocks * BLOCK
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except FileNotFoundError:
            continue
    return total


def _on_disk(volume: Object) -> bool:
    return "emptyDir" in volume and (volume["emptyDir"] or {}).get("medium", "") != "Memory"


def _volume_limits(pod: Object) -> dict[str, str]:
    volumes = {v["name"]: (v["emptyDir"] or {}).get("sizeLimit") for v in pod["spec"].get("volumes") or () if _on_disk(v)}
    return {name: str(limit) for name, limit in volumes.items() if limit is not None and parse(str(limit)) > 0}


def _long_lived(pod: Object) -> list[Object]:
    sidecars = [c for c in pod["spec"].get("initContainers") or () if is_sidecar(c)]
    return [*pod["spec"]["containers"], *sidecars]


def _limits(containers: Iterable[Object]) -> dict[str, str]:
    found = {c["name"]: ((c.get("resources") or {}).get("limits") or {}).get(RESOURCE) for c in containers}
    return {name: str(limit) for name, limit in found.items() if limit is not None}


def _limit(container: Object) -> Fraction:
    return parse(str(((container.get("resources") or {}).get("limits") or {}).get(RESOURCE, "0")))
