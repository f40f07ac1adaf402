"""Fields of features that are off by default in this release: they are taken away, as upstream takes them away.

Source: pkg/features of Kubernetes 1.37, and what the registries' strategies drop for features that are off.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from moorings_core.ports.objects import Object

PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
HOOKS = ("postStart", "preStop")
USERS = ("secret", "configMap", "downwardAPI")
POD: tuple[tuple[str, ...], ...] = (
    ("evictionResponders",),
    ("schedulingGroup",),
    ("volumes", "emptyDir", "mode"),
    *(("volumes", source, "defaultUser") for source in (*USERS, "projected")),
    *(("volumes", source, "items", "user") for source in USERS),
    *(("volumes", "projected", "sources", source, "items", "user") for source in USERS),
    *(("volumes", "projected", "sources", s, "user") for s in ("serviceAccountToken", "clusterTrustBundle", "podCertificate")),
)
CONTAINER: tuple[tuple[str, ...], ...] = (
    ("volumeMounts", "bindMountOptions"),
    *((probe, "httpGet", "protocol") for probe in PROBES),
    *((probe, "grpc", "mode") for probe in PROBES),
    *(("lifecycle", hook, "httpGet", "protocol") for hook in HOOKS),
)
OTHERS: dict[tuple[str, str], tuple[tuple[str, ...], ...]] = {
    ("", "pods"): (("status", "volumeHealth"), ("status", "nodeAllocatableResourceClaimStatuses")),
    ("", "persistentvolumeclaims"): (("status", "healthStatus"),),
    ("batch", "jobs"): (("spec", "scheduling"),),
    ("batch", "cronjobs"): (("spec", "jobTemplate", "spec", "scheduling"),),
    ("storage.k8s.io", "csinodes"): (("status", "storageHealth"),),
}
"""What goes from other kinds, and from pods beside their spec; lists are gone through"""


def from_pod(spec: Object) -> None:
    """Take them out of a PodSpec."""
    for path in POD:
        if path[0] in spec:
            take(spec, path)


def from_container(container: Object) -> None:
    """Take them out of a container."""
    for path in CONTAINER:
        if path[0] in container:
            take(container, path)
    hooks = container.get("lifecycle")
    if isinstance(hooks, dict) and "stopSignal" in hooks:
        del hooks["stopSignal"]
        if not hooks:
            del container["lifecycle"]


def take(value: Any, path: tuple[str, ...]) -> None:
    """Take what is at the end of a path out of a tree, wherever lists lead to."""
    for holder in _holders(value, path[:-1]):
        holder.pop(path[-1], None)


def _holders(value: Any, path: tuple[str, ...]) -> Iterator[Object]:
    if isinstance(value, list):
        for item in value:
            yield from _holders(item, path)
    elif isinstance(value, dict) and not path:
        yield value
    elif isinstance(value, dict):
        yield from _holders(value.get(path[0]), path[1:])
