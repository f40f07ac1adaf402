"""Small container images without a registry: static busybox as a docker archive, written here, imported by containerd."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from moorings_core.ports.errors import MooringsError

BUSYBOX = Path("/bin/busybox")
PAUSE, DEMO = "moorings.dev/pause:1", "moorings.dev/busybox:1"
USERS = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
GROUPS = "root:x:0:\nnogroup:x:65534:\n"


class ImageError(MooringsError):
    """An image cannot be made or imported."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image on busybox. files: what is added, as path below / and the file that goes there (executable)."""

    names: tuple[str, ...]
    command: tuple[str, ...] = ("/bin/sleep", "2147483647")
    entrypoint: tuple[str, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)


def busybox_archive(path: Path, names: tuple[str, ...] = (PAUSE, DEMO)) -> None:
    """Write a docker archive with busybox and a link for each of its applets, under all of the names. Raises ImageError."""
    write_archive(path, Image(names))


def write_archive(path: Path, image: Image) -> None:
    """Write an image as a docker archive. Raises ImageError, OSError."""
    fingerprint()
    layer = _layer(image.files)
    digest = hashlib.sha256(layer).hexdigest()
    settings = {"Cmd": list(image.command), "Env": ["PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"], "WorkingDir": "/"}
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {**settings, "Entrypoint": list(image.entrypoint)} if image.entrypoint else settings,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created_by": "moorings"}],
    }
    body = json.dumps(config, sort_keys=True).encode()
    config_name = f"{hashlib.sha256(body).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": list(image.names), "Layers": [f"{digest}/layer.tar"]}]
    temporary = path.with_suffix(".tmp")
    with tarfile.open(temporary, "w") as archive:
        _add(archive, config_name, body)
        _add(archive, f"{digest}/layer.tar", layer)
        _add(archive, "manifest.json", json.dumps(manifest).encode())
    temporary.rename(path)


def fingerprint() -> bytes:
    """Return what changes when the archive would: busybox, and this file. Raises ImageError."""
    if not BUSYBOX.exists():
        raise ImageError(f"{BUSYBOX} is missing: `make setup`, or apt-get install busybox-static")
    return hashlib.sha256(BUSYBOX.read_bytes() + Path(__file__).read_bytes()).digest()


def _layer(files: Mapping[str, Path]) -> bytes:
    applets = subprocess.run([str(BUSYBOX), "--list-full"], capture_output=True, text=True, check=True).stdout.split()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        for directory in ("bin", "sbin", "usr", "usr/bin", "usr/sbin", "etc", "tmp", "root", "var", "dev", "proc", "sys"):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if directory == "tmp" else 0o755
            layer.addfile(entry)
        _add(layer, "bin/busybox", BUSYBOX.read_bytes(), 0o755)
        for applet in applets:
            if applet == "bin/busybox" or applet.startswith("linuxrc"):
                continue
            entry = tarfile.TarInfo(applet)
            entry.type, entry.linkname = tarfile.SYMTYPE, "/bin/busybox"
            layer.addfile(entry)
        _add(layer, "etc/passwd", USERS.encode())
        _add(layer, "etc/group", GROUPS.encode())
        for name, source in files.items():
            _add(layer, name, source.read_bytes(), 0o755)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    archive.addfile(entry, io.BytesIO(data))


def is_archive(path: Path) -> bool:
    """Whether a file looks like an image archive."""
    return tarfile.is_tarfile(path)
