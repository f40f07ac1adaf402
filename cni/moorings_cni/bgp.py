"""BGP for the transport `routed`: bird2, configured by us, says to routers where this node's pods are and learns what they know.

bird is a process of its own that outlives the agent: sessions and routes stay while the agent is away, and the next agent
finds bird by its control socket. Only pod ranges pass the filters, in both directions. bird's own routes (protocol `bird`) have
a metric above ours: a route of ours wins as long as there is one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from moorings_core.log import get_logger
from moorings_core.ports.network import NetworkError

log = get_logger(__name__)
ASN, BIRD_PROTOCOL = 64512, 12
METRICS = {4: 512, 6: 2048}
"""Of bird's routes: above those of ours, which have the kernel's default (0, and 1024 for IPv6)."""
PATIENCE = 5.0
SEARCH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))


@dataclass(frozen=True, slots=True)
class Router:
    """A router that is spoken to; password: TCP MD5 (RFC 2385), "" without."""

    address: str
    asn: int
    password: str = ""


@dataclass(frozen=True, slots=True)
class Speaker:
    """What the cluster file says: the nodes' own number and their routers. hold: seconds of silence after which a router is gone."""

    routers: tuple[Router, ...]
    asn: int = ASN
    hold: int = 9


def speaker_of(parameters: Mapping[str, Any]) -> Speaker | None:
    """Return network.parameters.bgp; None when it is not asked for. Raises NetworkError for what makes no sense."""
    given = parameters.get("bgp")
    if not given:
        return None
    try:
        routers = tuple(
            Router(str(ip_address(peer["address"])), _asn(peer["asn"]), str(peer.get("password", ""))) for peer in given["peers"]
        )
        if any(set('"\n\\') & set(router.password) for router in routers):
            raise ValueError("a password has no quotes, backslashes or line ends")
        found = Speaker(routers, _asn(given.get("asn", ASN)), int(given.get("hold", 9)))
    except (KeyError, TypeError, ValueError) as error:
        raise NetworkError(f"network.parameters.bgp: {{asn, hold, peers: [{{address, asn, password}}]}} expected: {error!r}") from None
    if not found.routers:
        raise NetworkError("network.parameters.bgp.peers: no router is named")
    return found


def _asn(value: Any) -> int:
    number = int(value)
    if not 0 < number < 1 << 32:
        raise ValueError(f"{value} is no autonomous system's number")
    return number


def configuration(speaker: Speaker, addresses: Sequence[str], own: Sequence[str], cluster: Sequence[str]) -> str:
    """Return bird's configuration. Pure. addresses: the node's; own: its pod ranges; cluster: all pods' ranges."""
    four = next((a for a in addresses if ":" not in a), "192.0.2.1")
    lines = [f"router id {four};", "log stderr all;", "protocol device { scan time 2; }"]
    for version in (4, 6):
        mine = [cidr for cidr in own if ip_network(cidr).version == version]
        if mine:
            lines.append(f"protocol static pods{version} {{ ipv{version}; {' '.join(f'route {cidr} unreachable;' for cidr in mine)} }}")
        channel = f"ipv{version} {{ import none; export where source = RTS_BGP; }}"
        lines.append(f"protocol kernel kernel{version} {{ metric {METRICS[version]}; {channel}; }}")
    for number, router in enumerate(speaker.routers):  # "allow local as": other nodes have the same number behind the router
        local = next((a for a in addresses if (":" in a) == (":" in router.address)), "")
        if not local:
            raise NetworkError(f"network.parameters.bgp: this node has no address of the family of router {router.address}")
        password = f' password "{router.password}";' if router.password else ""
        channels = "".join(_channel(version, own, cluster) for version in (4, 6) if any(ip_network(c).version == version for c in cluster))
        ends = f"local {local} as {speaker.asn}; neighbor {router.address} as {router.asn};{password}"
        times = f"hold time {speaker.hold}; connect retry time 1; connect delay time 0; error wait time 1, 5;"
        lines.append(f"protocol bgp router{number} {{ {ends} {times} graceful restart; allow local as 1; {channels}}}")
    return "\n".join(lines) + "\n"


def _channel(version: int, own: Sequence[str], cluster: Sequence[str]) -> str:
    inside = ", ".join(f"{cidr}+" for cidr in cluster if ip_network(cidr).version == version)
    mine = ", ".join(cidr for cidr in own if ip_network(cidr).version == version)
    foreign = f" && !(net ~ [ {mine} ])" if mine else ""
    return f"ipv{version} {{ import where net ~ [ {inside} ]{foreign}; export where source = RTS_STATIC; next hop self; }}; "


class Bird:
    """The process on this node; directory holds its configuration and sockets. Methods block for milliseconds."""

    def __init__(self, directory: Path) -> None:
        self._file, self._control, self._pid = directory / "bird.conf", directory / "bird.ctl", directory / "bird.pid"

    def ensure(self, text: str) -> None:
        """Have bird run with this configuration; sessions that stay the same go on. Raises NetworkError."""
        same = self._file.is_file() and self._file.read_text() == text
        if same and self._answers("show status"):
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        new = self._file.with_suffix(".new")
        new.touch(0o600)
        new.write_text(text)
        self._run("bird", "-p", "-c", str(new))
        new.replace(self._file)
        if self._answers("configure"):
            log.info("bird reconfigured")
            return
        self._control.unlink(missing_ok=True)
        self._run("bird", "-c", str(self._file), "-s", str(self._control), "-P", str(self._pid))
        end = time.monotonic() + PATIENCE
        while not self._answers("show status"):
            if time.monotonic() > end:
                raise NetworkError("bird was started and does not answer")
            time.sleep(0.02)
        log.info("bird started")

    def stop(self) -> None:
        """End bird; its routes go with it. Fine when there is none."""
        if self._control.exists():
            self._answers("down")
        self._file.unlink(missing_ok=True)

    def _answers(self, words: str) -> bool:
        if not self._control.exists():
            return False
        return subprocess.run(
            [_program("birdc"), "-s", str(self._control), *words.split()], capture_output=True, timeout=PATIENCE, check=False
        ).returncode == 0  # fmt: skip

    @staticmethod
    def _run(name: str, *words: str) -> None:
        done = subprocess.run([_program(name), *words], capture_output=True, text=True, timeout=PATIENCE, check=False)
        if done.returncode:
            raise NetworkError(f"bird: {(done.stderr or done.stdout).strip()}")


def _program(name: str) -> str:
    found = shutil.which(name, path=SEARCH)
    if not found:
        raise NetworkError(f"{name} is not installed (Debian: apt-get install bird2): network.parameters.bgp needs it")
    return found
