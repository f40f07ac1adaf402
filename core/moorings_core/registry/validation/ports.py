"""Rules of a container's ports. Source: upstream's validateContainerPorts and checkHostPortConflicts."""

from __future__ import annotations

from collections.abc import Sequence

from moorings_core.ports.objects import Object

from . import names
from .errors import FieldError, Path, duplicate, invalid, not_supported, required

PROTOCOLS = ("SCTP", "TCP", "UDP")
RANGE = "must be between 1 and 65535, inclusive"


def ports(given: Sequence[Object], path: Path) -> list[FieldError]:
    """Return what is wrong with the ports of a container."""
    found: list[FieldError] = []
    seen: set[str] = set()
    for i, port in enumerate(given):
        where, name = path.at(i), port.get("name", "")
        if name and (wrong := [invalid(where / "name", name, complaint) for complaint in names.port_name_complaints(name)]):
            found += wrong
        elif name:
            found += [duplicate(where / "name", name)] if name in seen else []
            seen.add(name)
        for field in ("containerPort", "hostPort"):
            number = port.get(field, 0)
            if number and not 0 < number < 65536:
                found.append(invalid(where / field, number, RANGE))
            elif not number and field == "containerPort":
                found.append(required(where / field))
        if port.get("protocol") not in PROTOCOLS:
            protocol = port.get("protocol", "")
            found.append(not_supported(where / "protocol", protocol, PROTOCOLS) if protocol else required(where / "protocol"))
    return found


def host_ports(container: Object, path: Path, taken: set[str]) -> list[FieldError]:
    """Return which ports of the node are asked for twice; notes them in `taken`."""
    found: list[FieldError] = []
    for i, port in enumerate(container.get("ports") or ()):
        if not port.get("hostPort"):
            continue
        place = f"{port.get('protocol')}/{port.get('hostIP', '')}/{port['hostPort']}"
        if place in taken:
            found.append(duplicate((path / "ports").at(i) / "hostPort", place))
        taken.add(place)
    return found
