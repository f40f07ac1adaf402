"""The DNS server of a node: it answers at the node's own address, and says so in an EndpointSlice of its own.

Pods ask the ClusterIP of kube-system/kube-dns. Its traffic policy is Local, so every node's proxy leads them to the server on
their own node. No other node writes this node's slice, and it goes with the Node (ownerReference).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from socket import AF_INET, AF_INET6, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, socket
from typing import Any

from moorings_core.client.informer import Informer
from moorings_core.client.resources import ENDPOINT_SLICES, NODES, SERVICES
from moorings_core.log import get_logger
from moorings_core.ports.errors import AlreadyExists, ApiError, NotFound
from moorings_core.ports.node import NodeComponent, NodeContext
from moorings_core.ports.objects import Object
from moorings_proxy.pages import PLAIN, listen

from . import kept
from .forward import Forwarder, ResolvConf, Upstream, parse_upstreams
from .kept import SERVICE_NAME
from .server import OpenSocket, Resolver, Server
from .zone import Zone

log = get_logger(__name__)
NAMESPACE, NAME = "kube-system", "kube-dns"
PORTS = (("dns", "UDP"), ("dns-tcp", "TCP"))
CHECK_EVERY, RETRY = 30.0, 1.0
PAGE = 500
"""Objects in one page of a list."""
METRICS_PORT = 9153
"""CoreDNS' own"""


class InformerCluster:
    """Looks up what the zone needs in two informers."""

    def __init__(self, services: Informer, slices: Informer) -> None:
        self._services, self._slices = services, slices
        services.add_index("namespace", lambda obj: [obj["metadata"]["namespace"]])
        services.add_index("address", lambda obj: [ip for ip in _cluster_ips(obj) if ip != "None"])
        slices.add_index("service", _service_of)
        slices.add_index("address", lambda obj: {a for e in obj.get("endpoints") or () for a in e.get("addresses") or ()})

    def service(self, namespace: str, name: str) -> Object | None:
        """Return a Service."""
        return self._services.get(name, namespace)

    def slices(self, namespace: str, name: str) -> Iterable[Object]:
        """Return the EndpointSlices of a Service."""
        return self._slices.by_index("service", f"{namespace}/{name}")

    def has_namespace(self, name: str) -> bool:
        """Whether a namespace has services."""
        return bool(self._services.by_index("namespace", name))

    def by_address(self, address: str) -> Iterable[tuple[Object | None, Object | None]]:
        """Return what has an address."""
        yield from ((service, None) for service in self._services.by_index("address", address))
        yield from ((None, piece) for piece in self._slices.by_index("address", address))


class DnsComponent:
    """Serves DNS on one node and keeps the Service and this node's EndpointSlice."""

    def __init__(self, context: NodeContext, upstreams: Callable[[], Sequence[Upstream]], *, open_socket: OpenSocket = socket) -> None:
        self._context, self._open_socket = context, open_socket
        self._services = Informer(context.client, SERVICES, transform=kept.of_service, page=PAGE)
        self._slices = Informer(context.client, ENDPOINT_SLICES, transform=kept.of_slice(self._slice_name), page=PAGE)
        config = context.config
        networks = [ipaddress.ip_network(c, strict=False) for c in (*config.services.cidrs, *config.network.pod_cidrs)]
        zone = Zone(config.services.dns.domain.rstrip(".").lower(), InformerCluster(self._services, self._slices), networks)
        self._resolver = Resolver(zone, Forwarder(upstreams))
        self._server = Server(self._resolver)
        self._pages: asyncio.Server | None = None
        self.port = 0
        """Where it listens; 0 before it does."""
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Serve until cancelled. Raises OSError when no port can be had."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._services.run())
                group.create_task(self._slices.run())
                await self._services.synced(timeout=3600)
                await self._slices.synced(timeout=3600)
                # Only now: an answer from empty caches would be a false NXDOMAIN.
                port = self.port = await self._server.listen(self._context.addresses, open_socket=self._open_socket)
                log.info("serving", addresses=",".join(self._context.addresses), port=port)
                for informer in (self._services, self._slices):
                    informer.on_change(self._changed)
                await self._tell()
                await self._publish_for_ever(port)
        finally:
            if self._pages is not None:
                self._pages.close()
            await self._server.close()

    async def _tell(self) -> None:
        """Serve metrics at the node's first address; DNS goes on without them."""
        address = self._context.addresses[0]
        sock = self._open_socket(AF_INET6 if ":" in address else AF_INET, SOCK_STREAM)
        try:
            sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
            sock.bind((address, METRICS_PORT))
            self._pages = await listen({"/metrics": lambda: (200, PLAIN, self._metrics())}, sock=sock)
        except OSError as error:
            sock.close()
            log.warning("metrics not served", port=METRICS_PORT, error=str(error))

    def _metrics(self) -> bytes:
        problem = self._services.problem or self._slices.problem
        counts = self._resolver.counts
        figures = {
            "coredns_dns_requests_total": counts["requests"],
            "coredns_cache_hits_total": counts["hits"],
            "coredns_forward_requests_total": counts["forwarded"],
            "moorings_dns_forward_failures_total": counts["failed"],
            "moorings_dns_api_reachable": int(not problem),
            "moorings_dns_services": len(self._services.items),
        }
        return "".join(f"# TYPE {n} {'counter' if n.endswith('_total') else 'gauge'}\n{n} {v}\n" for n, v in figures.items()).encode()

    def _changed(self, old: Object | None, new: Object | None) -> None:
        self._resolver.changed()
        metadata = (new or old or {})["metadata"]
        if metadata.get("namespace") == NAMESPACE and metadata["name"] in (NAME, self._slice_name):
            self._woken.set()

    @property
    def _slice_name(self) -> str:
        return f"{NAME}-{self._context.name}"

    async def _publish_for_ever(self, port: int) -> None:
        while True:
            wait = CHECK_EVERY
            self._woken.clear()
            try:
                await self._ensure_service()
                await self._ensure_slice(port)
            except (ApiError, OSError) as error:
                log.warning("not published yet", error=str(error), retry=RETRY)
                wait = RETRY
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._woken.wait()

    async def _ensure_service(self) -> None:
        if self._services.get(NAME, NAMESPACE) is None:
            with contextlib.suppress(AlreadyExists):
                await self._context.client.create(SERVICES, service(self._context.config.services.cidrs[0]))

    async def _ensure_slice(self, port: int) -> None:
        node = await self._context.client.get(NODES, self._context.name)
        wanted = endpoint_slice(self._slice_name, node, self._context.addresses, port)
        have = self._slices.get(self._slice_name, NAMESPACE)
        if have is None:
            with contextlib.suppress(AlreadyExists):
                await self._context.client.create(ENDPOINT_SLICES, wanted)
        elif any(have.get(part) != wanted[part] for part in ("endpoints", "ports", "addressType")) or _foreign(have, wanted):
            # addressType can't be changed, and a slice of an earlier Node of this name is about to be collected.
            if have.get("addressType") != wanted["addressType"] or _foreign(have, wanted):
                with contextlib.suppress(NotFound):
                    await self._context.client.delete(ENDPOINT_SLICES, self._slice_name, NAMESPACE)
                await self._context.client.create(ENDPOINT_SLICES, wanted)
            else:
                wanted["metadata"]["resourceVersion"] = have["metadata"]["resourceVersion"]
                await self._context.client.update(ENDPOINT_SLICES, wanted)


def cluster_dns_address(cidr: str) -> str:
    """Return the address that pods ask: the 10th of the service range, as everywhere in the field."""
    return str(ipaddress.ip_network(cidr, strict=False)[10])


def service(cidr: str) -> Object:
    """Return the Service that pods ask."""
    ports = [{"name": name, "port": 53, "protocol": protocol, "targetPort": 53} for name, protocol in PORTS]
    labels = {"k8s-app": NAME, "kubernetes.io/name": "CoreDNS", "kubernetes.io/cluster-service": "true"}
    address = cluster_dns_address(cidr)
    spec = {"type": "ClusterIP", "clusterIP": address, "clusterIPs": [address], "internalTrafficPolicy": "Local", "ports": ports}
    metadata = {"name": NAME, "namespace": NAMESPACE, "labels": labels}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def endpoint_slice(name: str, node: Object, addresses: Sequence[str], port: int) -> Object:
    """Return this node's slice: one endpoint, the node's first address."""
    address, node_name = addresses[0], node["metadata"]["name"]
    owner = {"apiVersion": "v1", "kind": "Node", "name": node_name, "uid": node["metadata"]["uid"]}
    metadata = {
        "name": name,
        "namespace": NAMESPACE,
        "labels": {SERVICE_NAME: NAME, "endpointslice.kubernetes.io/managed-by": "dns.moorings"},
        "ownerReferences": [owner],
    }
    conditions = {"ready": True, "serving": True, "terminating": False}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": "IPv6" if ":" in address else "IPv4",
        "endpoints": [{"addresses": [address], "conditions": conditions, "nodeName": node_name}],
        "ports": [{"name": name, "port": port, "protocol": protocol} for name, protocol in PORTS],
    }


def _foreign(have: Object, wanted: Object) -> bool:
    owners = {o.get("uid") for o in have["metadata"].get("ownerReferences") or ()}
    return wanted["metadata"]["ownerReferences"][0]["uid"] not in owners


def _cluster_ips(obj: Object) -> list[str]:
    spec = obj["spec"]
    return list(spec.get("clusterIPs") or [ip for ip in [spec.get("clusterIP")] if ip])


def _service_of(piece: Object) -> list[str]:
    metadata = piece["metadata"]
    name = (metadata.get("labels") or {}).get(SERVICE_NAME)
    return [f"{metadata['namespace']}/{name}"] if name else []


def component(context: NodeContext, parameters: Mapping[str, Any]) -> NodeComponent:
    """Return the DNS server of this node: the entry point `builtin` of moorings.dns.

    Parameters: `resolvConf`, the file that names upstream servers when the cluster file doesn't (default /etc/resolv.conf).
    """
    config = context.config.services
    own = [*context.addresses, cluster_dns_address(config.cidrs[0])]
    if config.dns.upstreams:
        fixed = parse_upstreams(config.dns.upstreams, own)
        return DnsComponent(context, lambda: fixed)
    return DnsComponent(context, ResolvConf(Path(parameters.get("resolvConf", "/etc/resolv.conf")), own))
