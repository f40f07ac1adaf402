"""Name resolution of pods: resolv.conf by dnsPolicy, /etc/hosts, host names. Source: upstream's dns configurer."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from moorings_core.ports.cluster import ServicesConfig
from moorings_core.ports.objects import Object

Dns = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
"""(servers, searches, options)"""
DNS_POSITION = 10
"""The cluster's DNS has the tenth address of the first service range."""


@dataclass(frozen=True, slots=True)
class ClusterDns:
    """Where pods ask, and below which domain Services live."""

    server: str
    domain: str

    @classmethod
    def of(cls, config: ServicesConfig) -> ClusterDns:
        """Return the DNS of a cluster."""
        return cls(str(ipaddress.ip_network(config.cidrs[0])[DNS_POSITION]), config.dns.domain)


def pod_dns(pod: Object, cluster: ClusterDns, node: Dns) -> Dns:
    """Return what stands in a pod's resolv.conf."""
    spec, namespace = pod["spec"], pod["metadata"]["namespace"]
    policy = spec.get("dnsPolicy", "ClusterFirst")
    if policy == "ClusterFirst" and spec.get("hostNetwork"):
        policy = "Default"
    if policy in ("ClusterFirst", "ClusterFirstWithHostNet"):
        own = tuple(f"{part}{cluster.domain}" for part in (f"{namespace}.svc.", "svc.", ""))
        found: Dns = ((cluster.server,), (*own, *node[1]), ("ndots:5",))
    else:
        found = node if policy == "Default" else ((), (), ())
    extra = spec.get("dnsConfig") or {}
    servers = _joined(found[0], extra.get("nameservers", ()))
    searches = _joined(found[1], extra.get("searches", ()))
    given = {o["name"]: f"{o['name']}:{o['value']}" if o.get("value") else o["name"] for o in extra.get("options", ())}
    options = (*(o for o in found[2] if o.partition(":")[0] not in given), *given.values())
    return servers, searches, options


def read_resolv_conf(path: Path) -> Dns:
    """Return the servers, search domains and options of a resolv.conf."""
    servers: list[str] = []
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    for line in path.read_text().splitlines() if path.exists() else ():
        word, *values = line.split() or [""]
        if word == "nameserver":
            servers.extend(values[:1])
        elif word == "search":
            searches = tuple(values)
        elif word == "options":
            options = tuple(values)
    return tuple(servers), searches, options


def hostname(pod: Object) -> str:
    """Return the host name of a pod: its own wish, or its name, cut to what a kernel takes."""
    return str(pod["spec"].get("hostname") or pod["metadata"]["name"])[:63].rstrip("-.")


def hosts_file(pod: Object, addresses: Sequence[str], domain: str, node_file: str | None = None) -> str:
    """Return /etc/hosts of a pod; node_file is the node's own, for a pod on the node's network."""
    aliases = ["\t".join((a["ip"], *a.get("hostnames", ()))) for a in pod["spec"].get("hostAliases") or ()]
    if node_file is not None:
        return "\n".join([node_file.rstrip("\n"), *aliases]) + "\n"
    name, subdomain = hostname(pod), pod["spec"].get("subdomain")
    names = name
    if subdomain:
        names = f"{name}.{subdomain}.{pod['metadata']['namespace']}.svc.{domain}\t{name}"
    lines = [
        "# written by the node agent",
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::0\tip6-localnet",
        "fe00::0\tip6-mcastprefix",
        "fe00::1\tip6-allnodes",
        "fe00::2\tip6-allrouters",
        *(f"{address}\t{names}" for address in addresses),
    ]
    return "\n".join([*lines, *aliases]) + "\n"


def _joined(first: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*first, *more]))
