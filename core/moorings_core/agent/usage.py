"""What the node and its pods use, as the kubelet tells it: /stats/summary and /metrics/resource, which metrics-server reads.

Data: containers' usage from the runtime, the node's from its cgroup (or the machine), both when somebody asks; rates are over the
time since it was asked last. Source: upstream's pkg/kubelet/apis/stats/v1alpha1, pkg/kubelet/metrics/collectors/resource_metrics.go.
"""

from __future__ import annotations

import asyncio
import datetime
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from moorings_core.measures import Measure, written
from moorings_core.ports.objects import Object
from moorings_core.ports.runtime import ContainerUsage, Runtime

from .cgroups import NodeCgroup
from .observed import CONTAINER, NAME, NAMESPACE
from .status import timestamp

BILLION = 1_000_000_000
PodName = tuple[str, str]
Pods = Callable[[], Iterable[Object]]


@dataclass(frozen=True, slots=True)
class Sample:
    """What was used at one time: the node's cpu in seconds and working set in bytes, and each container's."""

    at: float
    cpu: float
    memory: int
    containers: Mapping[str, ContainerUsage]

    def by_pod(self) -> dict[PodName, list[ContainerUsage]]:
        """Return the containers of each pod."""
        found: dict[PodName, list[ContainerUsage]] = defaultdict(list)
        for usage in self.containers.values():
            if CONTAINER in usage.labels:
                found[usage.labels[NAMESPACE], usage.labels[NAME]].append(usage)
        return found


class Usage:
    """Measures one node."""

    def __init__(self, runtime: Runtime, cgroup: NodeCgroup, pods: Pods, node: str) -> None:
        self._runtime, self._cgroup, self._pods, self._node = runtime, cgroup, pods, node
        self._before: Sample | None = None

    async def summary(self) -> Object:
        """Return the summary (stats/v1alpha1). Raises RuntimeFailure."""
        before, now = self._before, await self._sample()
        self._before = now
        known = (before.at, before.cpu) if before else (None, None)
        node = {"nodeName": self._node, **_cpu(now.at, now.cpu, *known), **_memory(now.at, now.memory)}
        uids = {(p["metadata"]["namespace"], p["metadata"]["name"]): p["metadata"]["uid"] for p in self._pods()}
        pods = [_pod(name, uids.get(name, ""), containers, before) for name, containers in now.by_pod().items()]
        return {"node": node, "pods": pods}

    async def resources(self) -> bytes:
        """Return /metrics/resource in Prometheus' text format. Raises RuntimeFailure."""
        told = list(_measures(await self._sample(), _starts(self._pods())))
        return await asyncio.to_thread(written, told)

    async def _sample(self) -> Sample:
        containers = await self._runtime.usage()
        cpu, memory = await asyncio.to_thread(self._cgroup.usage)
        return Sample(time.time(), cpu, memory, {usage.container: usage for usage in containers})


def _pod(name: PodName, uid: str, containers: list[ContainerUsage], before: Sample | None) -> Object:
    told = [_container(usage, before.containers.get(usage.container) if before else None) for usage in containers]
    at = max(usage.at for usage in containers)
    whole: Object = {"podRef": {"name": name[1], "namespace": name[0], "uid": uid}, "containers": told}
    whole["cpu"] = {"time": timestamp(at), "usageCoreNanoSeconds": sum(c["cpu"]["usageCoreNanoSeconds"] for c in told)}
    rates = [c["cpu"]["usageNanoCores"] for c in told if "usageNanoCores" in c["cpu"]]
    if len(rates) == len(told):
        whole["cpu"]["usageNanoCores"] = sum(rates)
    whole |= _memory(at, sum(usage.memory for usage in containers))
    return whole


def _container(usage: ContainerUsage, before: ContainerUsage | None) -> Object:
    known = (before.at, before.cpu) if before else (None, None)
    rootfs = {"time": timestamp(usage.at), "usedBytes": usage.disk}
    return {"name": usage.labels[CONTAINER], **_cpu(usage.at, usage.cpu, *known), **_memory(usage.at, usage.memory), "rootfs": rootfs}


def _cpu(at: float, used: float, before: float | None, used_before: float | None) -> Object:
    told: Object = {"time": timestamp(at), "usageCoreNanoSeconds": int(used * BILLION)}
    if before is not None and used_before is not None and at > before:
        told["usageNanoCores"] = max(int((used - used_before) / (at - before) * BILLION), 0)
    return {"cpu": told}


def _memory(at: float, used: int) -> Object:
    return {"memory": {"time": timestamp(at), "workingSetBytes": used}}


def _starts(pods: Iterable[Object]) -> dict[tuple[str, str, str], float]:
    """Return since when containers run, in seconds since 1970, by namespace, pod and container."""
    found: dict[tuple[str, str, str], float] = {}
    for pod in pods:
        status, metadata = pod.get("status") or {}, pod["metadata"]
        for container in [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]:
            started = ((container.get("state") or {}).get("running") or {}).get("startedAt")
            if started:
                key = (metadata["namespace"], metadata["name"], container["name"])
                found[key] = datetime.datetime.fromisoformat(started).timestamp()
    return found


def _measures(sample: Sample, starts: Mapping[tuple[str, str, str], float]) -> Iterator[Measure]:
    """Yield one sample as metrics; each value has the time at which it was so."""
    yield Measure("node_cpu_usage_seconds", "Cpu that the node used", (), sample.cpu, at=sample.at)
    yield Measure("node_memory_working_set_bytes", "The node's working set", (), sample.memory, "gauge", sample.at)
    for (namespace, pod), containers in sample.by_pod().items():
        of_pod = (("pod", pod), ("namespace", namespace))
        for usage in containers:
            name = usage.labels[CONTAINER]
            labels = (("container", name), *of_pod)
            yield Measure("container_cpu_usage_seconds", "Cpu that containers used", labels, usage.cpu, at=usage.at)
            yield Measure("container_memory_working_set_bytes", "Containers' working sets", labels, usage.memory, "gauge", usage.at)
            if (started := starts.get((namespace, pod, name))) is not None:
                yield Measure("container_start_time_seconds", "Since when containers run", labels, started, "gauge")
        at = max(usage.at for usage in containers)
        yield Measure("pod_cpu_usage_seconds", "Cpu that pods used", of_pod, sum(u.cpu for u in containers), at=at)
        yield Measure("pod_memory_working_set_bytes", "Pods' working sets", of_pod, sum(u.memory for u in containers), "gauge", at)
    yield Measure("resource_scrape_error", "1 if there was an error while getting container metrics", (), 0, "gauge")
