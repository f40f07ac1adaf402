"""Group versions that another API server serves: APIServices, whether they are available, and the way there.

Every group version that this server serves itself has an APIService too, kept here. Source: kube-aggregator pkg/apiserver,
pkg/controllers/status, autoregister.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import orjson

from moorings_core.api.cache import Cache, Change, copied
from moorings_core.api.codec import now
from moorings_core.api.context import Context, User
from moorings_core.api.http.message import Request, Response
from moorings_core.api.nodes import Endpoint, NodeRelay
from moorings_core.api.writes import Writer
from moorings_core.client.transport import Connection, ConnectionBroken
from moorings_core.client.transport import Endpoint as Place
from moorings_core.log import get_logger
from moorings_core.ports.errors import AlreadyExists, ApiError, NotFound, ServiceUnavailable
from moorings_core.ports.objects import Key, Object
from moorings_core.registry.kinds import Kind, Registry
from moorings_core.registry.merged import Part, part_of

from .dialer import Dialer, trusting
from .proxy_identity import ProxyIdentity

log = get_logger(__name__)
GROUP, PLURAL = "apiregistration.k8s.io", "apiservices"
MANAGED = "kube-aggregator.kubernetes.io/automanaged"
CHECK_SECONDS, CHECK_TIMEOUT, SCHEMA_SECONDS = 10.0, 5.0, 60.0
Version = tuple[str, str]


class Aggregator:
    """Follows the APIServices of one cache. forget: called when discovery has changed."""

    def __init__(
        self, cache: Cache, registry: Registry, writer: Writer, dialer: Dialer, identity: ProxyIdentity, forget: Callable[[], None]
    ) -> None:
        self._cache, self._registry, self._writer, self._dialer, self._forget = cache, registry, writer, dialer, forget
        self._identity = identity
        self._remote: dict[Version, Object] = {}
        self._schemas: dict[Version, tuple[float, str]] = {}
        self._contexts: dict[tuple[str, bool], ssl.SSLContext] = {}
        self._wake = asyncio.Event()

    def start(self) -> None:
        """Follow what is there; call once the cache is loaded."""
        self._cache.collection(GROUP, PLURAL).listeners[self._observe] = None
        for stored in self._cache.collection(GROUP, PLURAL).select():
            self._take_in(stored.object)

    def remote(self, path: str) -> Object | None:
        """Return the APIService that a path belongs to, or None where this server answers itself."""
        if not self._remote:
            return None
        path = path.removeprefix("/openapi/v3")
        if not path.startswith("/apis/"):
            return None
        parts = path.split("/", 4)
        return self._remote.get((parts[2], parts[3])) if len(parts) > 3 else None

    async def relay(self, service: Object, relay: NodeRelay, user: User, request: Request) -> Response:
        """Pass a request on, with its user. Raises ServiceUnavailable."""
        if not _is_available(service):
            raise ServiceUnavailable("service unavailable")
        place = self._place(service)
        headers = dict(remote_headers(user))
        request.headers = {k: v for k, v in request.headers.items() if not k.startswith("x-remote-")}
        endpoint = Endpoint(place.host, place.port, place.tls() if place.tls else None, place.server_name, place.dial)
        return await relay.relay(endpoint, request.target, request, headers)

    async def document(self, service: Object, path: str) -> Any:
        """Return a JSON document of an aggregated server. Raises ApiError."""
        status, body = await self._get(service, path)
        if status != 200:
            raise ServiceUnavailable(f"the aggregated server answered {status}")
        return orjson.loads(body)

    async def run(self) -> None:
        """Keep the APIServices of our own group versions, and know which of the others answer."""
        while True:
            try:
                await self._register()
                for service in list(self._remote.values()):
                    await self._judge(service)
            except ApiError as error:
                log.warning("aggregation not settled", error=str(error))
            self._wake.clear()
            try:
                async with asyncio.timeout(CHECK_SECONDS if self._remote else 60.0):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def wake(self) -> None:
        """Look again soon: what this server serves has changed."""
        self._wake.set()

    def _observe(self, change: Change) -> None:
        if change.new is not None:
            self._take_in(change.new.object)
            old = change.old.object if change.old is not None else {}
            if old.get("spec") != change.new.object["spec"]:
                self._wake.set()
        elif change.old is not None:
            spec = change.old.object["spec"]
            self._remote.pop((spec.get("group", ""), spec["version"]), None)
            self._drop((spec.get("group", ""), spec["version"]))
            self._forget()
            self._wake.set()

    def _take_in(self, service: Object) -> None:
        spec = service.get("spec") or {}
        version = (spec.get("group", ""), spec.get("version", ""))
        if spec.get("service"):
            self._remote[version] = service
        elif version in self._remote:
            del self._remote[version]
            self._drop(version)
            self._forget()

    def _drop(self, version: Version) -> None:
        """Forget what another server said of a group version."""
        self._registry.remote.pop(version, None)
        self._registry.remote_schemas.pop(version, None)
        self._schemas.pop(version, None)

    async def _register(self) -> None:
        """Make an APIService for each group version of ours, and take away those of kinds that went."""
        wanted = {f"{version}.{group}": (group, version) for group, version in self._own()}
        found = {s.object["metadata"]["name"]: s.object for s in self._cache.collection(GROUP, PLURAL).select()}
        kind = self._registry.lookup(GROUP, "v1", PLURAL)
        assert kind is not None
        await asyncio.gather(*(self._announce(kind, name, wanted[name]) for name in wanted if name not in found))
        for name, obj in found.items():
            if (obj["metadata"].get("labels") or {}).get(MANAGED) == "true" and name not in wanted:
                try:
                    await self._writer.delete(kind, Key("", name), Context())
                except NotFound:
                    continue

    async def _announce(self, kind: Kind, name: str, version: Version) -> None:
        try:
            await self._writer.create(kind, "", _own_service(*version, self._is_custom(version[0])), Context())
        except AlreadyExists:
            return
        await self._say(name, (True, "Local", "Local APIServices are always available"))

    def _own(self) -> Iterator[Version]:
        yield "", "v1"
        for group, versions in self._registry.groups:
            for version in versions:
                if (group, version) not in self._remote and self._registry.of(group, version):
                    yield group, version

    def _is_custom(self, group: str) -> bool:
        return all(k.custom is not None for k in self._registry.kinds() if k.resource.group == group)

    async def _judge(self, service: Object) -> None:
        verdict = await self._verdict(service)
        spec = service["spec"]
        version = (spec.get("group", ""), spec["version"])
        if verdict[0]:
            try:
                found = await self._resources(service)
            except (ApiError, KeyError, TypeError, ValueError) as error:
                log.warning("discovery of an aggregated server failed", service=service["metadata"]["name"], error=str(error))
                found = []
        else:
            found = []
        if self._registry.remote.get(version) != found:
            self._registry.remote[version] = found
            self._forget()
        await self._say(service["metadata"]["name"], verdict)
        if verdict[0]:
            await self._learn(service, version)

    async def _learn(self, service: Object, version: Version) -> None:
        """Take in what the server says of its kinds, if it is something else now; it is asked once a minute."""
        since, etag = self._schemas.get(version, (-SCHEMA_SECONDS, ""))
        if time.monotonic() - since < SCHEMA_SECONDS:
            return
        try:
            status, body, headers = await self._ask(service, "/openapi/v2", {"If-None-Match": etag} if etag else {})
            part = await asyncio.to_thread(_part, body, version) if status == 200 else None
        except (ApiError, ValueError) as error:
            log.warning("schemas of an aggregated server not read", service=service["metadata"]["name"], error=str(error))
            return
        self._schemas[version] = (time.monotonic(), headers.get("etag", "") if status == 200 else etag)
        if part is not None and part != self._registry.remote_schemas.get(version):
            self._registry.remote_schemas[version] = part
            self._forget()

    async def _verdict(self, service: Object) -> tuple[bool, str, str]:
        """Return (whether it is available, reason, words)."""
        reference = service["spec"]["service"]
        namespace, name, port = reference["namespace"], reference["name"], reference.get("port", 443)
        found = self._cache.collection("", "services").get(Key(namespace, name))
        if found is None:
            return False, "ServiceNotFound", f'service/{name} in "{namespace}" is not present'
        if found.object["spec"].get("type") != "ExternalName" and not any(
            p["port"] == port for p in found.object["spec"].get("ports") or ()
        ):
            return False, "ServicePortError", f'service/{name} in "{namespace}" is not listening on port {port}'
        try:
            self._dialer.service(namespace, name, port)
        except ServiceUnavailable as error:
            words = f'endpointslices for service/{name} in "{namespace}" have no addresses with port name "": {error}'
            return False, "MissingEndpoints", words
        spec = service["spec"]
        path = f"/apis/{spec.get('group', '')}/{spec['version']}"
        try:
            status, _ = await self._get(service, path)
        except ApiError as error:
            return False, "FailedDiscoveryCheck", f"failing or missing response from https://{name}.{namespace}.svc:{port}{path}: {error}"
        if not 200 <= status < 300:
            text = f"failing or missing response from https://{name}.{namespace}.svc:{port}{path}: bad status from {path}: {status}"
            return False, "FailedDiscoveryCheck", text
        return True, "Passed", "all checks passed"

    async def _resources(self, service: Object) -> list[Object]:
        """Return the resources of a group version as aggregated discovery lists them."""
        spec = service["spec"]
        path = f"/apis/{spec['group']}/{spec['version']}"
        listed = await self.document(service, path)
        return from_legacy(listed.get("resources") or ())

    async def _get(self, service: Object, path: str) -> tuple[int, bytes]:
        status, body, _ = await self._ask(service, path, {})
        return status, body

    async def _ask(self, service: Object, path: str, more: Mapping[str, str]) -> tuple[int, bytes, Mapping[str, str]]:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                connection = await Connection.open(self._place(service))
                try:
                    place = self._place(service)
                    headers = {"Host": f"{place.server_name}:{place.port}", "Accept": "application/json", **more}
                    headers |= dict(remote_headers(User("system:kube-aggregator", ("system:masters",))))
                    response = await connection.exchange("GET", path, headers, b"")
                    return response.status, await response.read(), response.headers
                finally:
                    connection.close()
        except (OSError, ConnectionBroken, ValueError) as error:
            raise ServiceUnavailable(str(error) or type(error).__name__) from error

    def _place(self, service: Object) -> Place:
        spec = service["spec"]
        reference = spec["service"]
        address = self._dialer.service(reference["namespace"], reference["name"], reference.get("port", 443))
        context = self._context(spec.get("caBundle", ""), bool(spec.get("insecureSkipTLSVerify")))
        return Place(address.host, address.port, lambda: context, address.server_name, address.dial)

    def _context(self, bundle: str, anyone: bool) -> ssl.SSLContext:
        found = self._contexts.get((bundle, anyone))
        if found is None:
            try:
                found = trusting(bundle, anyone=anyone)
            except ValueError as error:
                raise ServiceUnavailable(str(error)) from error
            self._identity.show_on(found)
            self._contexts[bundle, anyone] = found
        return found

    async def _say(self, name: str, verdict: tuple[bool, str, str]) -> None:
        """Write the condition Available where it differs."""
        holds, reason, words = verdict
        kind = self._registry.lookup(GROUP, "v1", PLURAL)
        assert kind is not None

        def change(old: Object) -> Object:
            new: Object = copied(old)
            all_told: list[Object] = (old.get("status") or {}).get("conditions") or []
            before: Object = next((c for c in all_told if c.get("type") == "Available"), {})
            condition = {"type": "Available", "status": "True" if holds else "False", "reason": reason, "message": words}
            moment = before["lastTransitionTime"] if before.get("status") == condition["status"] else now()
            others = [c for c in all_told if c is not before]
            new["status"] = {"conditions": [*others, {**condition, "lastTransitionTime": moment}]}
            return new

        try:
            await self._writer.mutate(kind, Key("", name), change, Context(), "status")
        except NotFound:
            return


def remote_headers(user: User) -> Iterator[tuple[str, str]]:
    """Yield the headers that tell an aggregated server who asks; a name that occurs twice is joined where it is sent."""
    yield "X-Remote-User", user.name
    if user.uid:
        yield "X-Remote-Uid", user.uid
    if user.groups:
        yield "X-Remote-Group", "\r\nX-Remote-Group: ".join(user.groups)
    for name, values in user.extra.items():
        header = f"X-Remote-Extra-{quote(name, safe='')}"
        yield header, f"\r\n{header}: ".join(values)


def from_legacy(resources: Any) -> list[Object]:
    """Return the resources of an APIResourceList in the form of aggregated discovery."""
    made: dict[str, Object] = {}
    for raw in resources:
        plural, _, subresource = raw["name"].partition("/")
        kind = {"group": raw.get("group", ""), "version": raw.get("version", ""), "kind": raw["kind"]}
        if subresource:
            entry = {"subresource": subresource, "responseKind": kind, "verbs": raw.get("verbs") or []}
            made.setdefault(plural, {"resource": plural}).setdefault("subresources", []).append(entry)
            continue
        made.setdefault(plural, {}).update(
            {
                "resource": plural,
                "responseKind": kind,
                "scope": "Namespaced" if raw.get("namespaced") else "Cluster",
                "singularResource": raw.get("singularName", ""),
                "verbs": raw.get("verbs") or [],
                **{field: raw[field] for field in ("shortNames", "categories") if raw.get(field)},
            }
        )
    return list(made.values())


def _part(body: bytes, version: Version) -> Part:
    return part_of(orjson.loads(body), *version)


def _is_available(service: Object) -> bool:
    conditions = (service.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Available" and c.get("status") == "True" for c in conditions)


_PRIORITIES: Mapping[str, int] = {"": 18000, "apps": 17800, "batch": 17400, "networking.k8s.io": 17200}


def _own_service(group: str, version: str, custom: bool) -> Object:
    least, priority = (1000, 100) if custom else (_PRIORITIES.get(group, 16700), 15 if group else 1)
    spec: Object = {"version": version, "groupPriorityMinimum": least, "versionPriority": priority}
    spec |= {"group": group} if group else {}
    metadata = {"name": f"{version}.{group}", "labels": {MANAGED: "true" if custom else "onstart"}}
    return {"apiVersion": f"{GROUP}/v1", "kind": "APIService", "metadata": metadata, "spec": spec}
