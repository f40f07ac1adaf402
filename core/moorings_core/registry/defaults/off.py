"""Fields of features that are off by default in this release: they are taken away, as upstream takes them away.

Source: pkg/features of Kubernetes 1.37, and what the registries' strategies drop for features that are off.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from moorings_core.ports.objects import Object
from moorings_core.registry.gates import take

Firsts = Sequence[tuple[str, str]]
"""Paths, each after its first field: most objects have none of them"""

PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
HOOKS = ("postStart", "preStop")
USERS = ("secret", "configMap", "downwardAPI")
POD = (
    "evictionResponders",
    "schedulingGroup",
    "volumes.*.emptyDir.mode",
    *(f"volumes.*.{source}.defaultUser" for source in (*USERS, "projected")),
    *(f"volumes.*.{source}.items.*.user" for source in USERS),
    *(f"volumes.*.projected.sources.*.{source}.items.*.user" for source in USERS),
    *(f"volumes.*.projected.sources.*.{source}.user" for source in ("serviceAccountToken", "clusterTrustBundle", "podCertificate")),
)
CONTAINER = (
    "volumeMounts.*.bindMountOptions",
    *(f"{probe}.httpGet.protocol" for probe in PROBES),
    *(f"{probe}.grpc.mode" for probe in PROBES),
    *(f"lifecycle.{hook}.httpGet.protocol" for hook in HOOKS),
)
OTHERS: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "pods"): ("status.volumeHealth", "status.nodeAllocatableResourceClaimStatuses"),
    ("", "persistentvolumeclaims"): ("status.healthStatus",),
    ("batch", "jobs"): ("spec.scheduling",),
    ("batch", "cronjobs"): ("spec.jobTemplate.spec.scheduling",),
    ("storage.k8s.io", "csinodes"): ("status.storageHealth",),
}
"""What goes from other kinds, and from pods beside their spec"""


def from_pod(spec: Object) -> None:
    """Take them out of a PodSpec."""
    _take(spec, _POD)


def from_container(container: Object) -> None:
    """Take them out of a container."""
    _take(container, _CONTAINER)
    hooks = container.get("lifecycle")
    if isinstance(hooks, dict) and "stopSignal" in hooks:
        del hooks["stopSignal"]
        if not hooks:
            del container["lifecycle"]


def from_other(kind: tuple[str, str], obj: Object) -> None:
    """Take them out of an object of a kind, given by group and plural."""
    for path in OTHERS.get(kind, ()):
        take(obj, path)


def _take(value: Object, paths: Firsts) -> None:
    for first, path in paths:
        if first in value:
            take(value, path)


def _by_first(paths: Iterable[str]) -> Firsts:
    return [(path.partition(".")[0], path) for path in paths]


_POD, _CONTAINER = _by_first(POD), _by_first(CONTAINER)
