"""Which secrets, ConfigMaps and claims a pod refers to by name. Source: upstream's pkg/api/v1/pod VisitPodSecretNames and its like."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from moorings_core.ports.objects import Object


def secrets(pod: Object) -> set[str]:
    """Return the names of the secrets that a pod refers to, in containers, volumes and for pulling images."""
    found = {reference["name"] for reference in pod["spec"].get("imagePullSecrets") or () if reference.get("name")}
    for source in _volume_sources(pod):
        found.add((source.get("secret") or {}).get("secretName") or (source.get("secret") or {}).get("name", ""))
        for value in source.values():
            if isinstance(value, dict):  # a driver that is named together with the secret it needs
                found.update((value.get(field) or {}).get("name", "") for field in ("secretRef", "nodePublishSecretRef"))
                found.add(value.get("secretName", ""))
    return (found | _from_environment(pod, "secretRef", "secretKeyRef")) - {""}


def config_maps(pod: Object) -> set[str]:
    """Return the names of the ConfigMaps that a pod refers to."""
    found = {(source.get("configMap") or {}).get("name", "") for source in _volume_sources(pod)}
    return (found | _from_environment(pod, "configMapRef", "configMapKeyRef")) - {""}


def claims(pod: Object) -> set[str]:
    """Return the names of the claims that a pod refers to, those made for it included."""
    found = set()
    for volume in pod["spec"].get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            found.add(volume["persistentVolumeClaim"]["claimName"])
        elif volume.get("ephemeral"):
            found.add(f"{pod['metadata']['name']}-{volume['name']}")
    return found


def _volume_sources(pod: Object) -> Iterator[Object]:
    for volume in pod["spec"].get("volumes") or ():
        yield volume
        yield from (volume.get("projected") or {}).get("sources") or ()


def _from_environment(pod: Object, whole: str, key: str) -> set[str]:
    found: set[str] = set()
    for part in ("initContainers", "containers", "ephemeralContainers"):
        for container in pod["spec"].get(part) or ():
            given: list[Any] = [source.get(whole) for source in container.get("envFrom") or ()]
            given += [(variable.get("valueFrom") or {}).get(key) for variable in container.get("env") or ()]
            found.update(reference.get("name", "") for reference in given if reference)
    return found
