"""The way from the API to webhooks and aggregated API servers: a service or a URL becomes an address, and a question an answer.

`Dialer` is the seam: where the server has no route to the pods' network, another one reaches them through a node.
"""

from __future__ import annotations

import base64
import binascii
import ssl
from collections.abc import Mapping
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from moorings_core.api.cache import Cache
from moorings_core.client.transport import Connection, Dial, Endpoint
from moorings_core.ports.errors import ServiceUnavailable
from moorings_core.ports.objects import Key, Object

HTTPS = 443


class Address(NamedTuple):
    """Where something listens, the name that its certificate must have, and the way there if the machine's own routes are none."""

    host: str
    port: int
    server_name: str
    dial: Dial | None = None


class Ways(Protocol):
    """Knows ways to pods and endpoints that the machine's own routes do not lead to."""

    def to_pod(self, pod: Object, port: int) -> Dial | None:
        """Return the way to a pod's port, None for the machine's own routes."""

    def to_endpoint(self, endpoint: Object, port: int) -> Dial | None:
        """Return the way to an endpoint of a service, None for the machine's own routes."""


class Dialer(Protocol):
    """Finds what a service stands for."""

    def service(self, namespace: str, name: str, port: int) -> Address:
        """Return where a service can be reached. Raises ServiceUnavailable."""


class EndpointDialer:
    """Picks a ready endpoint of the service: no service table is needed on the server's machine, only a route to the pods."""

    def __init__(self, cache: Cache, ways: Ways | None = None) -> None:
        self._cache = cache
        self.ways = ways

    def service(self, namespace: str, name: str, port: int) -> Address:
        """Return the first ready endpoint. Raises ServiceUnavailable."""
        found = self._cache.collection("", "services").get(Key(namespace, name))
        if found is None:
            raise ServiceUnavailable(f'service "{name}" not found')
        spec, server_name = found.object["spec"], f"{name}.{namespace}.svc"
        if spec.get("type") == "ExternalName":
            return Address(spec["externalName"], port, server_name)
        wanted = next((p for p in spec.get("ports") or () if p["port"] == port), None)
        if wanted is None:
            raise ServiceUnavailable(f'no service port {port} found for service "{name}"')
        for slice_ in self._cache.collection("discovery.k8s.io", "endpointslices").select(namespace):
            found_ = _ready(slice_.object, name, wanted)
            if found_ is not None:
                endpoint, number = found_
                dial = self.ways.to_endpoint(endpoint, number) if self.ways else None
                return Address(endpoint["addresses"][0], number, server_name, dial)
        raise ServiceUnavailable(f'no endpoints available for service "{name}"')


def _ready(slice_: Object, service: str, port: Object) -> tuple[Object, int] | None:
    if (slice_["metadata"].get("labels") or {}).get("kubernetes.io/service-name") != service:
        return None
    number = next((p["port"] for p in slice_.get("ports") or () if (p.get("name") or "") == (port.get("name") or "")), None)
    for endpoint in slice_.get("endpoints") or ():
        if number and (endpoint.get("conditions") or {}).get("ready", True):
            return endpoint, number
    return None


def endpoint_of(client: Object, dialer: Dialer) -> tuple[Endpoint, str]:
    """Return (endpoint, path) of a clientConfig: a URL or a service. Raises ServiceUnavailable, ValueError for a bad CA."""
    context = trusting(client.get("caBundle", ""))
    if client.get("url"):
        parts = urlsplit(client["url"])
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return Endpoint(parts.hostname or "", parts.port or HTTPS, lambda: context), path
    service = client["service"]
    address = dialer.service(service["namespace"], service["name"], service.get("port", HTTPS))
    path = service.get("path") or "/"
    way = Endpoint(address.host, address.port, lambda: context, address.server_name, address.dial)
    return way, path if path.startswith("/") else f"/{path}"


def unchecked() -> ssl.SSLContext:
    """Return a context for servers whose certificates nobody knows: those that a user reaches through the API by proxy."""
    return trusting("", anyone=True)


def trusting(bundle: str, *, anyone: bool = False) -> ssl.SSLContext:
    """Return a context that trusts a base64 bundle of CAs, or with none the machine's. Raises ValueError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if anyone:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context
    if not bundle:
        context.load_default_certs()
        return context
    try:
        context.load_verify_locations(cadata=base64.b64decode(bundle).decode())
    except (binascii.Error, UnicodeDecodeError, ssl.SSLError) as error:
        raise ValueError(f"the CA bundle is not PEM: {error}") from error
    return context


async def post(endpoint: Endpoint, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """Send a JSON document and return (status, answer). Raises OSError, TimeoutError, ConnectionBroken."""
    connection = await Connection.open(endpoint)
    try:
        named = endpoint.server_name or endpoint.host
        given = {"Host": f"{named}:{endpoint.port}", "Content-Type": "application/json", "Accept": "application/json", **(headers or {})}
        response = await connection.exchange("POST", path, given, body)
        return response.status, await response.read()
    finally:
        connection.close()
