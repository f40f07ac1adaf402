"""The API client over HTTPS: `ports.client.Client` for agents, for controllers in their own process, for drop-in backends.

Light on purpose (no HTTP library): an agent's memory is budgeted. Every failure is an ApiError: a refused or broken connection
is ServiceUnavailable, a wait over `timeout` ServerTimeout. A write is never repeated: only its author knows whether it may be.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlencode, urlsplit

import orjson

from moorings_core.ports.client import (
    ClientOptions,
    Create,
    Delete,
    ObjectList,
    Patch,
    PatchType,
    Propagation,
    Update,
    WatchEvent,
    Write,
)
from moorings_core.ports.errors import ApiError, ServerTimeout, ServiceUnavailable
from moorings_core.ports.objects import Object, Resource

from . import kubeconfig
from .kubeconfig import Credentials
from .transport import Endpoint, Pool, Response, Upgraded

PATCH_TYPES: Mapping[PatchType, str] = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
REASONS = {
    400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 405: "MethodNotAllowed", 406: "NotAcceptable",
    409: "Conflict", 410: "Gone", 413: "RequestEntityTooLarge", 415: "UnsupportedMediaType", 422: "Invalid",
    429: "TooManyRequests", 503: "ServiceUnavailable", 504: "Timeout",
}  # fmt: skip
WATCH_SECONDS = (1800, 3600)  # as client-go asks for, spread so that a fleet does not come back at once


class RawResponse(NamedTuple):
    """An answer as it came: any status, body undecoded."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient:
    """A `ports.client.Client` on one API server. `timeout` bounds each request but watches and streams, in seconds."""

    def __init__(
        self, credentials: Credentials, *, options: ClientOptions | None = None, timeout: float = 30, connections: int = 16
    ) -> None:
        self.credentials, self._timeout = credentials, timeout
        self._options = options or ClientOptions()
        url = urlsplit(credentials.server)
        secure = url.scheme != "http"
        self._host, self._prefix = url.netloc, url.path.rstrip("/")
        port = url.port or (443 if secure else 80)
        endpoint = Endpoint(url.hostname or "", port, self._tls if secure else None, credentials.server_name)
        self._pool = Pool(endpoint, connections)
        self._context: ssl.SSLContext | None = None
        self._context_stamp: object = None
        self._token, self._token_stamp = credentials.token, (0, 0)

    @classmethod
    def from_kubeconfig(cls, path: str | Path, context: str = "", *, user_agent: str = "moorings", timeout: float = 30) -> HttpClient:
        """Return a client for a kubeconfig's context. Raises kubeconfig.KubeconfigError."""
        return cls(kubeconfig.load(path, context), options=ClientOptions(user_agent), timeout=timeout)

    async def get(self, resource: Resource, name: str, namespace: str = "", *, subresource: str = "") -> Object:
        """Return one object. Raises NotFound."""
        return await self._call("GET", resource.path(namespace, quote(name), subresource))

    async def list(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        limit: int = 0,
        continue_: str = "",
    ) -> ObjectList:
        """Return one page of a collection; items carry their kind as if read one by one."""
        query = {"labelSelector": labels, "fieldSelector": fields, "limit": str(limit or ""), "continue": continue_}
        page = await self._call("GET", resource.path(namespace), query)
        items = page.get("items") or []
        for item in items:
            item.setdefault("apiVersion", resource.api_version)
            item.setdefault("kind", resource.kind)
        metadata = page.get("metadata") or {}
        return ObjectList(items, str(metadata.get("resourceVersion", "")), str(metadata.get("continue") or ""))

    async def watch(
        self, resource: Resource, namespace: str = "", *, since: str, labels: str = "", fields: str = ""
    ) -> AsyncIterator[WatchEvent]:
        """Yield changes after `since` until the server ends the stream. Raises Expired, Gone, ServiceUnavailable."""
        seconds = random.randint(*WATCH_SECONDS)
        query = {"watch": "true", "resourceVersion": since, "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        query |= {"labelSelector": labels, "fieldSelector": fields}
        path = resource.path(namespace)
        async with self.stream("GET", path, query) as response:
            with _as_api_errors("GET", path):
                async for line in _lines(response):
                    event = orjson.loads(line)
                    if event["type"] == "ERROR":
                        raise ApiError.from_status(event["object"])
                    yield WatchEvent(event["type"], event["object"])

    async def create(self, resource: Resource, obj: Object, *, subresource: str = "", name: str = "") -> Object:
        """Create and return an object. Raises AlreadyExists, Invalid, Forbidden."""
        namespace = obj.get("metadata", {}).get("namespace", "")
        return await self._call("POST", resource.path(namespace, quote(name), subresource), body=obj)

    async def update(self, resource: Resource, obj: Object, *, subresource: str = "") -> Object:
        """Replace and return an object. Raises NotFound, Conflict, Invalid."""
        metadata = obj["metadata"]
        path = resource.path(metadata.get("namespace", ""), quote(metadata["name"]), subresource)
        return await self._call("PUT", path, body=obj)

    async def patch(
        self,
        resource: Resource,
        name: str,
        namespace: str,
        patch: Object | Sequence[Object],
        *,
        type: PatchType = "merge",
        subresource: str = "",
    ) -> Object:
        """Change part of an object and return the whole. Server-side apply goes under our user agent's name, forced."""
        manager = self._options.user_agent.split("/")[0]
        query = {"fieldManager": manager, "force": "true"} if type == "apply" else {}
        path = resource.path(namespace, quote(name), subresource)
        return await self._call("PATCH", path, query, patch, PATCH_TYPES[type])

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        grace: int | None = None,
        propagation: Propagation = "",
        version: str = "",
    ) -> None:
        """Delete an object. Raises NotFound, and Conflict when uid or version is not the stored one's."""
        options: Object = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if uid or version:
            given = {"uid": uid, "resourceVersion": version}
            options["preconditions"] = {field: value for field, value in given.items() if value}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        if propagation:
            options["propagationPolicy"] = propagation
        await self._call("DELETE", resource.path(namespace, quote(name)), body=options)

    async def commit(self, writes: Sequence[Write]) -> Sequence[Object | ApiError]:
        """Do independent writes side by side, as many at once as there are pooled connections."""
        return await asyncio.gather(*(self._write(write) for write in writes))

    async def close(self) -> None:
        """Close every connection; watches and streams end with ServiceUnavailable."""
        await self._pool.close()

    async def raw(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> RawResponse:
        """Send any request and return the answer whatever its status. Raises ServiceUnavailable, ServerTimeout."""
        target, sent = self._target(path, query), self._headers(headers)
        with _as_api_errors(method, path):
            async with asyncio.timeout(self._timeout), self._pool.slots:
                response = await self._pool.send(method, target, sent, body)
                try:
                    return RawResponse(response.status, response.headers, await response.read())
                finally:
                    self._pool.give(response)

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, query: Mapping[str, str] | None = None, *, headers: Mapping[str, str] | None = None
    ) -> AsyncGenerator[Response]:
        """Open a response whose body may never end (watch, followed log). Raises ApiError if it is not a success.

        Reading its chunks raises transport.ConnectionBroken when the connection ends before the body.
        """
        with _as_api_errors(method, path):
            async with asyncio.timeout(self._timeout):
                response = await self._pool.send(method, self._target(path, query), self._headers(headers), b"")
        try:
            if response.status >= 300:
                async with asyncio.timeout(self._timeout):
                    raise _error(response.status, await response.read())
            yield response
        finally:
            self._pool.give(response)

    async def upgrade(
        self, path: str, headers: Mapping[str, str], *, method: str = "POST", query: Mapping[str, str] | None = None
    ) -> Upgraded:
        """Switch a connection of its own to the protocol that `headers` ask for (Upgrade, Connection and the like).

        Raises ApiError with the server's answer if it is not 101. The caller owns and closes the writer.
        """
        with _as_api_errors(method, path):
            async with asyncio.timeout(self._timeout):
                connection = await self._pool.take(fresh=True)
                try:
                    response = await connection.exchange(method, self._target(path, query), self._headers(headers), b"")
                    if response.status != 101:
                        raise _error(response.status, await response.read())
                except BaseException:
                    self._pool.drop(connection)
                    raise
        self._pool.release(connection)
        return Upgraded(connection.reader, connection.writer, response.headers)

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | Sequence[Object] | None = None,
        media: str = "application/json",
    ) -> Object:
        headers = {"Content-Type": media} if body is not None else {}
        answer = await self.raw(method, path, query, headers=headers, body=b"" if body is None else orjson.dumps(body))
        if answer.status >= 300:
            raise _error(answer.status, answer.body)
        try:
            decoded: Object = orjson.loads(answer.body)
        except orjson.JSONDecodeError as error:
            raise ServiceUnavailable(f"{method} {path}: not JSON: {error}") from error
        return decoded

    async def _write(self, write: Write) -> Object | ApiError:
        try:
            match write:
                case Create():
                    return await self.create(write.resource, write.object, subresource=write.subresource, name=write.name)
                case Update():
                    return await self.update(write.resource, write.object, subresource=write.subresource)
                case Patch(resource, namespace, name, patch):
                    return await self.patch(resource, name, namespace, patch, type=write.type, subresource=write.subresource)
                case Delete(resource, namespace, name, uid, grace, propagation, version):
                    await self.delete(resource, name, namespace, uid=uid, grace=grace, propagation=propagation, version=version)
                    return {}
        except ApiError as error:
            return error

    def _target(self, path: str, query: Mapping[str, str] | None) -> str:
        """A path may carry its own query (as a verbatim proxy has it)."""
        pairs = urlencode({name: value for name, value in (query or {}).items() if value})
        return f"{self._prefix}{path}{'?' + pairs if pairs else ''}"

    def _headers(self, extra: Mapping[str, str] | None) -> dict[str, str]:
        headers = {"Host": self._host, "User-Agent": self._options.user_agent, "Accept": "application/json"}
        headers |= self._options.headers
        if token := self._bearer():
            headers["Authorization"] = f"Bearer {token}"
        return headers | dict(extra or {})

    def _bearer(self) -> str:
        """The token of a file is rotated under us: read again whenever the file is another one."""
        path = self.credentials.token_file
        if path:
            try:
                found = Path(path).stat()
                stamp = (found.st_mtime_ns, found.st_ino)
                if stamp != self._token_stamp:
                    self._token, self._token_stamp = Path(path).read_text().strip(), stamp
            except OSError as error:
                if not self._token:
                    raise ServiceUnavailable(f"token file: {error}") from error
        return self._token

    def _tls(self) -> ssl.SSLContext:
        parts = (self.credentials.ca, self.credentials.certificate, self.credentials.key)
        stamp = [part.stamp() for part in parts]
        if self._context is None or stamp != self._context_stamp:
            self._context, self._context_stamp = kubeconfig.tls_context(self.credentials), stamp
        return self._context


async def _lines(response: Response) -> AsyncIterator[bytes]:
    """Yield the body's lines; one that the end of the stream cuts short is dropped, as its writer did not finish it."""
    rest: list[bytes] = []
    async for chunk in response.chunks():
        first, *others = chunk.split(b"\n")
        rest.append(first)
        for line in others:
            if whole := b"".join(rest).strip():
                yield whole
            rest = [line]


class _as_api_errors:
    """Turn what the transport raises into ApiErrors that name the request."""

    def __init__(self, method: str, path: str) -> None:
        self._what = f"{method} {path}"

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, TimeoutError):
            raise ServerTimeout(f"{self._what}: no answer in time") from error
        if isinstance(error, OSError):
            raise ServiceUnavailable(f"{self._what}: {error or type(error).__name__}") from error


def _error(status: int, body: bytes) -> ApiError:
    try:
        decoded = orjson.loads(body)
        if isinstance(decoded, dict) and decoded.get("kind") == "Status":
            return ApiError.from_status({"code": status, **decoded})
    except orjson.JSONDecodeError:
        pass
    text = body[:200].decode("utf-8", "replace")
    return ApiError.from_status({"reason": REASONS.get(status, "Unknown"), "code": status, "message": text or f"HTTP {status}"})
