"""What a runtime asks for beside an address: capabilities (runtimeConfig), `args.cni` of the configuration, CNI_ARGS. Pure.

Source: containernetworking/cni CONVENTIONS.md. Where several say it, runtimeConfig counts more than args, and args more than
CNI_ARGS. In runtimeConfig capitals do not count: containerd writes HostPort, and plugins in Go take it for hostPort.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_interface, ip_network
from typing import Any

from moorings_core.ports.network import AttachmentKey, Bandwidth, PodRequest, PortMapping

from .errors import INVALID_CONFIG, CniError

MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
RATES = {"ingressRate": "ingress_rate", "ingressBurst": "ingress_burst", "egressRate": "egress_rate", "egressBurst": "egress_burst"}


def request(key: AttachmentKey, environment: Mapping[str, str], config: Mapping[str, Any]) -> PodRequest:
    """Return what ADD asks for. Raises CniError for what can't be."""
    args = arguments(environment.get("CNI_ARGS", ""))
    pod = "/".join(filter(None, (args.get("K8S_POD_NAMESPACE", ""), args.get("K8S_POD_NAME", ""))))
    asked = _mapping(config, "runtimeConfig")
    more = _mapping(_mapping(config, "args"), "cni")
    mac = str(asked.get("mac") or more.get("mac") or args.get("MAC") or "").lower()
    if mac and not MAC.fullmatch(mac):
        raise CniError(INVALID_CONFIG, f"runtimeConfig.mac: {mac!r} is not a MAC")
    return PodRequest(
        key, environment["CNI_NETNS"], pod, args.get("K8S_POD_UID", ""), port_mappings(asked), bandwidth(asked),
        _addresses(asked.get("ips") or more.get("ips") or args.get("IP", "").split(",")), _ranges(asked), mac,
    )  # fmt: skip


def arguments(text: str) -> dict[str, str]:
    """Return CNI_ARGS ("A=1;B=2") by name; what is no pair is ignored."""
    return dict(part.split("=", 1) for part in text.split(";") if "=" in part)


def bandwidth(asked: Mapping[str, Any]) -> Bandwidth:
    """Return runtimeConfig.bandwidth. Raises CniError for rates that are none."""
    given = _folded(_mapping(asked, "bandwidth"))
    try:
        found = Bandwidth(**{ours: int(given.get(theirs.lower()) or 0) for theirs, ours in RATES.items()})
    except (TypeError, ValueError) as error:
        raise CniError(INVALID_CONFIG, f"runtimeConfig.bandwidth: {error}") from None
    if min(found.ingress_rate, found.ingress_burst, found.egress_rate, found.egress_burst) < 0:
        raise CniError(INVALID_CONFIG, "runtimeConfig.bandwidth: rates and bursts are not negative")
    return found


def port_mappings(asked: Mapping[str, Any]) -> tuple[PortMapping, ...]:
    """Return runtimeConfig.portMappings. Raises CniError for values that are no ports."""
    found: list[PortMapping] = []
    for item in asked.get("portMappings") or []:
        try:
            given = _folded(item)
            port = PortMapping(
                int(given["hostport"]), int(given["containerport"]), str(given.get("protocol") or "tcp").lower(),
                str(given.get("hostip") or ""),
            )  # fmt: skip
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CniError(INVALID_CONFIG, f"runtimeConfig.portMappings: {error!r}") from None
        if port.protocol not in ("tcp", "udp", "sctp") or not 0 <= port.host_port < 65536 or not 0 < port.container_port < 65536:
            raise CniError(INVALID_CONFIG, f"runtimeConfig.portMappings: {item!r} is not a mapping")
        if port.host_port:
            found.append(PortMapping(port.host_port, port.container_port, port.protocol, _any(port.host_ip)))
    return tuple(found)


def dns(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `dns` of a result: what the runtime says, else what the configuration has."""
    asked = _folded(_mapping(_mapping(config, "runtimeConfig"), "dns"))
    if not asked:
        return dict(_mapping(config, "dns"))
    names = {"servers": "nameservers", "searches": "search", "options": "options"}
    return {ours: list(asked[theirs]) for theirs, ours in names.items() if asked.get(theirs)}


def _addresses(given: Any) -> tuple[str, ...]:
    try:
        return tuple(str(ip_interface(str(item)).ip) for item in given if item)
    except (TypeError, ValueError) as error:
        raise CniError(INVALID_CONFIG, f"ips: {error}") from None


def _ranges(asked: Mapping[str, Any]) -> tuple[str, ...]:
    try:
        return tuple(str(ip_network(_folded(part)["subnet"], strict=False)) for group in asked.get("ipRanges") or [] for part in group)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CniError(INVALID_CONFIG, f"runtimeConfig.ipRanges: {error!r}") from None


def _mapping(tree: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = tree.get(name) or {}
    if not isinstance(found, dict):
        raise CniError(INVALID_CONFIG, f"{name}: expected an object")
    return found


def _folded(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name.lower(): value for name, value in given.items()}


def _any(host_ip: str) -> str:
    return "" if host_ip in ("0.0.0.0", "::") else host_ip
