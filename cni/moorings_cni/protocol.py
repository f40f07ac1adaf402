"""The CNI protocol: calls in, results and errors out, in every version from 0.3.0 to 1.1.0. Pure.

Source: containernetworking/cni SPEC.md 1.1.0 and CONVENTIONS.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moorings_core.ports.network import AttachmentKey, PodRequest

from . import wishes
from .errors import BAD_ENVIRONMENT, DECODE_FAILURE, INCOMPATIBLE, INVALID_CONFIG, CniError

SUPPORTED = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
NEWEST = SUPPORTED[-1]
NEEDS = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "GC": (),
    "STATUS": (),
    "VERSION": (),
}
SINCE = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class Call:
    """One execution of the plugin, checked: verb, environment and configuration."""

    verb: str
    environment: Mapping[str, str]
    config: Mapping[str, Any]
    version: str

    @property
    def key(self) -> AttachmentKey:
        """The attachment that ADD, DEL and CHECK are about."""
        return AttachmentKey(self.environment.get("CNI_CONTAINERID", ""), self.environment.get("CNI_IFNAME", ""))

    def request(self) -> PodRequest:
        """Return what ADD asks for."""
        return wishes.request(self.key, self.environment, self.config)

    def valid(self) -> set[AttachmentKey]:
        """Return the attachments that GC is told to keep."""
        listed = self.config.get("cni.dev/valid-attachments") or []
        try:
            return {AttachmentKey(str(item["containerID"]), str(item["ifname"])) for item in listed}
        except (KeyError, TypeError) as error:
            raise CniError(INVALID_CONFIG, f"cni.dev/valid-attachments: {error!r}") from None


def parse(environment: Mapping[str, str], stdin: bytes) -> Call:
    """Return the checked call. Raises CniError with the code that the specification gives."""
    verb = environment.get("CNI_COMMAND", "")
    if verb not in NEEDS:
        raise CniError(BAD_ENVIRONMENT, f"CNI_COMMAND is {verb!r}, expected one of {', '.join(NEEDS)}")
    missing = [name for name in NEEDS[verb] if not environment.get(name)]
    if missing:
        raise CniError(BAD_ENVIRONMENT, f"missing in the environment: {', '.join(missing)}")
    config = _decode(stdin) if verb != "VERSION" or stdin.strip() else {}
    version = str(config.get("cniVersion") or ("0.1.0" if verb != "VERSION" else NEWEST))
    if verb != "VERSION":
        _check_version(verb, version)
        _check_names(verb, environment, config)
    return Call(verb, environment, config, version)


def _decode(stdin: bytes) -> dict[str, Any]:
    try:
        config = json.loads(stdin)
    except ValueError as error:
        raise CniError(DECODE_FAILURE, f"the configuration on stdin is not JSON: {error}") from None
    if not isinstance(config, dict):
        raise CniError(DECODE_FAILURE, "the configuration on stdin is not a JSON object")
    return config


def _check_version(verb: str, version: str) -> None:
    if version not in SUPPORTED:
        raise CniError(INCOMPATIBLE, f"cniVersion {version} is not supported", f"supported: {', '.join(SUPPORTED)}")
    if SUPPORTED.index(version) < SUPPORTED.index(SINCE.get(verb, SUPPORTED[0])):
        raise CniError(INCOMPATIBLE, f"{verb} needs cniVersion {SINCE[verb]} or later, the configuration has {version}")


def _check_names(verb: str, environment: Mapping[str, str], config: Mapping[str, Any]) -> None:
    if not NAME.fullmatch(str(config.get("name", ""))):
        raise CniError(INVALID_CONFIG, f"name: {config.get('name')!r} is not a network name")
    if verb in ("GC", "STATUS"):
        return
    if not NAME.fullmatch(environment["CNI_CONTAINERID"]):
        raise CniError(BAD_ENVIRONMENT, f"CNI_CONTAINERID: {environment['CNI_CONTAINERID']!r} is not a container ID")
    interface = environment["CNI_IFNAME"]
    if len(interface.encode()) > 15 or interface in (".", "..") or re.search(r"[/:\s]", interface):
        raise CniError(BAD_ENVIRONMENT, f"CNI_IFNAME: {interface!r} is not an interface name")


def version_answer(asked: str) -> str:
    """Return the answer to VERSION."""
    return json.dumps({"cniVersion": asked, "supportedVersions": list(SUPPORTED)})
