"""Rules of Services. Source: upstream's apis/core/validation, in its order and words."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

from moorings_core.ports.objects import Object

from . import ips, names
from .errors import FieldError, Path, duplicate, forbidden, invalid, not_supported, required
from .metadata import check_labels
from .service_addresses import check_addresses, check_families_update, check_update, is_headless, is_ip

SPEC = Path("spec")
TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
PROTOCOLS = ("SCTP", "TCP", "UDP")
POLICIES = ("Cluster", "Local")
DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
AFFINITY_MOST = 86400
RANGE = "must be between 1 and 65535, inclusive"
NO_LETTER = "must contain at least one letter (a-z)"
INGRESS = Path("status.loadBalancer.ingress")
MODES = ("Proxy", "VIP")
IP_WORDS = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
CIDR_WORDS = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
ONLY_BALANCED = "may only be used when `type` is 'LoadBalancer'"
RANGES_ANNOTATION = "service.beta.kubernetes.io/load-balancer-source-ranges"
LOOPBACK = "may not be in the loopback range (127.0.0.0/8, ::1/128)"
LINK_LOCAL_MULTICAST = (ipaddress.ip_network("224.0.0.0/24"), ipaddress.ip_network("ff02::/16"))


def check_service(obj: Object) -> list[FieldError]:
    """Return what is wrong with a Service in itself."""
    spec = obj.get("spec") or {}
    found = _kind(spec)
    found += _ports(spec.get("ports") or ())
    found += check_labels(spec.get("selector") or {}, SPEC / "selector")
    found += _affinity(spec)
    if obj["metadata"].get("name"):  # without one nothing was allocated
        found += check_addresses(spec)
    found += _external_ips(spec)
    found += _type(spec)
    found += _duplicates(spec.get("ports") or ())
    found += _balancing(obj, spec)
    found += _external_policy(spec)
    found += _internal_policy(spec)
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in DISTRIBUTIONS:
        found.append(not_supported(SPEC / "trafficDistribution", distribution, DISTRIBUTIONS))
    return found


def check_service_update(new: Object, old: Object) -> list[FieldError]:
    """Return what a Service may not become."""
    after, before = new["spec"], old["spec"]
    found = [*check_update(after, before), *check_families_update(after, before)]
    both = after.get("type") == before.get("type") == "LoadBalancer"
    if both and after.get("loadBalancerClass") != before.get("loadBalancerClass"):
        found.append(invalid(SPEC / "loadBalancerClass", after.get("loadBalancerClass"), "may not change once set"))
    if needs_health_check(before) and needs_health_check(after) and after.get("healthCheckNodePort") != before.get("healthCheckNodePort"):
        found.append(forbidden(SPEC / "healthCheckNodePort", "field is immutable"))
    return found


def check_service_status(new: Object, old: Object) -> list[FieldError]:
    """Return what is wrong with what a load balancer has written."""
    ingress = ((new.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    if ingress and new["spec"].get("type") != "LoadBalancer":
        return [forbidden(INGRESS, "may only be used when `spec.type` is 'LoadBalancer'")]
    return [error for i, each in enumerate(ingress) for error in _ingress(each, INGRESS.at(i))]


def _ingress(ingress: Object, path: Path) -> list[FieldError]:
    address, mode, name, found = ingress.get("ip") or "", ingress.get("ipMode"), ingress.get("hostname") or "", []
    if address and not is_ip(address):
        found.append(invalid(path / "ip", address, IP_WORDS))
    if mode is None:
        found += [required(path / "ipMode", "must be specified when `ip` is set")] if address else []
    elif not address:
        found.append(forbidden(path / "ipMode", "may not be specified when `ip` is not set"))
    elif mode not in MODES:
        found.append(not_supported(path / "ipMode", mode, MODES))
    if name and (complaint := names.subdomain(name)):
        found.append(invalid(path / "hostname", name, complaint))
    if name and is_ip(name):
        found.append(invalid(path / "hostname", name, "must be a DNS name, not an IP address"))
    return found


def is_reachable_from_outside(spec: Object) -> bool:
    """Whether the policy of external traffic means anything."""
    return spec.get("type") in ("LoadBalancer", "NodePort") or (spec.get("type") == "ClusterIP" and bool(spec.get("externalIPs")))


def needs_health_check(spec: Object) -> bool:
    """Whether a load balancer outside has to know which nodes have endpoints."""
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _kind(spec: Object) -> list[FieldError]:
    kind, headless, found = spec.get("type"), is_headless(spec), []
    if not spec.get("ports") and not headless and kind != "ExternalName":
        found.append(required(SPEC / "ports"))
    if kind in ("LoadBalancer", "NodePort") and headless:
        found.append(invalid((SPEC / "clusterIPs").at(0), "None", f"may not be set to 'None' for {kind} services"))
    if kind != "ExternalName":
        return found
    words = "may not be set for ExternalName services"
    found += [forbidden(SPEC / field, words) for field in ("clusterIPs", "ipFamilies", "ipFamilyPolicy") if spec.get(field)]
    name = str(spec.get("externalName") or "").removesuffix(".")
    if not name:
        found.append(required(SPEC / "externalName"))
    elif complaint := names.subdomain(name):
        found.append(invalid(SPEC / "externalName", name, complaint))
    return found


def _ports(ports: Sequence[Object]) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for i, port in enumerate(ports):
        path = (SPEC / "ports").at(i)
        found += _port_name(port.get("name") or "", path, seen, needed=len(ports) > 1)
        found += _port(port, path)
    return found


def _port_name(name: str, path: Path, seen: set[str], *, needed: bool) -> list[FieldError]:
    if not name:
        return [required(path / "name")] if needed else []
    complaint = names.label(name)
    found = [invalid(path / "name", name, complaint)] if complaint else []
    if name in seen:
        found.append(duplicate(path / "name", name))
    seen.add(name)
    return found


def _port(port: Object, path: Path) -> list[FieldError]:
    number, protocol, target, found = port.get("port") or 0, port.get("protocol", ""), port.get("targetPort"), []
    if not 0 < number < 65536:
        found.append(invalid(path / "port", number, RANGE))
    if not protocol:
        found.append(required(path / "protocol"))
    elif protocol not in PROTOCOLS:
        found.append(not_supported(path / "protocol", protocol, PROTOCOLS))
    if isinstance(target, int) and not 0 < target < 65536:
        found.append(invalid(path / "targetPort", target, RANGE))
    if isinstance(target, str) and (complaint := names.port_name(target)):
        found.append(invalid(path / "targetPort", target, complaint))
        if complaint != NO_LETTER and not any("a" <= c <= "z" for c in target):
            found.append(invalid(path / "targetPort", target, NO_LETTER))
    if (protocol_name := port.get("appProtocol")) is not None and (complaint := names.label_key(protocol_name)):
        found.append(invalid(path / "appProtocol", protocol_name, complaint))
    return found


def _affinity(spec: Object) -> list[FieldError]:
    kind, path = spec.get("sessionAffinity"), SPEC / "sessionAffinityConfig"
    if not kind:
        return [required(SPEC / "sessionAffinity")]
    if kind not in ("ClientIP", "None"):
        return [not_supported(SPEC / "sessionAffinity", kind, ("ClientIP", "None"))]
    if kind == "None":
        words = "must not be set when session affinity is None"
        return [forbidden(path, words)] if spec.get("sessionAffinityConfig") is not None else []
    seconds = ((spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}).get("timeoutSeconds")
    if seconds is not None and not 0 < seconds <= AFFINITY_MOST:
        return [invalid(path / "clientIP" / "timeoutSeconds", seconds, f"must be greater than 0 and less than {AFFINITY_MOST}")]
    return []


def _external_ips(spec: Object) -> list[FieldError]:
    found: list[FieldError] = []
    for i, text in enumerate(spec.get("externalIPs") or ()):
        path = (SPEC / "externalIPs").at(i)
        found += ips.address(text, path) or reachable(text, path)
    return found


def reachable(text: str, path: Path) -> list[FieldError]:
    """Return whether an address is none that others can reach."""
    address = ipaddress.ip_address(text)
    kinds = (
        (address.is_unspecified, f"may not be unspecified ({text})"),
        (address.is_loopback, LOOPBACK),
        (address.is_link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (any(address in n for n in LINK_LOCAL_MULTICAST), "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
    )
    return [invalid(path, text, words) for wrong, words in kinds if wrong]


def _type(spec: Object) -> list[FieldError]:
    kind = spec.get("type")
    if not kind:
        return [required(SPEC / "type")]
    if kind not in TYPES:
        return [not_supported(SPEC / "type", kind, TYPES)]
    ports = enumerate(spec.get("ports") or ())
    words = "may not be used when `type` is 'ClusterIP'"
    return [forbidden((SPEC / "ports").at(i) / "nodePort", words) for i, p in ports if p.get("nodePort") and kind == "ClusterIP"]


def _duplicates(ports: Sequence[Object]) -> list[FieldError]:
    """Return ports that are there twice: first by node port, then by port."""
    found: list[FieldError] = []
    for field in ("nodePort", "port"):
        seen: set[tuple[str, int]] = set()
        for i, port in enumerate(ports):
            number, path = port.get(field) or 0, (SPEC / "ports").at(i)
            key = (port.get("protocol", ""), number)
            if key in seen:
                found.append(duplicate(path / field, number) if field == "nodePort" else duplicate(path, _shown(port)))
            if number:
                seen.add(key)
    return found


def _shown(port: Object) -> Object:
    """Return the two fields that count, as upstream shows them: under the names of its own structure."""
    empty: Object = {"Name": "", "Protocol": port.get("protocol", ""), "AppProtocol": None, "Port": port.get("port")}
    return empty | {"TargetPort": 0, "NodePort": 0}


def _balancing(obj: Object, spec: Object) -> list[FieldError]:
    balanced, found = spec.get("type") == "LoadBalancer", []
    annotation = (obj.get("metadata", {}).get("annotations") or {}).get(RANGES_ANNOTATION)
    ranges: Sequence[str] = spec.get("loadBalancerSourceRanges") or ()
    path: Path = SPEC / "LoadBalancerSourceRanges"
    if ranges:
        found += [] if balanced else [forbidden(path, ONLY_BALANCED)]
        found += _cidrs([(path.at(i), text) for i, text in enumerate(ranges)])
    elif annotation is not None:
        path = (Path("metadata") / "annotations").at(RANGES_ANNOTATION)
        found += [] if balanced else [forbidden(path, ONLY_BALANCED)]
        found += _cidrs([(path, text) for text in annotation.split(",")] if annotation.strip() else [])
    if spec.get("allocateLoadBalancerNodePorts") is not None and not balanced:
        found.append(forbidden(SPEC / "allocateLoadBalancerNodePorts", ONLY_BALANCED))
    kind = spec.get("loadBalancerClass")
    if kind is not None and not balanced:
        found.append(forbidden(SPEC / "loadBalancerClass", ONLY_BALANCED))
    elif kind is not None and (complaint := names.label_key(kind)):
        found.append(invalid(SPEC / "loadBalancerClass", kind, complaint))
    return found


def _cidrs(given: Sequence[tuple[Path, str]]) -> list[FieldError]:
    return [error for path, text in given for error in ips.cidr(text.strip(), path)]


def is_cidr(text: Any) -> bool:
    """Whether a text is a range of addresses; bits after the prefix are tolerated."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in str(text)


def _external_policy(spec: Object) -> list[FieldError]:
    policy, port, found = spec.get("externalTrafficPolicy") or "", spec.get("healthCheckNodePort") or 0, []
    path = SPEC / "externalTrafficPolicy"
    if not is_reachable_from_outside(spec):
        found += [invalid(path, policy, "may only be set for externally-accessible services")] if policy else []
    elif not policy:
        found.append(required(path))
    elif policy not in POLICIES:
        found.append(not_supported(path, policy, POLICIES))
    if not needs_health_check(spec):
        words = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        found += [invalid(SPEC / "healthCheckNodePort", port, words)] if port else []
    elif not port:
        found.append(required(SPEC / "healthCheckNodePort"))
    elif not 0 < port < 65536:
        found.append(invalid(SPEC / "healthCheckNodePort", port, RANGE))
    return found


def _internal_policy(spec: Object) -> list[FieldError]:
    policy, path = spec.get("internalTrafficPolicy"), SPEC / "internalTrafficPolicy"
    if policy is None:
        return [required(path)] if spec.get("type") in ("NodePort", "LoadBalancer", "ClusterIP") else []
    return [] if policy in POLICIES else [not_supported(path, policy, POLICIES)]
