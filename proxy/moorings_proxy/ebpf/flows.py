"""The end of datagram flows whose endpoint has gone: an unconnected socket is led elsewhere with its next datagram, a connected
one has the endpoint's own address and is ended, so that whoever uses it hears of it and connects again. TCP has an end of its own.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from moorings_core.kernel import sock_diag
from moorings_core.kernel.bpf import Map
from moorings_core.kernel.namespaces import identity, is_netns
from moorings_core.log import get_logger
from moorings_proxy.cleanup import UDP, Frontend, Wanted

log = get_logger(__name__)
NAMED = Path("/run/netns")
"""Where runtimes name the namespaces of pods."""
_SEEN = struct.Struct("=Q16s2s6x")
_ORIGIN = struct.Struct("=Q16s2s6x")
_BACKEND = struct.Struct("=16s2s2x")
Address = tuple[str, int]


class Flow(NamedTuple):
    """What a socket was led to, and what it had asked for. netns: the number of its network namespace."""

    cookie: int
    netns: int
    service: Address
    endpoint: Address


def end(wanted: Wanted, maps: Mapping[str, Map], namespaces: Iterable[str]) -> int:
    """End the flows under frontends whose endpoint is none of theirs; return how many. Blocking. Raises OSError."""
    if not any(frontend.protocol == UDP for frontend in wanted):
        return 0
    origins, flows = maps["udp_origins"].items(), maps["udp_flows"].items()
    turned = [key for key, data in flows.items() if _is_stale(wanted, _address(*_SEEN.unpack(key)[1:]), _address(*_BACKEND.unpack(data)))]
    maps["udp_flows"].delete(turned)
    stale = {key: flow for key, data in origins.items() if _is_stale(wanted, (flow := _flow(key, data)).service, flow.endpoint)}
    ended = _end_connected(stale.values(), namespaces)
    maps["udp_origins"].delete(stale)
    return len(turned) + ended


def namespaces_of(own: str, cgroup: Path) -> Iterator[str]:
    """Yield the network namespaces in which a node may have sockets, each once: its own, those with a name, those of its processes."""
    found = set()
    processes = (f"/proc/{pid}/ns/net" for file in cgroup.rglob("cgroup.procs") for pid in _lines(file))
    named = map(str, sorted(NAMED.iterdir())) if NAMED.is_dir() else ()
    for path in (own, *named, *processes):
        if is_netns(path) and (which := identity(path)) not in found:
            found.add(which)
            yield path


def _end_connected(flows: Iterable[Flow], namespaces: Iterable[str]) -> int:
    by_netns: dict[int, set[tuple[int, Address]]] = defaultdict(set)
    for flow in flows:
        by_netns[flow.netns].add((flow.cookie, flow.endpoint))
    count = 0
    for path in namespaces if by_netns else ():
        try:
            if mine := by_netns.get(sock_diag.cookie_of(path)):
                sockets = [each for each in sock_diag.datagram_sockets(path) if (each.cookie, _plain(each.address, each.port)) in mine]
                count += sock_diag.destroy(path, sockets)
        except FileNotFoundError:
            continue
        except OSError as error:
            log.warning("sockets not ended", netns=path, error=str(error))
    return count


def _is_stale(wanted: Wanted, service: Address, endpoint: Address) -> bool:
    endpoints = wanted.get(Frontend(*service))
    return endpoints is not None and endpoint not in endpoints


def _flow(key: bytes, data: bytes) -> Flow:
    cookie, *endpoint = _SEEN.unpack(key)
    netns, *service = _ORIGIN.unpack(data)
    return Flow(cookie, netns, _address(*service), _address(*endpoint))


def _address(packed: bytes, port: bytes) -> Address:
    return _plain(str(ip_address(packed)), int.from_bytes(port, "big"))


def _plain(address: str, port: int) -> Address:
    """Return an IPv4 address that is in its IPv6 form as what it is."""
    found = ip_address(address)
    mapped = None if found.version == 4 else found.ipv4_mapped
    return str(mapped or found), port


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []  # a cgroup of threads tells no processes; one that has gone has none
