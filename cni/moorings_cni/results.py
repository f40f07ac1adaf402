"""Attachments as CNI results, written in the version that the runtime asked for. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from moorings_core.ports.network import Attachment

from .protocol import CHECK_FAILED, CniError


def result(attachment: Attachment, version: str) -> str:
    """Return the result of ADD. Fields younger than `version` are left out; before 1.0.0 an address names its family."""
    newest, old = version == "1.1.0", version.startswith("0.")
    mtu = {"mtu": attachment.mtu} if newest else {}
    interfaces = [
        {"name": attachment.host_link, "mac": attachment.host_mac} | mtu,
        {"name": attachment.key.interface, "mac": attachment.mac, "sandbox": attachment.netns} | mtu,
    ]
    ips: list[dict[str, Any]] = []
    routes: list[dict[str, Any]] = []
    for address, gateway in zip(attachment.addresses, attachment.gateways, strict=True):
        six = ":" in address
        family = {"version": "6" if six else "4"} if old else {}
        ips.append(family | {"address": f"{address}/{128 if six else 32}", "gateway": gateway, "interface": 1})
        routes.append({"dst": "::/0" if six else "0.0.0.0/0", "gw": gateway})
    return json.dumps({"cniVersion": version, "interfaces": interfaces, "ips": ips, "routes": routes, "dns": {}})


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
        raise CniError(7, "CHECK needs prevResult in the configuration")
    listed = {str(item.get("address", "")).split("/")[0] for item in previous.get("ips") or []}
    lacking = [address for address in attachment.addresses if address not in listed]
    if lacking:
        raise CniError(CHECK_FAILED, f"prevResult lacks {', '.join(lacking)}, which the interface has")
