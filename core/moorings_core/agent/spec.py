"""A pod's objects as specs of the runtime port. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from moorings_core.ports.objects import Object
from moorings_core.ports.runtime import (
    POD_UID,
    ContainerSpec,
    HostPort,
    ImageInfo,
    MountSpec,
    Namespaces,
    Resources,
    SandboxSpec,
    Security,
)
from moorings_core.registry.quality import qos_class
from moorings_core.registry.quantity import to_int, to_milli

from .containers import containers_of
from .environment import MissingSource, expand
from .observed import CONTAINER, NAME, NAMESPACE
from .resolv import Dns, hostname


@dataclass(frozen=True, slots=True)
class Place:
    """What of its node goes into a container: the directory of local seccomp profiles, and the memory in bytes."""

    seccomp_profiles: str = "/var/lib/kubelet/seccomp"
    memory: int = 0


RESOURCES = "moorings.dev/resources"
"""The annotation of a container that says with which limits it was made."""
CPU_PERIOD = 100_000
SHARES_PER_CPU, SHARES_LEAST = 1024, 2
OOM_GUARANTEED, OOM_MOST = -997, 1000


def sandbox_spec(pod: Object, attempt: int, dns: Dns, log_directory: str, cgroup_parent: str) -> SandboxSpec:
    """Return a pod's sandbox."""
    metadata, spec = pod["metadata"], pod["spec"]
    labels = dict(metadata.get("labels") or {})
    labels |= {NAME: metadata["name"], NAMESPACE: metadata["namespace"], POD_UID: metadata["uid"]}
    security = spec.get("securityContext") or {}
    return SandboxSpec(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        attempt=attempt,
        hostname="" if spec.get("hostNetwork") else hostname(pod),
        log_directory=log_directory,
        dns=dns,
        labels=labels,
        annotations=dict(metadata.get("annotations") or {}),
        cgroup_parent=cgroup_parent,
        namespaces=namespaces(spec),
        security=Security(privileged=any(map(_privileged, containers_of(pod))), seccomp="RuntimeDefault"),
        sysctls={s["name"]: s["value"] for s in security.get("sysctls", ())},
        ports=tuple(_host_ports(spec)) if not spec.get("hostNetwork") else (),
    )


def container_spec(
    pod: Object,
    container: Object,
    attempt: int,
    image: ImageInfo,
    variables: Mapping[str, str],
    mounts: Sequence[MountSpec],
    devices: Sequence[tuple[str, str]] = (),
    target: str = "",
    place: Place = Place(),
) -> ContainerSpec:
    """Return one run of a container; target: the container whose processes it shall see.

    Raises MissingSource where its security rules cannot be kept.
    """
    metadata, spec = pod["metadata"], pod["spec"]
    name, limits = container["name"], resources(pod, container, place.memory)
    return ContainerSpec(
        name=name,
        attempt=attempt,
        image=image.id,
        command=tuple(expand(part, variables) for part in container.get("command", ())),
        args=tuple(expand(part, variables) for part in container.get("args", ())),
        working_dir=container.get("workingDir", ""),
        environment=tuple(variables.items()),
        mounts=tuple(mounts),
        labels={NAME: metadata["name"], NAMESPACE: metadata["namespace"], POD_UID: metadata["uid"], CONTAINER: name},
        annotations={
            "io.kubernetes.container.hash": _digest(container),
            "io.kubernetes.container.image": container["image"],
            RESOURCES: json.dumps(asdict(limits)),
        },
        log_path=f"{name}/{attempt}.log",
        resources=limits,
        security=security(pod, container, image, place.seccomp_profiles),
        namespaces=replace(namespaces(spec), pid="target", target=target) if target else namespaces(spec),
        devices=tuple(devices),
        stdin=bool(container.get("stdin")),
        stdin_once=bool(container.get("stdinOnce")),
        tty=bool(container.get("tty")),
    )


def namespaces(spec: Object) -> Namespaces:
    """Return whose namespaces the pod's containers are in."""
    pid = "node" if spec.get("hostPID") else "pod" if spec.get("shareProcessNamespace") else "container"
    return Namespaces(
        network="node" if spec.get("hostNetwork") else "pod",
        pid=pid,  # type: ignore[arg-type]
        ipc="node" if spec.get("hostIPC") else "pod",
    )


def resources(pod: Object, container: Object, capacity: int = 0) -> Resources:
    """Return the limits of a container's cgroup on a node with that many bytes of memory."""
    given = container.get("resources") or {}
    requests, limits = given.get("requests") or {}, given.get("limits") or {}
    milli = to_milli(requests.get("cpu", limits.get("cpu", "0")))
    quota = to_milli(limits["cpu"]) * CPU_PERIOD // 1000 if "cpu" in limits else 0
    memory = to_int(limits["memory"]) if "memory" in limits else 0
    return Resources(
        cpu_shares=max(milli * SHARES_PER_CPU // 1000, SHARES_LEAST),
        cpu_quota=max(quota, 1000) if quota else 0,
        cpu_period=CPU_PERIOD,
        memory=memory,
        oom_score_adj=_oom_score(qos_class(pod), to_int(requests.get("memory", limits.get("memory", "0"))), capacity),
    )


def _oom_score(quality: str, request: int, capacity: int) -> int:
    """The less of the node a burstable container has asked for, the sooner it is killed when memory ends. Source: upstream's qos policy."""
    if quality != "Burstable":
        return OOM_GUARANTEED if quality == "Guaranteed" else OOM_MOST
    score = OOM_MOST - (OOM_MOST * request // capacity if capacity else 0)
    return min(max(score, OOM_MOST + OOM_GUARANTEED), OOM_MOST - 1)


def security(pod: Object, container: Object, image: ImageInfo, profiles: str = "") -> Security:
    """Return what a container's process may do, the container's own rules over the pod's. Raises MissingSource."""
    of_pod, own = pod["spec"].get("securityContext") or {}, container.get("securityContext") or {}
    user = own.get("runAsUser", of_pod.get("runAsUser"))
    if own.get("runAsNonRoot", of_pod.get("runAsNonRoot")):
        effective = user if user is not None else image.user
        if effective is None:
            raise MissingSource(
                f"container has runAsNonRoot and image has non-numeric user ({image.user_name}), cannot verify user is non-root"
            )
        if effective == 0:
            raise MissingSource("container has runAsNonRoot and image will run as root")
    capabilities = own.get("capabilities") or {}
    groups = [*of_pod.get("supplementalGroups", ()), *([of_pod["fsGroup"]] if "fsGroup" in of_pod else ())]
    return Security(
        privileged=bool(own.get("privileged")),
        user=user,
        group=own.get("runAsGroup", of_pod.get("runAsGroup")),
        groups=tuple(groups),
        read_only_root=bool(own.get("readOnlyRootFilesystem")),
        no_new_privileges=own.get("allowPrivilegeEscalation") is False,
        add_capabilities=tuple(capabilities.get("add", ())),
        drop_capabilities=tuple(capabilities.get("drop", ())),
        seccomp=_seccomp(own, profiles) or _seccomp(of_pod, profiles) or "Unconfined",
    )


def _seccomp(context: Object, profiles: str) -> str:
    profile = context.get("seccompProfile") or {}
    if profile.get("type") == "Localhost":
        return f"{profiles}/{profile.get('localhostProfile', '')}"
    return str(profile.get("type", ""))


def _privileged(container: Object) -> bool:
    return bool((container.get("securityContext") or {}).get("privileged"))


def _host_ports(spec: Object) -> list[HostPort]:
    containers = [*spec["containers"], *(c for c in spec.get("initContainers", ()) if c.get("restartPolicy") == "Always")]
    return [
        HostPort(port.get("protocol", "TCP"), port["containerPort"], port["hostPort"], port.get("hostIP", ""))
        for container in containers
        for port in container.get("ports", ())
        if port.get("hostPort")
    ]


def _digest(container: Object) -> str:
    return hashlib.sha256(json.dumps(container, sort_keys=True).encode()).hexdigest()[:16]
