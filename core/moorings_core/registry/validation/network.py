"""Rules of Services, and of their ranges and addresses."""

from __future__ import annotations

import ipaddress
from typing import Any

from moorings_core.ports.objects import Object

from . import names
from .declared import late
from .errors import FieldError, Path, invalid, required
from .service_addresses import family_of
from .services import CIDR_WORDS, check_service, check_service_status, check_service_update, is_cidr

CIDRS, PARENT = Path("spec.cidrs"), Path("spec.parentRef")
IMMUTABLE = "field is immutable"


def _service_cidr(obj: Object) -> list[FieldError]:
    cidrs = (obj.get("spec") or {}).get("cidrs") or []
    if not cidrs:
        return [required(CIDRS, "at least one CIDR required")]
    if len(cidrs) > 2:
        return [invalid(CIDRS, {"CIDRs": cidrs}, "may only hold up to 2 values")]
    found: list[FieldError] = []
    for i, text in enumerate(cidrs):
        if not is_cidr(text):
            found.append(invalid(CIDRS.at(i), text, CIDR_WORDS))
        elif (network := ipaddress.ip_network(text, strict=False)) and str(network) != text:
            found.append(invalid(CIDRS.at(i), text, _canonical(text, network)))
    if len(cidrs) == 2 and all(map(is_cidr, cidrs)) and family_of(cidrs[0]) == family_of(cidrs[1]):
        words = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
        found.append(invalid(CIDRS, cidrs, words))
    return found


def _canonical(text: str, network: Any) -> str:
    if ipaddress.ip_interface(text).ip != network.network_address:
        return "must not have bits set beyond the prefix length"
    return f'must be in canonical form ("{network}")'


def _service_cidr_update(new: Object, old: Object) -> list[FieldError]:
    after, before = new["spec"].get("cidrs") or [], old["spec"].get("cidrs") or []
    if len(after) == len(before):
        return [invalid(CIDRS.at(i), after[i], IMMUTABLE) for i in range(len(before)) if before[i] != after[i]]
    if len(before) == 1 and len(after) == 2:
        first = [invalid(CIDRS.at(0), after[0], IMMUTABLE)] if after[0] != before[0] else []
        return first + _service_cidr(new)
    return [invalid(CIDRS, after or None, IMMUTABLE)]


def _ip_address(obj: Object) -> list[FieldError]:
    parent = (obj.get("spec") or {}).get("parentRef")
    if parent is None:
        return [required(PARENT)]
    found: list[FieldError] = []
    if (group := parent.get("group")) and (complaint := names.subdomain(group)):
        found.append(invalid(PARENT / "group", group, complaint))
    for field in ("resource", "name"):
        if not parent.get(field):
            found += late([required(PARENT / field)])
    for field in ("resource", "name", "namespace"):
        if parent.get(field) and (complaint := names.path_segment(parent[field])):
            found.append(invalid(PARENT / field, parent[field], complaint))
    return found


def _ip_address_update(new: Object, old: Object) -> list[FieldError]:
    changed = new["spec"].get("parentRef") != old["spec"].get("parentRef")
    return late([invalid(PARENT, None, IMMUTABLE)]) if changed else []  # upstream names no value either


CREATE = {
    ("", "services"): check_service,
    ("networking.k8s.io", "servicecidrs"): _service_cidr,
    ("networking.k8s.io", "ipaddresses"): _ip_address,
}
STATUS = {("", "services"): check_service_status}
UPDATE = {
    ("", "services"): check_service_update,
    ("networking.k8s.io", "servicecidrs"): _service_cidr_update,
    ("networking.k8s.io", "ipaddresses"): _ip_address_update,
}
