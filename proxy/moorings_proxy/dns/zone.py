"""What the cluster domain holds: records computed from Services and EndpointSlices when they are asked for.

Source: Kubernetes DNS-Based Service Discovery, schema 1.1.0.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from moorings_core.ports.objects import Object

from . import wire
from .wire import AAAA, ANY, CNAME, NOERROR, NS, NXDOMAIN, PTR, SOA, SRV, TXT, A, Record

TTL = 5
SCHEMA = b"\x051.1.0"
WEIGHT = 100


class Cluster(Protocol):
    """Where objects are looked up."""

    def service(self, namespace: str, name: str) -> Object | None:
        """Return a Service."""

    def slices(self, namespace: str, name: str) -> Iterable[Object]:
        """Return the EndpointSlices of a Service."""

    def has_namespace(self, name: str) -> bool:
        """Whether a namespace has services."""

    def by_address(self, address: str) -> Iterable[tuple[Object | None, Object | None]]:
        """Return (Service, None) for a ClusterIP and (None, EndpointSlice) for an endpoint's address."""


@dataclass(frozen=True, slots=True)
class Found:
    """An answer: the code and the records; `alias` is a CNAME's target outside the zone that is still to be followed."""

    rcode: int = NOERROR
    answers: Sequence[Record] = ()
    additional: Sequence[Record] = ()
    alias: str = ""


@dataclass(frozen=True)
class Zone:
    """The cluster domain. networks: the service and pod CIDRs, whose reverse names are ours alone."""

    domain: str
    cluster: Cluster
    networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network] = field(default_factory=tuple)

    def lookup(self, name: str, kind: int) -> Found | None:
        """Return the answer, None when the name is not ours. name is in lower case, without the last dot."""
        if name == self.domain:
            return self._apex(kind)
        if name.endswith("." + self.domain):
            return self._inside(name, name[: -len(self.domain) - 1].split("."), kind)
        if name.endswith((".in-addr.arpa", ".ip6.arpa")):
            return self._reverse(name, kind)
        return None

    def soa(self) -> Record:
        """Return the SOA record, which goes with every negative answer. The serial is fixed: nobody transfers the zone."""
        data = wire.pack_soa(f"ns.dns.{self.domain}", f"hostmaster.{self.domain}", 1, TTL)
        return Record(self.domain, SOA, TTL, data)

    def _apex(self, kind: int) -> Found:
        if kind == SOA:
            return Found(answers=[self.soa()])
        if kind == NS:
            return Found(answers=[Record(self.domain, NS, TTL, wire.pack_name(f"ns.dns.{self.domain}"))])
        return Found()

    def _inside(self, name: str, labels: list[str], kind: int) -> Found:
        *rest, base = labels
        if base == "svc":
            return self._svc(name, rest, kind)
        if base == "pod":
            return self._pod(name, rest, kind)
        if labels == ["dns-version"]:
            return Found(answers=_of(kind, [Record(name, TXT, TTL, SCHEMA)]))
        if labels == ["ns", "dns"] and (service := self.cluster.service("kube-system", "kube-dns")):
            return Found(answers=_of(kind, _addresses(name, _cluster_ips(service))))
        return Found() if labels == ["dns"] else Found(NXDOMAIN)

    def _svc(self, name: str, labels: list[str], kind: int) -> Found:
        if not labels:
            return Found()
        namespace = labels[-1]
        if len(labels) == 1:
            return Found() if self.cluster.has_namespace(namespace) else Found(NXDOMAIN)
        service = self.cluster.service(namespace, labels[-2])
        if service is None:
            return Found(NXDOMAIN)
        spec, front = service["spec"], labels[:-2]
        if spec.get("type") == "ExternalName":
            return self._external_name(name, spec, kind) if not front else Found(NXDOMAIN)
        root = f"{labels[-2]}.{namespace}.svc.{self.domain}"
        if _cluster_ips(service):
            return self._virtual(name, root, service, front, kind)
        return self._headless(name, root, list(self.cluster.slices(namespace, labels[-2])), front, kind)

    def _external_name(self, name: str, spec: Object, kind: int) -> Found:
        target = str(spec["externalName"]).rstrip(".").lower()
        alias = [Record(name, CNAME, TTL, wire.pack_name(target))]
        if kind == CNAME or target == name:
            return Found(answers=alias)
        inside = self.lookup(target, kind) if not self._is_alias(target) else None
        return Found(answers=[*alias, *inside.answers]) if inside else Found(answers=alias, alias=target)

    def _is_alias(self, target: str) -> bool:
        """Whether a target is an ExternalName itself: such chains are left to the asker, so that none can be endless."""
        if not target.endswith(f".svc.{self.domain}"):
            return False
        labels = target[: -len(self.domain) - 5].split(".")
        service = self.cluster.service(labels[-1], labels[-2]) if len(labels) == 2 else None
        return service is not None and service["spec"].get("type") == "ExternalName"

    def _virtual(self, name: str, root: str, service: Object, front: list[str], kind: int) -> Found:
        addresses = _addresses(root, _cluster_ips(service))
        if not front:
            return Found(answers=_of(kind, addresses))
        ports = [p for p in service["spec"].get("ports") or () if p.get("name")]
        found = [
            Record(name, SRV, TTL, wire.pack_srv(int(p["port"]), root, WEIGHT))
            for p in ports
            if front == [f"_{p['name']}".lower(), f"_{p.get('protocol', 'TCP')}".lower()]
        ]
        if found:
            return Found(answers=_of(kind, found), additional=addresses if kind == SRV else ())
        return _empty_protocol(front, (p.get("protocol", "TCP") for p in ports))

    def _headless(self, name: str, root: str, slices: Sequence[Object], front: list[str], kind: int) -> Found:
        hosts = list(_hosts(slices))
        if not front:
            return Found(answers=_of(kind, _unique(r for _, a, _ in hosts for r in _addresses(name, [a]))))
        if len(front) == 1 and not front[0].startswith("_"):
            mine = _unique(r for host, a, _ in hosts if host == front[0] for r in _addresses(name, [a]))
            return Found(answers=_of(kind, mine)) if mine else Found(NXDOMAIN)
        named = [
            (host, address, int(port["port"]))
            for host, address, ports in hosts
            for port in ports
            if port.get("name") and front == [f"_{port['name']}".lower(), f"_{port.get('protocol', 'TCP')}".lower()]
        ]
        weight = max(WEIGHT // max(len(named), 1), 1)  # a share, as CoreDNS gives it: together they are as much as a virtual address
        targets = [Record(name, SRV, TTL, wire.pack_srv(port, f"{host}.{root}", weight)) for host, _, port in named]
        glue = [record for host, address, _ in named for record in _addresses(f"{host}.{root}", [address])]
        if targets:
            return Found(answers=_of(kind, _unique(targets)), additional=_unique(glue) if kind == SRV else ())
        return _empty_protocol(front, (p.get("protocol", "TCP") for _, _, ports in hosts for p in ports if p.get("name")))

    def _pod(self, name: str, labels: list[str], kind: int) -> Found:
        if len(labels) < 2:
            return Found() if not labels or self.cluster.has_namespace(labels[0]) else Found(NXDOMAIN)
        text = labels[0]
        try:
            address = ipaddress.ip_address(text.replace("-", "." if text.count("-") == 3 and "--" not in text else ":"))
        except ValueError:
            return Found(NXDOMAIN)
        if len(labels) > 2:
            return Found(NXDOMAIN)
        return Found(answers=_of(kind, _addresses(name, [str(address)])))

    def _reverse(self, name: str, kind: int) -> Found | None:
        address = _reversed(name)
        if address is None:
            return None
        names = []
        for service, piece in self.cluster.by_address(str(address)):
            if service is not None:
                metadata = service["metadata"]
                names.append(f"{metadata['name']}.{metadata['namespace']}.svc.{self.domain}")
            elif piece is not None:
                names += self._endpoint_names(piece, str(address))
        if names:
            return Found(answers=_of(kind, [Record(name, PTR, TTL, wire.pack_name(n)) for n in sorted(set(names))]))
        return Found(NXDOMAIN) if any(address in network for network in self.networks) else None

    def _endpoint_names(self, piece: Object, address: str) -> list[str]:
        """Return the names of an endpoint under its service, when that is headless."""
        metadata = piece["metadata"]
        service_name = (metadata.get("labels") or {}).get("kubernetes.io/service-name", "")
        service = self.cluster.service(metadata["namespace"], service_name)
        if service is None or _cluster_ips(service):
            return []
        root = f"{service_name}.{metadata['namespace']}.svc.{self.domain}"
        return [f"{host}.{root}" for host, a, _ in _hosts([piece]) if a == address]


def _cluster_ips(service: Object) -> list[str]:
    spec = service["spec"]
    return [ip for ip in spec.get("clusterIPs") or [spec.get("clusterIP")] if ip and ip != "None"]


def _hosts(slices: Iterable[Object]) -> Iterator[tuple[str, str, Sequence[Object]]]:
    """Yield (host label, address, ports) of every ready endpoint."""
    for piece in slices:
        for endpoint in piece.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready") is False or piece.get("addressType") == "FQDN":
                continue
            for address in endpoint.get("addresses") or ():
                host = endpoint.get("hostname") or address.replace(".", "-").replace(":", "-")
                yield str(host).lower(), address, piece.get("ports") or ()


def _addresses(name: str, addresses: Iterable[str]) -> list[Record]:
    packed = (ipaddress.ip_address(a).packed for a in addresses)
    return [Record(name, A if len(p) == 4 else AAAA, TTL, p) for p in packed]


def _of(kind: int, records: Iterable[Record]) -> list[Record]:
    return [r for r in records if kind in (r.type, ANY)]


def _unique(records: Iterable[Record]) -> list[Record]:
    return list(dict.fromkeys(records))


def _empty_protocol(front: list[str], protocols: Iterable[str]) -> Found:
    """A name above existing ones exists without records (RFC 8020)."""
    exists = len(front) == 1 and front[0] in {f"_{protocol}".lower() for protocol in protocols}
    return Found() if exists else Found(NXDOMAIN)


def _reversed(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    labels = name.split(".")[:-2][::-1]
    try:
        if name.endswith(".in-addr.arpa"):
            return ipaddress.IPv4Address(".".join(labels)) if len(labels) == 4 else None
        return ipaddress.IPv6Address(int("".join(labels), 16)) if len(labels) == 32 else None
    except ValueError:
        return None
