"""Attachments as CNI results, written in the version that the runtime asked for. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from moorings_core.ports.network import Attachment

from .errors import CHECK_FAILED, INVALID_CONFIG, CniError


def result(attachment: Attachment, version: str, dns: Mapping[str, Any], previous: Mapping[str, Any] | None = None) -> str:
    """Return the result of ADD, appended to what earlier plugins of a chain have made.

    Fields younger than `version` are left out; before 1.0.0 an address names its family.
    """
    newest, old = version == "1.1.0", version.startswith("0.")
    mtu = {"mtu": attachment.mtu} if newest else {}
    interfaces = [
        {"name": attachment.host_link, "mac": attachment.host_mac} | mtu,
        {"name": attachment.key.interface, "mac": attachment.mac, "sandbox": attachment.netns} | mtu,
    ]
    before = down(previous or {}, version)
    first = len(before["interfaces"])
    ips: list[dict[str, Any]] = []
    routes: list[dict[str, Any]] = []
    for address, gateway in zip(attachment.addresses, attachment.gateways, strict=True):
        six = ":" in address
        family = {"version": "6" if six else "4"} if old else {}
        ips.append(family | {"address": f"{address}/{128 if six else 32}", "gateway": gateway, "interface": first + 1})
        routes.append({"dst": "::/0" if six else "0.0.0.0/0", "gw": gateway})
    return json.dumps({
        "cniVersion": version, "interfaces": before["interfaces"] + interfaces, "ips": before["ips"] + ips,
        "routes": before["routes"] + routes, "dns": dict(dns) or before["dns"],
    })  # fmt: skip


def addresses_result(attachment: Attachment, cidrs: Sequence[str], version: str, dns: Mapping[str, Any]) -> str:
    """Return the result of an IPAM plugin: addresses within their ranges, whose first ones are the gateways'."""
    ips: list[dict[str, Any]] = []
    for address in attachment.addresses:
        network = next(n for n in map(ip_network, cidrs) if ip_address(address) in n)
        family = {"version": str(network.version)} if version.startswith("0.") else {}
        ips.append(family | {"address": f"{address}/{network.prefixlen}", "gateway": str(network.network_address + 1)})
    routes = [{"dst": "::/0" if ":" in address else "0.0.0.0/0"} for address in attachment.addresses]
    return json.dumps({"cniVersion": version, "ips": ips, "routes": routes, "dns": dict(dns)})


def down(previous: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Return an earlier result in a version: without fields that are younger, with the family of addresses before 1.0.0."""
    newest, old = version == "1.1.0", version.startswith("0.")
    drop = set() if newest else {"mtu", "socketPath", "pciID", "advmss", "priority", "table", "scope"}
    found: dict[str, Any] = {
        name: [{k: v for k, v in item.items() if k not in drop} for item in previous.get(name) or []]
        for name in ("interfaces", "ips", "routes")
    }
    for item in found["ips"]:
        item.pop("version", None)
        if old:
            item["version"] = "6" if ":" in item.get("address", "") else "4"
    return found | {"cniVersion": version, "dns": previous.get("dns") or {}}


def wired_before(previous: Mapping[str, Any] | None, interface: str) -> tuple[str, ...]:
    """Return the addresses of an interface in a sandbox that an earlier plugin of the chain has wired; none: it has not."""
    try:
        interfaces = (previous or {}).get("interfaces") or []
        mine = {i for i, one in enumerate(interfaces) if one.get("name") == interface and one.get("sandbox")}
        listed = [ip for ip in (previous or {}).get("ips") or [] if ip.get("interface") in mine]
        return tuple(sorted((str(ip_interface(ip["address"]).ip) for ip in listed), key=lambda a: ":" in a))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CniError(INVALID_CONFIG, f"prevResult: {error!r}") from None


def loopback_result(netns: str, version: str) -> str:
    """Return the result of ADD for the loopback interface, which runtimes ask a plugin of that name for."""
    old = version.startswith("0.")
    pairs = (("127.0.0.1/8", "4"), ("::1/128", "6"))
    ips = [({"version": six} if old else {}) | {"address": address, "interface": 0} for address, six in pairs]
    link = {"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": netns}
    return json.dumps({"cniVersion": version, "interfaces": [link], "ips": ips, "routes": [], "dns": {}})


def compare(previous: Mapping[str, Any] | None, attachment: Attachment) -> None:
    """Check that a prevResult still tells the truth; what later plugins of a chain added is fine. Raises CniError."""
    if not previous:
        raise CniError(INVALID_CONFIG, "CHECK needs prevResult in the configuration")
    listed = {str(item.get("address", "")).split("/")[0] for item in previous.get("ips") or []}
    lacking = [address for address in attachment.addresses if address not in listed]
    if lacking:
        raise CniError(CHECK_FAILED, f"prevResult lacks {', '.join(lacking)}, which the interface has")
