"""Asking a webhook over HTTPS. Connections are kept, and every wait is bounded by the webhook's own timeout."""

from __future__ import annotations

import asyncio
import base64
import binascii
import functools
import ssl
from collections import defaultdict
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson

from moorings_core.api.extension.dialer import Dialer
from moorings_core.client.transport import IDLE_MOST, Connection, ConnectionBroken, Endpoint, Response
from moorings_core.ports.errors import ServiceUnavailable
from moorings_core.ports.objects import Key, Object

from .review import CallFailed

KEPT = 8
MOST_BYTES = 8 << 20
HEADERS = {"Content-Type": "application/json", "Accept": "application/json, */*", "User-Agent": "kube-apiserver-admission"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a webhook listens: a host, or a Service."""

    host: str
    port: int
    path: str
    service: Key | None = None

    @property
    def url(self) -> str:
        """As errors name it."""
        shown = self.host if self.port == 443 and self.service is None else f"{self.host}:{self.port}"
        return f"https://{shown}{self.path}"


class Caller:
    """Sends AdmissionReviews and keeps connections."""

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        self._idle: dict[tuple[Place, str], list[Connection]] = defaultdict(list)

    async def call(self, client: Object, review: Object, timeout: float) -> bytes:
        """Return the body of the answer. Raises CallFailed."""
        place, bundle = place_of(client), client.get("caBundle") or ""
        target = f"{place.path}?timeout={timeout:g}s"
        url = f"{place.url}?timeout={timeout:g}s"
        try:
            async with asyncio.timeout(timeout):
                return await self._exchange(place, bundle, target, orjson.dumps(review))
        except TimeoutError as error:
            raise CallFailed(f'failed to call webhook: Post "{url}": context deadline exceeded') from error
        except ssl.SSLCertVerificationError as error:
            why = f"tls: failed to verify certificate: x509: {error.verify_message}"
            raise CallFailed(f'failed to call webhook: Post "{url}": {why}') from error
        except (OSError, ValueError) as error:
            raise CallFailed(f'failed to call webhook: Post "{url}": {_words(error, place)}') from error

    async def _exchange(self, place: Place, bundle: str, target: str, body: bytes) -> bytes:
        connection = self._kept(place, bundle)
        if connection is not None:
            try:
                return await self._post(connection, place, bundle, target, body)
            except ConnectionBroken as error:
                if not error.fresh:  # it had begun to answer
                    raise
        return await self._post(await self._open(place, _trust(bundle)), place, bundle, target, body)

    async def _open(self, place: Place, tls: ssl.SSLContext) -> Connection:
        if place.service is None:
            return await Connection.open(Endpoint(place.host, place.port, lambda: tls))
        try:
            found = self._dialer.service(place.service.namespace, place.service.name, place.port)
        except ServiceUnavailable as error:
            raise CallFailed(f'failed to call webhook: Post "{place.url}": {error}') from error
        return await Connection.open(Endpoint(found.host, found.port, lambda: tls, found.server_name, found.dial))

    async def _post(self, connection: Connection, place: Place, bundle: str, target: str, body: bytes) -> bytes:
        headers = {"Host": f"{place.host}:{place.port}", **HEADERS}
        try:
            response = await connection.exchange("POST", target, headers, body)
            answer = await _read(response)
        except BaseException:
            connection.close()
            raise
        self._keep(place, bundle, response)
        if response.status != 200:
            raise CallFailed(f"failed to call webhook: {_complaint(response.status, answer)}")
        return answer

    def _kept(self, place: Place, bundle: str) -> Connection | None:
        idle, now = self._idle[place, bundle], asyncio.get_running_loop().time()
        while idle:
            connection = idle.pop()
            if connection.alive and now - connection.idle_since < IDLE_MOST:
                return connection
            connection.close()
        return None

    def _keep(self, place: Place, bundle: str, response: Response) -> None:
        idle, connection = self._idle[place, bundle], response.connection
        if not response.reusable or len(idle) >= KEPT:
            connection.close()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        idle.append(connection)


def place_of(client: Object) -> Place:
    """Return where a clientConfig points to. Raises CallFailed."""
    service = client.get("service")
    if service:
        host = f"{service['name']}.{service['namespace']}.svc"
        return Place(host, service.get("port") or 443, service.get("path") or "/", Key(service["namespace"], service["name"]))
    if not client.get("url"):
        raise CallFailed("could not get REST client: webhook configuration must have either service or URL")
    parts = urlsplit(client["url"])
    return Place(parts.hostname or "", parts.port or 443, parts.path or "/")


@functools.lru_cache(maxsize=64)
def _trust(bundle: str) -> ssl.SSLContext:
    """Return what a certificate is checked against: the bundle of the configuration, or what the machine trusts."""
    if not bundle:
        return ssl.create_default_context()
    try:
        context = ssl.create_default_context(cadata=base64.b64decode(bundle).decode())
    except (binascii.Error, ssl.SSLError, UnicodeDecodeError) as error:
        raise CallFailed("could not get REST client: unable to load root certificates: unable to parse bytes as PEM block") from error
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a bundle may be the very certificate that the webhook shows
    return context


async def _read(response: Response) -> bytes:
    pieces, size = [], 0
    async for chunk in response.chunks():
        size += len(chunk)
        if size > MOST_BYTES:
            raise CallFailed(f"failed to call webhook: the answer has more than {MOST_BYTES} bytes")
        pieces.append(chunk)
    return b"".join(pieces)


def _words(error: Exception, place: Place) -> str:
    if isinstance(error, ConnectionBroken):
        return f"EOF ({error})" if error.fresh else str(error)
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
        why = (error.strerror or str(error)).lower() if error.errno else str(error)
        return f"dial tcp {place.host}:{place.port}: connect: {'connection refused' if 'refused' in str(error).lower() else why}"
    return str(error)


def _complaint(status: int, body: bytes) -> str:
    if status == 404:
        return "the server could not find the requested resource"
    text = body[:2048].decode(errors="replace").strip()
    if status >= 500:
        return f'an error on the server ("{text}") has prevented the request from succeeding'
    return f"the server rejected our request for an unknown reason: {status} {text}"
