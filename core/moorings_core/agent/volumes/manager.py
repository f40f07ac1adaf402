"""Sets up every volume of a pod before its containers, keeps the live ones fresh, and takes all down after.

What is on disk is the truth: starting again is setting up again. A directory that is a mount point is never removed recursively.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from moorings_core.agent.containers import containers_of
from moorings_core.agent.csi.volumes import CsiVolumes
from moorings_core.agent.environment import expand
from moorings_core.kernel import mounts
from moorings_core.log import get_logger
from moorings_core.ports.errors import MooringsError
from moorings_core.ports.objects import Object
from moorings_core.ports.runtime import MountSpec
from moorings_core.registry.quantity import to_int

from . import atomic, subpaths
from .payload import volume_files
from .sources import Snapshot

log = get_logger(__name__)
LIVE = ("configMap", "secret", "downwardAPI", "projected")
BY_DRIVER = ("persistentVolumeClaim", "ephemeral", "csi")
MEMORY_BACKED = ("secret", "projected")
PLUGINS = {
    "emptyDir": "kubernetes.io~empty-dir",
    "configMap": "kubernetes.io~configmap",
    "secret": "kubernetes.io~secret",
    "downwardAPI": "kubernetes.io~downward-api",
    "projected": "kubernetes.io~projected",
}
HOST_TYPES = {
    "Directory": (stat.S_ISDIR, "directory"),
    "File": (stat.S_ISREG, "file"),
    "Socket": (stat.S_ISSOCK, "socket file"),
    "CharDevice": (stat.S_ISCHR, "character device"),
    "BlockDevice": (stat.S_ISBLK, "block device"),
}
"""hostPath.type -> (whether a mode is of it, its name in upstream's words)"""


class VolumeError(MooringsError):
    """A volume cannot be set up; the text goes into the pod's event and its wait reason."""


class VolumeManager:
    """The volumes of this node's pods."""

    def __init__(self, root: Path, csi: CsiVolumes) -> None:
        self._root, self._csi = root, csi

    def pod_directory(self, uid: str) -> Path:
        """Return the directory of everything that belongs to a pod."""
        return self._root / "pods" / uid

    async def setup(self, pod: Object, snapshot: Snapshot, allocatable: Mapping[str, str]) -> dict[str, str]:
        """Make the volumes that containers use; return their paths by name. Raises VolumeError, MissingSource, CsiError, ApiError."""
        return {volume["name"]: await self._one(volume, pod, snapshot, allocatable) for volume in _used(pod)}

    async def refresh(self, pod: Object, snapshot: Snapshot, allocatable: Mapping[str, str]) -> None:
        """Write the live volumes again where what they show has changed."""
        for volume in _used(pod):
            kind = _kind(volume)
            if kind in LIVE:
                await asyncio.to_thread(self._live, kind, volume, pod, snapshot, allocatable)
        if self.is_republished(pod):
            await self._republish(pod)

    def is_republished(self, pod: Object) -> bool:
        """Whether a driver may want volumes of the pod to be published again and again."""
        return self._csi.wants_republishing() and any(_kind(v) in BY_DRIVER for v in _used(pod))

    async def teardown(self, uid: str) -> None:
        """Undo everything of a pod. Raises OSError where something is still mounted and in use."""
        await asyncio.to_thread(subpaths.release, self.pod_directory(uid))
        for published in [p for p in self._csi.published() if p.pod_uid == uid]:
            await self._csi.teardown(published)
        await asyncio.to_thread(self._remove, self.pod_directory(uid))

    def leftovers(self) -> list[str]:
        """Return the uids of all pods that have a directory."""
        directory = self._root / "pods"
        return [p.name for p in directory.iterdir()] if directory.exists() else []

    async def _one(self, volume: Object, pod: Object, snapshot: Snapshot, allocatable: Mapping[str, str]) -> str:
        kind = _kind(volume)
        if kind in LIVE:
            return await asyncio.to_thread(self._live, kind, volume, pod, snapshot, allocatable)
        if kind == "emptyDir":
            return await asyncio.to_thread(self._empty, volume, pod)
        if kind == "hostPath":
            return await asyncio.to_thread(_host_path, volume["hostPath"])
        if kind in ("persistentVolumeClaim", "ephemeral"):
            read_only = bool((volume.get("persistentVolumeClaim") or {}).get("readOnly"))
            made = await self._csi.claimed(pod, _claim_name(pod, volume))
            _check_mode(pod, volume["name"], made["spec"].get("volumeMode") or "Filesystem")
            return await self._persistent(made, pod, read_only=read_only)
        if kind == "csi":
            published = await self._csi.setup_inline(pod, volume["name"], volume["csi"])
            return published.target
        raise VolumeError(f"volume {volume['name']!r} of type {kind!r} is not supported on this node")

    async def _persistent(self, volume: Object, pod: Object, *, read_only: bool) -> str:
        """Return where a PersistentVolume is: a driver's, or a path of this node that an administrator wrote down."""
        spec = volume["spec"]
        if "csi" in spec:
            published = await self._csi.setup(pod, volume, read_only=read_only)
            if not published.block and self._csi.leaves_group_to_node(volume):
                await asyncio.to_thread(_set_group, Path(published.target), _fs_group(pod))
            return published.target
        if "hostPath" in spec:
            return await asyncio.to_thread(_host_path, spec["hostPath"])
        if "local" in spec and Path(spec["local"]["path"]).exists():
            return str(spec["local"]["path"])
        raise VolumeError(f"persistentvolume {volume['metadata']['name']!r} is of no kind that this node mounts, or its path is missing")

    async def _republish(self, pod: Object) -> None:
        """Tell drivers that have asked for it of their volumes anew: tokens end, secrets change. Raises as setup."""
        for volume in _used(pod):
            kind = _kind(volume)
            if kind == "csi" and self._csi.wants_republishing(volume["csi"]["driver"]):
                await self._csi.setup_inline(pod, volume["name"], volume["csi"])
            elif kind in BY_DRIVER and kind != "csi":
                made = await self._csi.claimed(pod, _claim_name(pod, volume))
                if "csi" in made["spec"] and self._csi.wants_republishing(made["spec"]["csi"]["driver"]):
                    read_only = bool((volume.get("persistentVolumeClaim") or {}).get("readOnly"))
                    await self._csi.setup(pod, made, read_only=read_only, again=True)

    def _path(self, pod: Object, kind: str, name: str) -> Path:
        return self.pod_directory(pod["metadata"]["uid"]) / "volumes" / PLUGINS[kind] / name

    def _live(self, kind: str, volume: Object, pod: Object, snapshot: Snapshot, allocatable: Mapping[str, str]) -> str:
        path = self._path(pod, kind, volume["name"])
        files = volume_files(volume, pod, snapshot.raw, snapshot.token, allocatable, snapshot.certificate)
        path.mkdir(parents=True, exist_ok=True)
        if kind in MEMORY_BACKED and not mounts.is_mount_point(path):
            mounts.mount("tmpfs", path, "tmpfs", ["mode=0755"])
        atomic.write(path, files, _fs_group(pod))
        return str(path)

    def _empty(self, volume: Object, pod: Object) -> str:
        path, options = self._path(pod, "emptyDir", volume["name"]), volume["emptyDir"] or {}
        new = not path.exists()
        path.mkdir(parents=True, exist_ok=True)
        if options.get("medium") == "Memory" and not mounts.is_mount_point(path):
            limit = options.get("sizeLimit")
            mounts.mount("tmpfs", path, "tmpfs", [f"size={to_int(str(limit))}"] if limit else [])
            new = True
        if new:
            path.chmod(0o777)
            _set_group(path, _fs_group(pod))
        return str(path)

    def _remove(self, directory: Path) -> None:
        if not directory.exists():
            return
        real = os.path.realpath(directory)
        for path in sorted((m.path for m in mounts.mount_table() if m.path.startswith(f"{real}/")), reverse=True):
            mounts.unmount_all(path)
        if any(m.path.startswith(f"{real}/") for m in mounts.mount_table()):
            raise VolumeError(f"something is still mounted below {directory}")
        shutil.rmtree(directory)


def container_mounts(
    container: Object, paths: Mapping[str, str], variables: Mapping[str, str], pod_directory: Path | None = None
) -> tuple[list[MountSpec], list[tuple[str, str]]]:
    """Return a container's mounts and block devices. Raises VolumeError, MissingSource, OSError.

    With a pod's directory, parts of volumes are bound below it, where no pod can exchange them. Blocks: run it in a thread.
    """
    found = []
    for number, mount in enumerate(container.get("volumeMounts") or ()):
        source = paths[mount["name"]]
        sub = mount.get("subPath") or expand(mount.get("subPathExpr", ""), variables)
        if sub:
            target = None if pod_directory is None else pod_directory / subpaths.DIRECTORY / container["name"] / str(number)
            try:
                source = _sub_path(Path(source), sub, target)
            except (subpaths.SubPathError, OSError) as error:
                where = f'volumeMount "{mount["name"]}" of container "{container["name"]}"'
                raise VolumeError(f"failed to prepare subPath for {where}: {error}") from error
        read_only = bool(mount.get("readOnly"))
        found.append(MountSpec(source, mount["mountPath"], read_only, mount.get("mountPropagation", "")))
    devices = [(paths[d["name"]], d["devicePath"]) for d in container.get("volumeDevices") or ()]
    return found, devices


def _sub_path(root: Path, sub: str, target: Path | None) -> str:
    """Return a path inside a volume; links that lead out of it are refused. Raises SubPathError, OSError."""
    if target is not None:
        return str(subpaths.bind(root, sub, target))
    with subpaths.opened(root, sub):
        return os.path.realpath(root / sub)


def _host_path(source: Object) -> str:
    path, kind = Path(source["path"]), source.get("type", "")
    if kind == "DirectoryOrCreate":
        path.mkdir(parents=True, exist_ok=True, mode=0o755)
    elif kind == "FileOrCreate":
        path.touch(mode=0o644, exist_ok=True)
    elif kind in HOST_TYPES:
        is_kind, name = HOST_TYPES[kind]
        if not path.exists() or not is_kind(path.stat().st_mode):
            raise VolumeError(f"hostPath type check failed: {path} is not a {name}")
    elif not path.exists():
        path.mkdir(parents=True, exist_ok=True, mode=0o755)
    return str(path)


def _kind(volume: Object) -> str:
    return next((k for k, v in volume.items() if k != "name" and v is not None), "emptyDir")


def _used(pod: Object) -> list[Object]:
    """Return the volumes that a container mounts, or has as a device: the others are not made."""
    names = _names(pod, "volumeMounts") | _names(pod, "volumeDevices")
    return [volume for volume in pod["spec"].get("volumes") or () if volume["name"] in names]


def _names(pod: Object, field: str) -> set[str]:
    return {each["name"] for container in containers_of(pod) for each in container.get(field) or ()}


def _check_mode(pod: Object, name: str, mode: str) -> None:
    """Raise VolumeError where a device is to be mounted, or a file system to be a device."""
    for field, fitting in (("volumeMounts", "Filesystem"), ("volumeDevices", "Block")):
        if mode != fitting and name in _names(pod, field):
            raise VolumeError(f"volume {name} has volumeMode {mode}, but is specified in {field}")


def _claim_name(pod: Object, volume: Object) -> str:
    return str((volume.get("persistentVolumeClaim") or {}).get("claimName") or f"{pod['metadata']['name']}-{volume['name']}")


def _fs_group(pod: Object) -> int | None:
    group: int | None = (pod["spec"].get("securityContext") or {}).get("fsGroup")
    return group


def _set_group(path: Path, group: int | None) -> None:
    if group is None or path.stat().st_gid == group:
        return
    for directory, _, files in os.walk(path):
        for name in (directory, *(os.path.join(directory, f) for f in files)):
            os.chown(name, -1, group, follow_symlinks=False)
    path.chmod(path.stat().st_mode | 0o2070)
