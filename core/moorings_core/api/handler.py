"""From a request to an answer: authenticate, find what is meant, authorize, do it, encode it; errors become Status objects."""

from __future__ import annotations

import asyncio
import random
import re
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, aclosing
from dataclasses import replace

import orjson

from moorings_core.ports.errors import (
    ApiError,
    BadRequest,
    MethodNotAllowed,
    NotFound,
    ServiceUnavailable,
    Unauthorized,
    UnsupportedMediaType,
)
from moorings_core.ports.objects import Key, Object, Resource
from moorings_core.registry import strategy
from moorings_core.registry.custom import definition
from moorings_core.registry.custom.kind import CustomVersion
from moorings_core.registry.kinds import Kind
from moorings_core.registry.validation import to_invalid
from moorings_core.registry.validation.errors import invalid

from . import bodies, codec, managing, problems, proxying
from .access import attributes
from .access.attributes import Attributes
from .access.authorizer import Access
from .access.guards import Guards
from .access.impersonation import Impersonation
from .audit.log import AuditLog
from .audit.trail import Trail
from .authentication import Authenticator
from .codec import Accepted
from .connects import connect_options
from .context import Context, User, WriteOptions, delete_options
from .core import ApiCore
from .extension.aggregation import Aggregator
from .extension.definitions import Definitions
from .extension.dialer import unchecked
from .flowcontrol.control import NO_SEAT, FlowControl
from .http.message import Request, Response
from .listing import LIST_OPTIONS, list_errors, watch_errors
from .metrics import Metrics
from .nodes import Endpoint, NodeRelay, assigned_node, container_path, missing_node
from .paths import Target, find, parse, verb
from .reads import ListOptions
from .reviews import Reviews
from .statics import Statics, no_page
from .watches import Event, Watcher, WatchOptions
from .writes import apply_patch

WATCH_SECONDS = 1800
NUMBER = re.compile(r"-?\d+")
STREAMS = {"log": "containerLogs", "exec": "exec", "attach": "attach", "portforward": "portForward"}
NOBODY = User("")
UPGRADED = ("exec", "attach", "portforward")
JSON_HEADERS = {"Content-Type": "application/json"}
DEFINITIONS = (definition.GROUP, definition.PLURAL)
NOT_STORED = {"authentication.k8s.io", "authorization.k8s.io"}


class Handler:
    """The API as an HTTP handler."""

    def __init__(
        self,
        core: ApiCore,
        authenticator: Authenticator,
        access: Access,
        guards: Guards,
        audit: AuditLog | None,
        reviews: Reviews,
        relay: NodeRelay,
        statics: Statics,
        metrics: Metrics,
        definitions: Definitions,
        flows: FlowControl,
        aggregator: Aggregator,
    ) -> None:
        self._core, self._authenticator, self._access, self._guards = core, authenticator, access, guards
        self._audit, self._impersonation = audit, Impersonation(access)
        self._reviews, self._relay, self._statics, self._metrics = reviews, relay, statics, metrics
        self._definitions, self._flows, self._aggregator = definitions, flows, aggregator

    async def __call__(self, request: Request) -> Response:
        """Answer a request."""
        context, seat = Context(), NO_SEAT
        start = time.perf_counter()
        target = parse(request.path)
        action = verb(request.method, target, _flag(request, "watch")) if target else request.method.lower()
        trail: Trail | None = None
        try:
            context.user = await self._authenticator.user(request, context)
            asked = attributes.of_request(context.user, action, target, request)
            trail = self._audit.begin(request, asked, target) if self._audit is not None else None
            acting = self._impersonation.acting(asked, request)
            if acting is not None:
                context.user, asked = acting, replace(asked, user=acting)
            seat = await self._flows.enter(context.user, action, target, request.path, request.query)
            decision = self._access.decide(asked)
            if trail is not None:
                trail.acting, trail.decision = acting, decision
            if not decision.allowed:
                raise attributes.refusal(asked, decision.reason)
            if (service := self._aggregator.remote(request.path)) is not None:
                response = await self._aggregator.relay(service, self._relay, context.user, request)
            elif target is None:
                response = await self._statics.answer(request)
            else:
                if request.method not in ("GET", "HEAD"):
                    context.options, context.guard = _options(request), self._guards.of(context.user, target)
                elif target.subresource in UPGRADED:
                    self._check_upgrade(asked)
                response = await self._resource(request, target, action, context)
        except Unauthorized as error:
            response = _status(error)
            unknown = attributes.of_request(NOBODY, action, target, request)
            trail = self._audit.begin(request, unknown, target) if self._audit is not None else None
        except ApiError as error:
            response = _status(error)
        except Exception:
            if trail is not None:
                trail.failed()
            raise
        finally:
            seat.leave()
        response.headers.update(seat.headers)
        if trail is not None:
            trail.made, trail.annotations = context.made, context.annotations
            trail.answered(response)
        response.warnings = tuple(context.warnings)
        self._metrics.answered(start, action, target, response.status)
        return response

    def _check_upgrade(self, asked: Attributes) -> None:
        """Ask for the right to create, too, where a WebSocket's GET does what else is a POST. Raises Forbidden."""
        decision = self._access.decide(attributes.renamed(asked, "create"))
        if not decision.allowed:
            raise attributes.forbidden(asked.group, asked.plural, asked.name, decision.reason)

    async def _resource(self, request: Request, target: Target, action: str, context: Context) -> Response:
        kind = find(self._core.registry, target)
        if kind is None:
            if target.group and target.group not in dict(self._core.registry.groups):
                return no_page()
            raise problems.no_resource()
        if kind.custom is not None:
            _check_custom(request, kind.custom, action, context)
        if target.subresource:
            await self._core.cache.catch_up()
            return await self._subresource(request, kind, target, action, context)
        misplaced = action == "create" if target.name else action in ("update", "patch")
        if action not in kind.verbs or misplaced:
            raise problems.method_not_allowed()
        if not _relaxed(request, action):
            await self._core.cache.catch_up()
        if target.group in NOT_STORED:
            codec.accepted(request, whole=True)
            body = codec.decode(request, context, kind.resource.kind)
            self._core.writer.prepare_body(kind, body, context)
            managing.begin(kind, body, context)
            return _json(await self._reviews.review(target.plural, target.namespace, body, context.user), 201)
        return await self._object(request, kind, target, action, context)

    async def _object(self, request: Request, kind: Kind, target: Target, action: str, context: Context) -> Response:
        resource, key = kind.resource, _key(kind, target)
        match action:
            case "get":
                how = codec.accepted(request)
                stored = self._core.reader.get(resource, key)
                if self._core.converter.converts(resource):
                    (obj,) = await self._core.converter.present(resource, [stored.object])
                    return _encoded(request, resource, obj)
                body = stored.body if how.form == "object" else codec.one(resource, stored.object, how)
                return Response(200, body, dict(JSON_HEADERS))
            case "list":
                return await self._list(request, resource, target)
            case "watch":
                return await self._watch(request, resource, target)
            case "create":
                if kind.resource.plural == "bindings":
                    body_ = codec.decode(request, context, "Binding")
                    bodies.check_types_of(body_, "api.core.v1.Binding")
                    name = (body_.get("metadata") or {}).get("name", "")
                    if not isinstance(name, str):
                        raise BadRequest("metadata.name: must be a string")
                    return await self._bind(target.namespace, name, body_, context)
                made = await self._core.writer.create(kind, target.namespace, codec.decode(request, context, resource.kind), context)
                context.made = made["metadata"]["name"]
                if (resource.group, resource.plural) == DEFINITIONS and not context.options.dry_run:
                    await self._definitions.settled(made["metadata"]["name"])
                return _encoded(request, resource, made, 201)
            case "update":
                obj = codec.decode(request, context, resource.kind)
                return _encoded(request, resource, await self._core.writer.update(kind, key, obj, context))
            case "patch":
                patch, how_ = codec.decode_patch(request, context)
                if how_ == "apply":
                    applied, new = await self._core.writer.apply(kind, key, patch, context)
                    return _encoded(request, resource, applied, 201 if new else 200)
                return _encoded(request, resource, await self._core.writer.patch(kind, key, patch, how_, context))
            case "delete":
                return await self._delete(request, kind, key, context)
        return await self._delete_many(request, kind, target, context)

    async def _list(self, request: Request, resource: Resource, target: Target) -> Response:
        query, how = request.query, codec.accepted(request)
        fields = ",".join(filter(None, (query.get("fieldSelector", ""), f"metadata.name={target.name}" if target.name else "")))
        options = ListOptions(
            target.namespace,
            query.get("labelSelector", ""),
            fields,
            _number(query.get("limit", "0")),
            query.get("continue", ""),
            query.get("resourceVersion", ""),
            query.get("resourceVersionMatch", ""),
        )
        if found := list_errors(query):
            raise to_invalid(LIST_OPTIONS, "", found)
        late = self._core.converter.selects_late(resource, fields)
        listing = await self._core.reader.list(resource, replace(options, fields="") if late else options)
        items = await self._core.converter.items(resource, listing.items, fields if late else "")
        return Response(200, await codec.many(resource, items, listing.metadata(), how), dict(JSON_HEADERS))

    async def _watch(self, request: Request, resource: Resource, target: Target) -> Response:
        query, how = request.query, codec.accepted(request)
        if found := watch_errors(query):
            raise to_invalid(LIST_OPTIONS, "", found)
        options = WatchOptions(
            target.namespace,
            query.get("labelSelector", ""),
            query.get("fieldSelector", ""),
            query.get("resourceVersion", ""),
            _flag(request, "allowWatchBookmarks"),
            _flag(request, "sendInitialEvents"),
        )
        if options.version and not NUMBER.fullmatch(options.version):
            problem = invalid("resourceVersion", options.version, f'strconv.ParseUint: parsing "{options.version}": invalid syntax')
            raise ApiError(str(problem), reason="")
        late = self._core.converter.selects_late(resource, options.fields)
        watcher = Watcher(self._core.cache, resource, options._replace(fields="") if late else options)
        asked = _number(query.get("timeoutSeconds", "0"))
        seconds = asked or random.uniform(WATCH_SECONDS, 2 * WATCH_SECONDS)
        counted = self._flows.watched.watching(target, query)
        events = self._events(watcher, resource, how, seconds, counted, options.fields if late else "")
        return Response(200, headers=dict(JSON_HEADERS), stream=events)

    async def _events(
        self, watcher: Watcher, resource: Resource, how: Accepted, seconds: float, counted: AbstractContextManager[None], fields: str = ""
    ) -> AsyncIterator[bytes]:
        converts = self._core.converter.converts(resource)
        source = watcher.events(self._core.reader)
        if converts:
            source = self._core.converter.events(source, resource, fields)
        form = f"{how.form}/{how.include}" + (f"/{resource.api_version}" if converts else "")
        yield b""
        with counted:
            try:
                async with asyncio.timeout(seconds), aclosing(source) as events:
                    async for event in events:
                        yield _line(event, resource, how, form, kept=not converts)
            except TimeoutError:
                return
            except ApiError as error:
                yield b'{"type":"ERROR","object":%b}\n' % orjson.dumps(error.status())

    async def _delete(self, request: Request, kind: Kind, key: Key, context: Context) -> Response:
        context.options = _deletion(request, context)
        obj, gone = await self._core.writer.delete(kind, key, context)
        if not gone or strategy.returns_deleted(kind.resource):
            (obj,) = await self._core.converter.present(kind.resource, [obj])
        if not gone or strategy.returns_deleted(kind.resource):
            return _encoded(request, kind.resource, obj)
        details: Object = {"name": key.name, "kind": kind.resource.plural, "uid": obj["metadata"]["uid"]}
        if kind.resource.group:
            details["group"] = kind.resource.group
        return _json({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})

    async def _delete_many(self, request: Request, kind: Kind, target: Target, context: Context) -> Response:
        context.options = _deletion(request, context)
        query = request.query
        options = ListOptions(target.namespace, query.get("labelSelector", ""), query.get("fieldSelector", ""))
        late = self._core.converter.selects_late(kind.resource, options.fields)
        listing = await self._core.reader.list(kind.resource, replace(options, fields="") if late else options)
        items = await self._core.converter.items(kind.resource, listing.items, options.fields if late else "")
        for stored in items:
            metadata = stored.object["metadata"]
            try:
                await self._core.writer.delete(kind, Key(metadata.get("namespace", ""), metadata["name"]), context)
            except NotFound:
                continue  # somebody else deleted it meanwhile
        body = await codec.many(kind.resource, items, listing.metadata(), Accepted())
        return Response(200, body, dict(JSON_HEADERS))

    async def _subresource(self, request: Request, kind: Kind, target: Target, action: str, context: Context) -> Response:
        name, resource, key = target.subresource, kind.resource, _key(kind, target)
        if (resource.plural == "pods" and name in STREAMS and name != "log") or name == "proxy":
            await self._core.connect(resource, key, name, *connect_options(resource, name, request, target.rest), context)
        if resource.plural == "pods" and name in STREAMS:
            return await self._stream(request, key, name)
        if name == "proxy":
            return await self._proxy(request, resource, key, target.rest)
        if action not in kind.subresources[name].verbs:
            raise problems.method_not_allowed()
        if name == "scale":
            return await self._scale(request, kind, key, action, context)
        if action == "create":
            return await self._create_subresource(request, kind, key, name, context)
        if action == "get":
            return _encoded(request, resource, await self._core.get(resource, key))
        if action == "update":
            body = codec.decode(request, context, resource.kind)
            return _encoded(request, resource, await self._core.writer.update(kind, key, body, context, name))
        patch, how = codec.decode_patch(request, context)
        return _encoded(request, resource, await self._core.writer.patch(kind, key, patch, how, context, name))

    async def _create_subresource(self, request: Request, kind: Kind, key: Key, name: str, context: Context) -> Response:
        body = bodies.checked(codec.decode(request, context, kind.subresources[name].kind), kind.subresources[name])
        if name == "token":
            body = await self._core.admit(kind.resource, key, name, body, context)
            return _json(self._reviews.token(key, body, context), 201)
        if name == "eviction" and context.guard is not None:
            context.guard("CREATE", kind.resource, name, None, self._core.reader.get(kind.resource, key).object)
        return await self._bind(key.namespace, key.name, body, context, kind.resource, name)

    async def _bind(
        self,
        namespace: str,
        name: str,
        body: Object,
        context: Context,
        resource: Resource | None = None,
        subresource: str = "binding",
    ) -> Response:
        pods = resource or Resource("", "v1", "pods", "Pod", True)
        key = Key(namespace, name)
        return _json(await self._core.create_subresource(pods, key, subresource, body, context), 201)

    async def _scale(self, request: Request, kind: Kind, key: Key, action: str, context: Context) -> Response:
        resource = kind.resource
        current = await self._core.get(resource, key, "scale")
        if action == "get":
            return _json(current)
        if action == "update":
            wanted = codec.decode(request, context, "Scale")
        else:
            patch, how = codec.decode_patch(request, context)
            wanted = apply_patch(current, patch, "json" if how == "json" else "merge", None)
        return _json(await self._core.update_scale(resource, key, bodies.checked(wanted, kind.subresources["scale"]), context))

    async def _stream(self, request: Request, key: Key, name: str) -> Response:
        pod = self._core.reader.get(Resource("", "v1", "pods", "Pod", True), key).object
        node = self._core.cache.collection("", "nodes").get(Key("", assigned_node(pod)))
        if node is None:
            raise missing_node(assigned_node(pod))
        query = request.query
        raw = request.target.partition("?")[2]
        path = container_path(STREAMS[name], pod, query.get("container", ""), query, raw)
        return await self._relay.relay(self._relay.agent(node.object), path, request)

    async def _proxy(self, request: Request, resource: Resource, key: Key, rest: str) -> Response:
        whole, _, raw = request.target.partition("?")
        path = f"/{rest}" + (f"?{raw}" if raw else "")
        backend = self._backend(resource, key)
        if redirection := proxying.to_root(request, rest):
            return redirection
        answer = await self._relay.relay(backend, path, request, {"X-Forwarded-Uri": whole})
        return await proxying.answered(answer, request, f"{backend.host}:{backend.port}")

    def _backend(self, resource: Resource, key: Key) -> Endpoint:
        scheme, name, port = _proxy_name(key.name)
        found = self._core.reader.get(resource, Key(key.namespace, name)).object
        if resource.plural == "nodes":
            return self._relay.agent(found)
        tls = unchecked() if scheme == "https" else None
        if resource.plural == "pods":
            return self._pod(found, port, tls)
        ports = found["spec"].get("ports", ())
        wanted = next((p for p in ports if port in ("", p.get("name"), str(p["port"]))), None)
        if wanted is None:
            raise ServiceUnavailable(f'no endpoints available for service "{name}"')
        there = self._core.dialer.service(key.namespace, name, wanted["port"])
        return Endpoint(there.host, there.port, tls, there.server_name, there.dial)

    def _pod(self, pod: Object, port: str, tls: ssl.SSLContext | None) -> Endpoint:
        address = pod.get("status", {}).get("podIP", "")
        if not address:
            raise BadRequest(f"address not allowed: the pod {pod['metadata']['name']} has no address yet")
        named = {p.get("name"): p["containerPort"] for c in pod["spec"]["containers"] for p in c.get("ports", ())}
        number = int(port) if port.isdigit() else named.get(port) if port else next(iter(named.values()), 80)
        if number is None:
            raise NotFound(f"no port {port!r} found in pod {pod['metadata']['name']!r}")
        ways = self._core.dialer.ways
        return Endpoint(address, number, tls, address, ways.to_pod(pod, number) if ways else None)


def _check_custom(request: Request, custom: CustomVersion, action: str, context: Context) -> None:
    """Refuse what custom kinds don't take. Raises MethodNotAllowed, UnsupportedMediaType."""
    if custom.terminating and action == "create":
        raise MethodNotAllowed("create not allowed while custom resource definition is terminating", details={})
    if action == "patch" and codec.media_type(request) not in codec.CUSTOM_PATCHES:
        raise UnsupportedMediaType(f"{codec.UNKNOWN_FORMAT}: {', '.join(codec.CUSTOM_PATCHES)}")
    if action in ("create", "update") and codec.media_type(request) == codec.PROTOBUF:
        raise UnsupportedMediaType(f"{codec.UNKNOWN_FORMAT}: {codec.JSON}, application/yaml")
    if custom.deprecation:
        context.warnings.append(custom.deprecation)


def _proxy_name(text: str) -> tuple[str, str, str]:
    parts = text.split(":")
    if len(parts) == 3:
        return parts[0], parts[1], parts[2]
    return "", parts[0], parts[1] if len(parts) == 2 else ""


def _key(kind: Kind, target: Target) -> Key:
    return Key(target.namespace if kind.resource.namespaced else "", target.name)


def _options(request: Request) -> WriteOptions:
    query = request.query
    dry_run = query.get("dryRun", "")
    if dry_run not in ("", "All"):
        raise BadRequest(f'dryRun: Unsupported value: "{dry_run}": supported values: "All"')
    validation = query.get("fieldValidation", "Warn") or "Warn"
    if validation not in ("Ignore", "Warn", "Strict"):
        raise BadRequest(f'fieldValidation: Unsupported value: "{validation}": supported values: "Ignore", "Strict", "Warn"')
    grace = query.get("gracePeriodSeconds")
    return WriteOptions(
        dry_run=dry_run == "All",
        field_validation=validation,
        field_manager=query.get("fieldManager", "") or _agent(request),
        force=query.get("force") == "true",
        grace=_number(grace) if grace else None,
        propagation=query.get("propagationPolicy", ""),
    )


def _deletion(request: Request, context: Context) -> WriteOptions:
    """Return the options of a deletion, which may have a body of their own. Raises BadRequest, Invalid."""
    body = codec.decode(request, context, "DeleteOptions") if request.body else {}
    bodies.check_types_of(body, "apimachinery.pkg.apis.meta.v1.DeleteOptions")
    return delete_options(body, context.options)


def _agent(request: Request) -> str:
    """The program that asks, where it does not name a field manager; an apply must name one."""
    applying = request.method == "PATCH" and "apply-patch" in request.headers.get("content-type", "")
    return "" if applying else request.headers.get("user-agent", "").partition("/")[0]


def _flag(request: Request, name: str) -> bool:
    return request.query.get(name, "").lower() in ("true", "1")


def _relaxed(request: Request, action: str) -> bool:
    """Whether a read says itself how new its answer has to be."""
    return action == "watch" or (action in ("get", "list") and bool(request.query.get("resourceVersion")))


def _number(text: str) -> int:
    if not NUMBER.fullmatch(text):
        raise BadRequest(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def _encoded(request: Request, resource: Resource, obj: Object, status: int = 200) -> Response:
    return Response(status, codec.one(resource, obj, codec.accepted(request)), dict(JSON_HEADERS))


def _line(event: Event, resource: Resource, how: Accepted, form: str, *, kept: bool) -> bytes:
    """Return an event as it is told; what watchers of one form are told is encoded once. kept: the object as it is stored will do."""
    change = event.change
    if change is None:
        return codec.event(resource, event.type, event.object, None, how)
    name = f"{event.type}/{form}"
    line = change.encoded.get(name)
    if line is None:
        body = change.new.body if change.new is not None and event.type != "DELETED" and kept else None
        line = change.encoded[name] = codec.event(resource, event.type, event.object, body, how)
    return line


def _json(obj: Object, status: int = 200) -> Response:
    return Response(status, orjson.dumps(obj), dict(JSON_HEADERS))


def _status(error: ApiError) -> Response:
    headers = dict(JSON_HEADERS)
    retry = error.details.get("retryAfterSeconds")
    if retry:
        headers["Retry-After"] = str(retry)
    return Response(error.code, orjson.dumps(error.status()), headers)
