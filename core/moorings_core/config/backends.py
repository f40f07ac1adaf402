"""Backends by name: each port is a group of entry points that any installed package may add to."""

from __future__ import annotations

import functools
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from moorings_core.ports.errors import MooringsError

PREFIX = "moorings."


class UnknownBackend(MooringsError):
    """No installed package registered that name for that port."""

    exit_code = 2

    def __init__(self, port: str, name: str, installed: list[str]) -> None:
        super().__init__(f"no {port} backend {name!r}; installed: {', '.join(installed) or 'none'}")
        self.port, self.name, self.installed = port, name, installed


def installed(port: str) -> dict[str, EntryPoint]:
    """Return the backends of a port ("network", "proxy", "storage", "cloud", "store", "runtime", "dns") by name."""
    return {entry.name: entry for entry in _all() if entry.group == f"{PREFIX}{port}"}


def load(port: str, name: str) -> Any:
    """Return what the entry point of a backend names: a factory, see the port's file. Raises UnknownBackend."""
    found = installed(port)
    if name not in found:
        raise UnknownBackend(port, name, sorted(found))
    return found[name].load()


@functools.cache
def _all() -> tuple[EntryPoint, ...]:
    """Return the backends of all ports: the library reads the files of every package each time that it is asked."""
    known = entry_points()
    return tuple(entry for group in known.groups if group.startswith(PREFIX) for entry in known.select(group=group))
