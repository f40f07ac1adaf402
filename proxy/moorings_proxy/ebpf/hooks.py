"""The programs and maps of one node in the kernel, by the names under which they outlive the process. Blocking.

/sys/fs/bpf/moorings/CGROUP/VERSION/{map-NAME,link-NAME}: CGROUP is the inode of the node's cgroup, so several nodes may share a
machine. A version that is there as a whole is taken up again; another one is made beside it, filled, and then those before it go.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from moorings_core.kernel import bpf
from moorings_core.log import get_logger
from moorings_core.ports.proxy import ProxyError

from . import source

log = get_logger(__name__)
MAPS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"frontends": (20, 8), "backends": (8, 20), "tcp_origins": (32, 32), "udp_origins": (32, 32), "udp_flows": (32, 20)}
)
"""Bytes of keys and values, as sockets.c has them."""
LINKS = ("connect4", "connect6", "sendmsg4", "sendmsg6", "recvmsg4", "recvmsg6", "getpeername4", "getpeername6")


def directory_of(cgroup: str) -> Path:
    """Return the node's cgroup in the hierarchy of v2. Raises ProxyError when it can't be had."""
    root = bpf.cgroups()
    if root is None:
        raise ProxyError("no hierarchy of cgroup v2 is mounted")
    found = root / cgroup.lstrip("/")
    if not found.is_dir():
        raise ProxyError(f"there is no cgroup {found}: the node's pods have to be below one of v2")
    return found


class Hooks:
    """What is pinned for one cgroup."""

    def __init__(self, cgroup: Path) -> None:
        """Nothing in the kernel is touched yet."""
        self._cgroup = cgroup
        self._inode = cgroup.stat().st_ino
        self._base = bpf.FILE_SYSTEM / "moorings" / str(self._inode)
        self._directory = self._base / source.digest()
        self.maps: dict[str, bpf.Map] = {}

    def open(self) -> None:
        """Take up what is pinned, or load it; programs of an earlier process work on meanwhile. Raises ProxyError, OSError."""
        try:
            bpf.mount_file_system()
            if not self._whole():
                self._load()
            self.close()
            self.maps = {name: bpf.open_map(self._directory / f"map-{name}", *sizes) for name, sizes in MAPS.items()}
        except bpf.BpfError as error:
            raise ProxyError(str(error)) from error

    def settle(self) -> None:
        """Remove other versions, as this one has everything that they had, and what is left of nodes whose cgroup has gone."""
        for other in self._base.iterdir():
            if other != self._directory:
                _remove(other)
        for node in self._base.parent.iterdir():
            links = list(node.rglob("link-*"))
            if links and not any(map(bpf.cgroup_of, links)):
                _remove(node)

    def intact(self) -> bool:
        """Whether every program still works for the cgroup, with the maps that are open here."""
        return bool(self.maps) and self._whole()

    def remove(self) -> None:
        """Let the programs go, and all they know."""
        _remove(self._base)
        with suppress(OSError):  # another node's pins are there, too
            self._base.parent.rmdir()

    def close(self) -> None:
        """Close what is open; what is pinned stays."""
        for each in self.maps.values():
            each.close()
        self.maps = {}

    def _whole(self) -> bool:
        try:
            maps = all((self._directory / f"map-{name}").exists() for name in MAPS)
            return maps and all(bpf.cgroup_of(self._directory / f"link-{name}") == self._inode for name in LINKS)
        except OSError:
            return False

    def _load(self) -> None:
        """Begin anew, in a directory whose links are there last: one that is not whole is not used."""
        _remove(self._directory)
        self._directory.mkdir(parents=True)
        with bpf.load(source.build()) as loaded:
            for name in MAPS:
                bpf.pin(loaded.maps[name], self._directory / f"map-{name}")
            for name in LINKS:
                program, hook = loaded.programs[name]
                with bpf.attached(program, self._cgroup, hook) as link:
                    bpf.pin(link, self._directory / f"link-{name}")
        log.info("programs loaded", cgroup=str(self._cgroup), version=source.digest())


def _remove(directory: Path) -> None:
    for link in directory.rglob("link-*"):
        bpf.detach(link)
    if directory.exists():
        shutil.rmtree(directory)
