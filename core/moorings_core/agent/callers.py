"""Who may call the agent: the API server by its client certificate; everybody else as the API server says of their certificate or token.

Source: upstream's kubelet authentication and authorization (TokenReview, SubjectAccessReview on nodes and their subresources).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from moorings_core.api.http.message import Request
from moorings_core.client.resources import SUBJECT_ACCESS_REVIEWS, TOKEN_REVIEWS
from moorings_core.ports.client import Client
from moorings_core.ports.errors import Forbidden, Unauthorized
from moorings_core.ports.objects import Object

K = TypeVar("K")
V = TypeVar("V")
MASTERS = "system:masters"
REMEMBER_SECONDS, REMEMBERED = 10.0, 1024
VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
SUBRESOURCES = {"stats": ("stats",), "metrics": ("metrics",), "logs": ("log",), "pods": ("pods", "proxy"), "healthz": ("healthz", "proxy")}
"""What a path needs the right to, by how it begins: any of these suffices; all other paths need proxy."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A user as the API knows it."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


class Callers:
    """Admits callers to one node's agent. Answers of the API are kept for some seconds."""

    def __init__(self, client: Client, node: str) -> None:
        self._client, self._node = client, node
        self._users: dict[str, tuple[float, Caller]] = {}
        self._allowed: dict[tuple[Caller, str, str], float] = {}

    async def admit(self, request: Request) -> None:
        """Return where the caller may do what it asks for. Raises Unauthorized, Forbidden, ApiError."""
        organizations = tuple(request.peer.get("organizationName", ()))
        if MASTERS in organizations:
            return
        caller = await self._caller(request, organizations)
        verb, first = VERBS.get(request.method, "get"), request.path.strip("/").split("/")[0]
        wanted = SUBRESOURCES.get(first, ("proxy",))
        for subresource in wanted:
            if await self._may(caller, verb, subresource):
                return
        text = f"Forbidden (user={caller.name}, verb={verb}, resource=nodes, subresource(s)=[{' '.join(wanted)}])"
        raise Forbidden(text)

    async def _caller(self, request: Request, organizations: tuple[str, ...]) -> Caller:
        if names := request.peer.get("commonName"):
            return Caller(names[0], (*organizations, "system:authenticated"))
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthorized("the node agent needs a client certificate or a bearer token")
        return await self._of_token(token.strip())

    async def _of_token(self, token: str) -> Caller:
        kept = self._users.get(token)
        if kept is not None and kept[0] > time.monotonic():
            return kept[1]
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {}, "spec": {"token": token}}
        status = (await self._client.create(TOKEN_REVIEWS, review)).get("status") or {}
        if not status.get("authenticated"):
            raise Unauthorized(status.get("error") or "the token is not known")
        found = _as_caller(status["user"])
        _remember(self._users, token, (time.monotonic() + REMEMBER_SECONDS, found))
        return found

    async def _may(self, caller: Caller, verb: str, subresource: str) -> bool:
        key = (caller, verb, subresource)
        if self._allowed.get(key, 0.0) > time.monotonic():
            return True
        where = {"verb": verb, "version": "v1", "resource": "nodes", "subresource": subresource, "name": self._node}
        spec: Object = {"user": caller.name, "groups": list(caller.groups), "uid": caller.uid, "resourceAttributes": where}
        spec["extra"] = {name: list(values) for name, values in caller.extra}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {}, "spec": spec}
        allowed = bool((await self._client.create(SUBJECT_ACCESS_REVIEWS, review))["status"]["allowed"])
        if allowed:
            _remember(self._allowed, key, time.monotonic() + REMEMBER_SECONDS)
        return allowed


def _as_caller(user: Mapping[str, Object]) -> Caller:
    extra = tuple((name, tuple(values)) for name, values in sorted((user.get("extra") or {}).items()))
    return Caller(str(user.get("username", "")), tuple(user.get("groups") or ()), str(user.get("uid", "")), extra)


def _remember(kept: dict[K, V], key: K, value: V) -> None:
    if len(kept) >= REMEMBERED:
        kept.clear()
    kept[key] = value
