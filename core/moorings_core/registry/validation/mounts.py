"""Rules of where a container sees its volumes: mounts, and devices. Source: upstream's ValidateVolumeMounts, ValidateVolumeDevices."""

from __future__ import annotations

from collections.abc import Mapping

from moorings_core.ports.objects import Object

from . import contexts
from .errors import FieldError, Path, forbidden, invalid, not_found, not_supported, required

PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
RECURSIVE = ("Disabled", "Enabled", "IfPossible")
BLOCKS = ("persistentVolumeClaim", "ephemeral")


def mounts(container: Object, path: Path, volumes: Mapping[str, Object]) -> list[FieldError]:
    """Return what is wrong with the mounts of a container; upstream leaves the mount's number out of some of these paths."""
    found: list[FieldError] = []
    seen: set[str] = set()
    devices = {device.get("name"): device.get("devicePath") for device in container.get("volumeDevices") or ()}
    for i, mount in enumerate(container.get("volumeMounts") or ()):
        where, name, target = path.at(i), mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            found.append(required(where / "name"))
        if name not in volumes:
            found.append(not_found(where / "name", name))
        if not target:
            found.append(required(where / "mountPath"))
        if target in seen:
            found.append(invalid(where / "mountPath", target, "must be unique"))
        seen.add(target)
        if name in devices:
            found.append(invalid(where / "name", name, "must not already exist in volumeDevices"))
        if target in devices.values():
            found.append(invalid(where / "mountPath", target, "must not already exist as a path in volumeDevices"))
        found += _below(mount, path, where)
        found += _propagation(mount.get("mountPropagation"), container, path / "mountPropagation")
        found += _recursive(mount, path / "recursiveReadOnly")
    return found


def _below(mount: Object, path: Path, where: Path) -> list[FieldError]:
    """Return what is wrong with the part of a volume that is mounted."""
    found: list[FieldError] = []
    if mount.get("subPath"):
        found += contexts.descending(mount["subPath"], path / "subPath")
    if mount.get("subPathExpr"):
        if mount.get("subPath"):
            found.append(invalid(where / "subPathExpr", mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive"))
        found += contexts.descending(mount["subPathExpr"], path / "subPathExpr")
    return found


def _propagation(mode: str | None, container: Object, path: Path) -> list[FieldError]:
    if mode is None:
        return []
    found = [] if mode in PROPAGATIONS else [not_supported(path, mode, PROPAGATIONS)]
    if mode == "Bidirectional" and not (container.get("securityContext") or {}).get("privileged"):
        found.append(forbidden(path, "Bidirectional mount propagation is available only to privileged containers"))
    return found


def _recursive(mount: Object, path: Path) -> list[FieldError]:
    mode, found = mount.get("recursiveReadOnly"), list[FieldError]()
    if mode in (None, "Disabled"):
        return []
    if mode not in RECURSIVE:
        return [not_supported(path, mode, RECURSIVE)]
    if not mount.get("readOnly"):
        found.append(forbidden(path, "may only be specified when readOnly is true"))
    if mount.get("mountPropagation") not in (None, "None"):
        found.append(forbidden(path, "may only be specified when mountPropagation is None or not specified"))
    return found


def devices(container: Object, path: Path, volumes: Mapping[str, Object]) -> list[FieldError]:
    """Return what is wrong with the volumes that a container sees as devices."""
    found: list[FieldError] = []
    names: set[str] = set()
    paths: set[str] = set()
    mounted = {mount.get("name", ""): mount.get("mountPath", "") for mount in container.get("volumeMounts") or ()}
    for i, device in enumerate(container.get("volumeDevices") or ()):
        where, name, target = path.at(i), device.get("name", ""), device.get("devicePath", "")
        found += ([] if name else [required(where / "name")]) + _block(name, where / "name", names, volumes)
        found += _target(target, where / "devicePath", paths)
        if name in mounted:
            found.append(invalid(where / "name", name, "must not already exist in volumeMounts"))
        if target in mounted.values():
            found.append(invalid(where / "devicePath", target, "must not already exist as a path in volumeMounts"))
    return found


def _block(name: str, path: Path, seen: set[str], volumes: Mapping[str, Object]) -> list[FieldError]:
    found = [invalid(path, name, "must be unique")] if name in seen else []
    seen.update([name] if name else [])
    if name not in volumes:
        return [*found, not_found(path, name)]
    if any(volumes[name].get(source) is not None for source in BLOCKS):
        return found
    return [*found, invalid(path, name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode")]


def _target(target: str, path: Path, seen: set[str]) -> list[FieldError]:
    found = [] if target else [required(path)]
    if target in seen:
        found.append(invalid(path, target, "must be unique"))
    if ".." in target.split("/"):
        return [*found, invalid(path, target, "can not contain backsteps ('..')")]
    seen.add(target)
    return found
