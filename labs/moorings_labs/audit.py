"""What a lab may leave on a machine: read as values, compared before and after, or held against the labs that are there.

Reads only. A resource carries the id of the lab whose name or path it bears ("" where it bears none); `leftovers` finds what belongs to
labs that are gone, `difference` finds everything that came or went between two looks, whoever made it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from moorings_core.kernel.mounts import mount_table
from moorings_core.kernel.nftables import library as nft
from moorings_core.kernel.rtnetlink import Connection, connect

from . import layout
from .layout import PREFIX, Layout

CGROUPS = Path("/sys/fs/cgroup")
NETNS = Path("/run/netns")
RUN = Path("/run/moorings")
PLACES = ("/run/containerd", "/run/moorings", "/var/lib/moorings", "/var/lib/containerd", "/var/lib/cni", "/etc/cni", "/opt/cni")
PROGRAMS = re.compile(r"containerd|runc|moorings")
NAMED = re.compile(rf"\b{PREFIX}-([0-9a-f]{{4}})\b")
IP4, IP6 = 2, 10


@dataclass(frozen=True, order=True, slots=True)
class Resource:
    """One thing on the machine. kind: link, address, route, table, namespace, mount, loop, cgroup, process or file."""

    kind: str
    name: str
    lab: str = ""


def read() -> set[Resource]:
    """Return what is in the machine's own namespaces now. Calls block: use a thread."""
    owner = Owner()
    found: set[Resource] = set()
    with connect() as connection:
        found |= set(_network(connection, owner))
    found |= {Resource("table", line.removeprefix("table ")) for line in nft.run_sync("list tables").splitlines()}
    found |= {Resource("namespace", p.name, owner.of(p.name)) for p in _children(NETNS)}
    found |= {Resource("mount", m.path, owner.of(m.path)) for m in mount_table()}
    found |= {Resource("loop", name, owner.of(name)) for name in _loops()}
    found |= {Resource("cgroup", name, owner.of(name)) for name in _cgroups()}
    found |= set(_processes(owner))
    return found | {Resource("file", name, owner.of(name)) for name in _files()}


def leftovers(resources: Iterable[Resource], living: Collection[str]) -> list[Resource]:
    """Return what belongs to labs other than the living ones (their ids)."""
    return sorted(r for r in resources if r.lab and r.lab not in living)


def difference(before: set[Resource], after: set[Resource], living: Collection[str] = ()) -> list[str]:
    """Return a line for each resource that came (+) or went (-), but for those of living labs."""
    lines = [("+", r) for r in after - before] + [("-", r) for r in before - after]
    return [f"{sign} {r.kind} {r.name}" for sign, r in sorted(lines) if r.lab not in living or not r.lab]


def living() -> set[str]:
    """Return the ids of the labs that are there."""
    return {Layout(state.name, state.number).id for d in layout.root().glob("*") if (state := layout.load(d.name)) is not None}


def processes_of(lab: str, words: str) -> list[int]:
    """Return the ids of a lab's processes whose command line holds some words."""
    return [int(r.name.split(" ", 1)[0]) for r in _processes(Owner()) if r.lab == lab and words in r.name]


class Owner:
    """Tells whose a name is: by the id in it, by the lab's directory, or by its directory of sockets."""

    def __init__(self) -> None:
        self._root = layout.root()

    def of(self, text: str) -> str:
        """Return the id of the lab that a name or path bears, "" for none."""
        named = NAMED.search(text)
        if named:
            return named[1]
        if f"{RUN}/" in text:
            return text.split(f"{RUN}/", 1)[1][:4]
        if f"{self._root}/" in text:
            name = re.split(r"[/\s\0]", text.split(f"{self._root}/", 1)[1], maxsplit=1)[0]
            return Layout(name, 0).id if not name.startswith(".") else ""
        return ""


def _network(connection: Connection, owner: Owner) -> Iterator[Resource]:
    links = {link.index: link.name for link in connection.links()}
    for name in links.values():
        yield Resource("link", name, owner.of(name))
    for address in connection.addresses():
        link = links.get(address.link, "?")
        yield Resource("address", f"{address.address} dev {link}", owner.of(link))
    for route in (*connection.routes(IP4), *connection.routes(IP6)):
        link = links.get(route.link, "?")
        via = f" via {route.gateway}" if route.gateway else ""
        yield Resource("route", f"{route.destination}{via} dev {link}", owner.of(link))


def _loops() -> Iterator[str]:
    for entry in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            yield f"{entry.parent.parent.name} {entry.read_text().strip()}"
        except OSError:
            continue  # detached meanwhile


def _cgroups() -> Iterator[str]:
    hierarchies = {p.resolve() for p in _children(CGROUPS) if p.is_dir()} if not (CGROUPS / "cgroup.controllers").exists() else {CGROUPS}
    for hierarchy in sorted(hierarchies):
        for directory, names, _ in os.walk(hierarchy):
            yield from (f"{directory}/{name}" for name in names)


def _processes(owner: Owner) -> Iterator[Resource]:
    """Yield the processes of labs, and others that run programs which labs also run."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            lab = owner.of((entry / "cgroup").read_text()) or owner.of(command)
            ended = (entry / "stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
        except OSError:
            continue  # gone meanwhile
        if ended:
            continue  # only its exit code is left, which is for its parent to take
        if lab or PROGRAMS.search(command.split(" ", 1)[0]):
            yield Resource("process", f"{entry.name} {command}", lab)


def _files() -> Iterator[str]:
    for place in PLACES:
        for child in _children(Path(place)):
            yield str(child)
            yield from (str(grandchild) for grandchild in _children(child))


def _children(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []
