"""Rules of what a pod's volume shows, source by source. Source: upstream's validateVolumeSource and what it calls, in its order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from moorings_core.ports.objects import Object
from moorings_core.registry.quantity import parse

from . import contexts, names, projections, volume_sources
from .errors import FieldError, Path, duplicate, forbidden, invalid, not_supported, required
from .formats import driver_name, named
from .metadata import check_annotations, check_labels
from .storage import claim_spec

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
Rule = Callable[[Object, Path], list[FieldError]]


def _empty(source: Object, path: Path) -> list[FieldError]:
    size, mode = source.get("sizeLimit"), source.get("mode")
    found: list[FieldError] = []
    if size is not None and parse(str(size)) < 0:
        found.append(forbidden(path / "sizeLimit", "SizeLimit field must be a valid resource quantity"))
    if mode is not None and not 0 <= mode <= 0o1777:
        found.append(invalid(path / "mode", mode, "must be a number between 0 and 01777 (octal), both inclusive"))
    return found


def _git(source: Object, path: Path) -> list[FieldError]:
    return _needs("repository")(source, path) + contexts.descending(source.get("directory", ""), path / "directory")


def _needs(*fields: str) -> Rule:
    return lambda source, path: [required(path / field) for field in fields if not source.get(field)]


def _iscsi(source: Object, path: Path) -> list[FieldError]:
    found, lun, initiator = _needs("targetPortal", "iqn")(source, path), source.get("lun", 0), source.get("initiatorName")
    if source.get("iqn"):
        found += named(source["iqn"], path / "iqn", _initiator)
    if not 0 <= lun <= 255:
        found.append(invalid(path / "lun", lun, "must be between 0 and 255, inclusive"))
    if (source.get("chapAuthDiscovery") or source.get("chapAuthSession")) and source.get("secretRef") is None:
        found.append(required(path / "secretRef"))
    return found + named(initiator, path / "initiatorname", _initiator)


def _initiator(name: str) -> str:
    pattern = volume_sources.INITIATORS.get(name[:3])
    if pattern is None:
        return "must be valid format starting with iqn, eui, or naa"
    return "" if pattern.fullmatch(name) else "must be valid format"


def _with_secret(*fields: str) -> Rule:
    def rule(source: Object, path: Path) -> list[FieldError]:
        secret = source.get("secretRef")
        nameless = secret is not None and not secret.get("name")
        return _needs(*fields)(source, path) + ([required(path / "secretRef" / "name")] if nameless else [])

    return rule


def _storage_os(source: Object, path: Path) -> list[FieldError]:
    found = _needs("volumeName")(source, path)
    for field in ("volumeName", "volumeNamespace"):
        found += named(source.get(field) or None, path / field, names.label)
    return found + _with_secret()(source, path)


def _csi(source: Object, path: Path) -> list[FieldError]:
    found, secret = driver_name(source.get("driver", ""), path / "driver"), source.get("nodePublishSecretRef")
    if secret is None:
        return found
    if not secret.get("name"):
        return [*found, required(path / "nodePublishSecretRef" / "name")]
    return found + named(secret["name"], path / "name", names.subdomain)


def _ephemeral(source: Object, path: Path) -> list[FieldError]:
    template, where = source.get("volumeClaimTemplate"), path / "volumeClaimTemplate"
    if template is None:
        return [required(where)]
    metadata, place = template.get("metadata") or {}, where / "metadata"
    found = check_annotations(metadata.get("annotations") or {}, place / "annotations")
    return found + check_labels(metadata.get("labels") or {}, place / "labels") + claim_spec(template.get("spec") or {}, where / "spec")


def _image(source: Object, path: Path) -> list[FieldError]:
    policy, found = source.get("pullPolicy"), _needs("reference")(source, path)
    return found if policy in (None, *PULL_POLICIES) else [*found, not_supported(path / "pullPolicy", policy, PULL_POLICIES)]


_OWN: dict[str, Rule] = {
    "emptyDir": _empty,
    "gitRepo": _git,
    "secret": projections.secret,
    "iscsi": _iscsi,
    "glusterfs": _needs("endpoints", "path"),
    "persistentVolumeClaim": _needs("claimName"),
    "cinder": _with_secret("volumeID"),
    "downwardAPI": projections.downward,
    "configMap": projections.config_map,
    "azureFile": _needs("secretName", "shareName"),
    "storageos": _storage_os,
    "projected": projections.projected,
    "csi": _csi,
    "ephemeral": _ephemeral,
    "image": _image,
}
_ORDER = (
    "emptyDir", "hostPath", "gitRepo", "gcePersistentDisk", "awsElasticBlockStore", "secret", "nfs", "iscsi", "glusterfs", "flocker",
    "persistentVolumeClaim", "rbd", "cinder", "cephfs", "quobyte", "downwardAPI", "fc", "flexVolume", "configMap", "azureFile",
    "vsphereVolume", "photonPersistentDisk", "portworxVolume", "azureDisk", "storageos", "projected", "scaleIO", "csi", "ephemeral",
    "image",
)  # fmt: skip
SOURCES: dict[str, Rule] = {field: _OWN.get(field) or volume_sources.SOURCES[field] for field in _ORDER}
"""Rules by the field of the volume, in the order in which upstream looks"""
SECOND = {**volume_sources.TOLD, "downwardAPI": "downwarAPI"}
"""What upstream calls some sources where they are one too many"""


def _portal(iscsi: Object, name: str, path: Path) -> list[FieldError]:
    if iscsi.get("initiatorName") is None or len(f"{name}:{iscsi.get('targetPortal', '')}") <= volume_sources.PORTAL_MOST:
        return []
    return [invalid(path / "name", name, volume_sources.PORTAL_WORDS)]


def volumes(given: Sequence[Object], path: Path, pod: str) -> tuple[dict[str, Object], list[FieldError]]:
    """Return the volumes that are right by name, and what is wrong with the others; pod: its name, "" in a template."""
    right: dict[str, Object] = {}
    found: list[FieldError] = []
    made = {f"{pod}-{volume.get('name', '')}" for volume in given if pod and volume.get("ephemeral") is not None}
    for i, volume in enumerate(given):
        where, name = path.at(i), volume.get("name", "")
        wrong = _sources(volume, where, pod)
        wrong += named(name, where / "name", names.label) if name else [required(where / "name")]
        if name in right:
            wrong.append(duplicate(where / "name", name))
        if not wrong:
            right[name] = volume
        found += wrong
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if claim in made:
            text = "must not reference a PVC that gets created for an ephemeral volume"
            found.append(invalid(where / "persistentVolumeClaim" / "claimName", claim, text))
    return right, found


def _sources(volume: Object, path: Path, pod: str) -> list[FieldError]:
    there = [field for field in SOURCES if volume.get(field) is not None]
    if not there:
        return [required(path, "must specify a volume type")]
    first, name = there[0], volume.get("name", "")
    found = SOURCES[first](volume[first], path / volume_sources.LOOKED.get(first, first))
    if first == "ephemeral" and pod and name and (complaint := names.subdomain(f"{pod}-{name}")):
        found.append(invalid(path / "name", name, f'PVC name "{pod}-{name}": {complaint}'))
    found += _portal(volume.get("iscsi") or {}, name, path)
    return found + [forbidden(path / SECOND.get(field, field), "may not specify more than 1 volume type") for field in there[1:]]
