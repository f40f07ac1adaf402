"""Rules of services and endpoints."""

from __future__ import annotations

import ipaddress

from moorings_core.ports.objects import Object

from . import names
from .errors import FieldError, Path, duplicate, forbidden, invalid, not_supported, required
from .metadata import check_labels

SPEC = Path("spec")
TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
PROTOCOLS = ("SCTP", "TCP", "UDP")
AFFINITY_MOST = 86400
LINK_LOCAL_MULTICAST = ipaddress.ip_network("224.0.0.0/24")
RANGE = "must be between 1 and 65535, inclusive"


def _service(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    kind = spec.get("type")
    found: list[FieldError] = []
    if kind not in TYPES:
        found.append(not_supported(SPEC / "type", kind or "", TYPES))
    if kind == "ExternalName" and not spec.get("externalName"):
        found.append(required(SPEC / "externalName"))
    headless = spec.get("clusterIP") == "None"
    if not spec.get("ports") and kind != "ExternalName" and not headless:
        found.append(required(SPEC / "ports"))
    if headless and kind in ("NodePort", "LoadBalancer"):
        found.append(invalid(SPEC / "clusterIPs", ["None"], f"may not be set to 'None' for {kind} services"))
    if spec.get("sessionAffinity") not in ("ClientIP", "None"):
        found.append(not_supported(SPEC / "sessionAffinity", spec.get("sessionAffinity", ""), ("ClientIP", "None")))
    for i, address in enumerate(spec.get("externalIPs") or ()):
        found += _address(address, (SPEC / "externalIPs").at(i)) or _outer(address, (SPEC / "externalIPs").at(i))
    seconds = ((spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}).get("timeoutSeconds")
    if spec.get("sessionAffinity") == "ClientIP" and seconds is not None and not 0 < seconds <= AFFINITY_MOST:
        path = SPEC / "sessionAffinityConfig" / "clientIP" / "timeoutSeconds"
        found.append(invalid(path, seconds, f"must be greater than 0 and less than {AFFINITY_MOST}"))
    found += check_labels(spec.get("selector") or {}, SPEC / "selector")
    if kind == "ClusterIP":
        found += [
            forbidden((SPEC / "ports").at(i) / "nodePort", "may not be used when `type` is 'ClusterIP'")
            for i, port in enumerate(spec.get("ports") or ())
            if port.get("nodePort")
        ]
    return found + _ports(spec.get("ports") or ())


def _ports(ports: list[Object] | tuple[()]) -> list[FieldError]:
    found: list[FieldError] = []
    seen_names: set[str] = set()
    seen: set[tuple[str, int]] = set()
    for i, port in enumerate(ports):
        path = (SPEC / "ports").at(i)
        name, number, protocol = port.get("name", ""), port.get("port"), port.get("protocol", "")
        if not name and len(ports) > 1:
            found.append(required(path / "name"))
        elif name and (complaint := names.label(name)):
            found.append(invalid(path / "name", name, complaint))
        if name and name in seen_names:
            found.append(duplicate(path / "name", name))
        seen_names.add(name)
        if number is None or not 0 < number < 65536:
            found.append(required(path / "port") if number is None else invalid(path / "port", number, RANGE))
        elif (protocol, number) in seen:
            found.append(duplicate(path, port))
        else:
            seen.add((protocol, number))
        if protocol not in PROTOCOLS:
            found.append(not_supported(path / "protocol", protocol, PROTOCOLS))
        target = port.get("targetPort")
        if isinstance(target, int) and not 0 < target < 65536:
            found.append(invalid(path / "targetPort", target, RANGE))
        if isinstance(target, str) and (complaint := names.port_name(target)):
            found.append(invalid(path / "targetPort", target, complaint))
    return found


def _service_update(new: Object, old: Object) -> list[FieldError]:
    before, after = old["spec"].get("clusterIP"), new["spec"].get("clusterIP")
    both = old["spec"].get("type") != "ExternalName" and new["spec"].get("type") != "ExternalName"
    if both and before and after != before:
        return [invalid((SPEC / "clusterIPs").at(0), [after], "may not change once set")]
    return []


def _endpoint_slice(obj: Object) -> list[FieldError]:
    kind = obj.get("addressType")
    allowed = ("FQDN", "IPv4", "IPv6")
    if kind not in allowed:
        return [required(Path("addressType")) if not kind else not_supported(Path("addressType"), kind, allowed)]
    found: list[FieldError] = []
    for i, endpoint in enumerate(obj.get("endpoints") or ()):
        path = Path("endpoints").at(i) / "addresses"
        if not endpoint.get("addresses"):
            found.append(required(path, "must contain at least 1 address"))
        elif kind != "FQDN":
            for j, address in enumerate(endpoint["addresses"]):
                found += _address(address, path.at(j))
    return found


def _slice_update(new: Object, old: Object) -> list[FieldError]:
    if new.get("addressType") != old.get("addressType"):
        return [invalid("addressType", None, "field is immutable")]
    return []


def _outer(text: str, path: Path) -> list[FieldError]:
    """Return whether an address is none that others can reach."""
    address = ipaddress.ip_address(text)
    kinds = (
        (address.is_unspecified, f"may not be unspecified ({text})"),
        (address.is_loopback, "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (address.is_link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (address in LINK_LOCAL_MULTICAST, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
    )
    return [invalid(path, text, words) for wrong, words in kinds if wrong]


def _address(text: str, path: Path) -> list[FieldError]:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return [invalid(path, text, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")]
    return []


CREATE = {("", "services"): _service, ("discovery.k8s.io", "endpointslices"): _endpoint_slice}
UPDATE = {("", "services"): _service_update, ("discovery.k8s.io", "endpointslices"): _slice_update}
