"""Rules of NetworkPolicies. Source: upstream's pkg/apis/networking/validation, and what it declares on the types."""

from __future__ import annotations

from moorings_core.ports.objects import Object

from . import ips, names
from .declared import late
from .errors import FieldError, Path, forbidden, invalid, not_supported, required
from .placement import label_selector

SPEC = Path("spec")
DIRECTIONS, PROTOCOLS = ("Ingress", "Egress"), ("TCP", "UDP", "SCTP")


def _network_policy(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    found = label_selector(spec.get("podSelector"), SPEC / "podSelector")
    declared: list[FieldError] = []
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for i, rule in enumerate(spec.get(direction) or ()):
            path = (SPEC / direction).at(i)
            found += [error for j, port in enumerate(rule.get("ports") or ()) for error in _port(port, (path / "ports").at(j))]
            for j, peer in enumerate(rule.get(peers) or ()):
                found += _peer(peer, (path / peers).at(j))
                if peer.get("ipBlock") is not None and not peer["ipBlock"].get("cidr"):
                    declared.append(required((path / peers).at(j) / "ipBlock" / "cidr"))
    types = spec.get("policyTypes") or []
    if len(types) > len(DIRECTIONS):
        found.append(invalid(SPEC / "policyTypes", types, "may not specify more than two policyTypes"))
    else:
        found += [not_supported((SPEC / "policyTypes").at(i), t, DIRECTIONS) for i, t in enumerate(types) if t not in DIRECTIONS]
    return found + late(declared)


def _port(port: Object, path: Path) -> list[FieldError]:
    protocol, number, end = port.get("protocol"), port.get("port"), port.get("endPort")
    found = [not_supported(path / "protocol", protocol, PROTOCOLS)] if protocol not in (None, *PROTOCOLS) else []
    if isinstance(number, int):
        found += _number(number, path / "port")
        if end is not None and end < number:
            found.append(invalid(path / "endPort", end, "must be greater than or equal to `port`"))
        return found + (_number(end, path / "endPort") if end is not None else [])
    if end is not None:
        what = "not specified" if number is None else "non-numeric"
        found.append(invalid(path / "endPort", end, f"may not be specified when `port` is {what}"))
    if number is not None:
        found += [invalid(path / "port", number, complaint) for complaint in names.port_name_complaints(number)]
    return found


def _number(port: int, path: Path) -> list[FieldError]:
    return [] if 1 <= port <= 65535 else [invalid(path, port, "must be between 1 and 65535, inclusive")]


def _peer(peer: Object, path: Path) -> list[FieldError]:
    block, selectors = peer.get("ipBlock"), [field for field in ("podSelector", "namespaceSelector") if peer.get(field) is not None]
    found = [error for field in selectors for error in label_selector(peer[field], path / field)]
    if block is not None:
        found += _block(block, path / "ipBlock")
        return [*found, forbidden(path, "may not specify both ipBlock and another peer")] if selectors else found
    return found if selectors else [required(path, "must specify a peer")]


def _block(block: Object, path: Path) -> list[FieldError]:
    text = block.get("cidr") or ""
    if not text:
        return []  # told with what is declared
    found, whole = ips.cidr(text, path / "cidr"), ips.network(text)
    if whole is None:
        return found
    for i, excepted in enumerate(block.get("except") or ()):
        where, part = (path / "except").at(i), ips.network(excepted)
        found += ips.cidr(excepted, where)
        if part is None:
            continue
        if part.version != whole.version or part.prefixlen <= whole.prefixlen or part.network_address not in whole:
            found.append(invalid(where, excepted, "must be a strict subset of `cidr`"))
    return found


CREATE = {("networking.k8s.io", "networkpolicies"): _network_policy}
