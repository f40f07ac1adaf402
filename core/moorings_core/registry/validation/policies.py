"""Rules of what steers others: network policies, disruption budgets, leases and runtime classes."""

from __future__ import annotations

import ipaddress

from moorings_core.ports.objects import Object

from . import names
from .errors import FieldError, Path, invalid, not_supported, required
from .placement import label_selector
from .workloads import count_or_share

SPEC = Path("spec")
DIRECTIONS = ("Ingress", "Egress")
PROTOCOLS = ("SCTP", "TCP", "UDP")
IMMUTABLE = "field is immutable"


def _network_policy(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    found = label_selector(spec.get("podSelector"), SPEC / "podSelector")
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for i, rule in enumerate(spec.get(direction) or ()):
            for j, peer in enumerate(rule.get(peers) or ()):
                found += _peer(peer, ((SPEC / direction).at(i) / peers).at(j))
            for j, port in enumerate(rule.get("ports") or ()):
                found += _port(port, ((SPEC / direction).at(i) / "ports").at(j))
    types = spec.get("policyTypes") or ()
    return found + [not_supported((SPEC / "policyTypes").at(i), t, DIRECTIONS) for i, t in enumerate(types) if t not in DIRECTIONS]


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
    if number is not None and (complaint := names.port_name(number)):
        found.append(invalid(path / "port", number, complaint))
    return found


def _number(port: int, path: Path) -> list[FieldError]:
    return [] if 1 <= port <= 65535 else [invalid(path, port, "must be between 1 and 65535, inclusive")]


def _peer(peer: Object, path: Path) -> list[FieldError]:
    block = peer.get("ipBlock")
    if not peer:
        return [required(path, "must specify a peer")]
    if block is None:
        return label_selector(peer.get("podSelector"), path / "podSelector") + label_selector(
            peer.get("namespaceSelector"), path / "namespaceSelector"
        )
    if peer.get("podSelector") is not None or peer.get("namespaceSelector") is not None:
        return [FieldError("FieldValueForbidden", path, "Forbidden: may not specify both ipBlock and another peer")]
    return _block(block, path / "ipBlock")


def _block(block: Object, path: Path) -> list[FieldError]:
    text = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
    try:
        whole = ipaddress.ip_network(block.get("cidr", ""), strict=False)
    except ValueError:
        return [invalid(path / "cidr", block.get("cidr", ""), text)]
    found: list[FieldError] = []
    for i, excepted in enumerate(block.get("except") or ()):
        where = (path / "except").at(i)
        try:
            part = ipaddress.ip_network(excepted, strict=False)
        except ValueError:
            found.append(invalid(where, excepted, text))
            continue
        if part.version != whole.version or part.prefixlen <= whole.prefixlen or part.network_address not in whole:
            found.append(invalid(where, excepted, f'must be a strict subset of `cidr`: "{block["cidr"]}"'))
    return found


def _disruption_budget(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    fields = ("minAvailable", "maxUnavailable")
    if all(spec.get(field) is not None for field in fields):
        return [invalid(SPEC, spec, "minAvailable and maxUnavailable cannot be both set")]
    found = [e for field in fields for e in count_or_share(spec.get(field), SPEC / field)]
    return found + label_selector(spec.get("selector"), SPEC / "selector")


def _lease(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    found: list[FieldError] = []
    seconds, changes = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if seconds is not None and seconds <= 0:
        found.append(invalid(SPEC / "leaseDurationSeconds", seconds, "must be greater than 0"))
    if changes is not None and changes < 0:
        found.append(invalid(SPEC / "leaseTransitions", changes, "must be greater than or equal to 0"))
    return found


def _runtime_class_update(new: Object, old: Object) -> list[FieldError]:
    return [] if new.get("handler") == old.get("handler") else [invalid("handler", None, IMMUTABLE)]


CREATE = {
    ("networking.k8s.io", "networkpolicies"): _network_policy,
    ("policy", "poddisruptionbudgets"): _disruption_budget,
    ("coordination.k8s.io", "leases"): _lease,
}
UPDATE = {
    ("node.k8s.io", "runtimeclasses"): _runtime_class_update,
}
