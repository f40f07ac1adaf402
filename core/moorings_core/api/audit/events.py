"""An entry as an audit.k8s.io/v1 Event."""

from __future__ import annotations

import datetime
from typing import Any

import orjson

from moorings_core.api import codec
from moorings_core.api.context import Context, User
from moorings_core.api.http.message import Request
from moorings_core.ports.errors import ApiError
from moorings_core.ports.objects import Object

from .policy import LEVELS, METADATA, REQUEST
from .trail import Entry, Trail

BODY_METHODS = ("POST", "PUT", "PATCH", "DELETE")
PATCHES = "PATCH"


def line(entry: Entry) -> bytes:
    """Return the event of an entry as one line of JSON."""
    return orjson.dumps(event(entry), option=orjson.OPT_APPEND_NEWLINE)


def event(entry: Entry) -> Object:
    """Return the event of an entry."""
    trail, request = entry.trail, entry.trail.request
    made: Object = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": LEVELS[trail.wanted.level],
        "auditID": trail.id,
        "stage": entry.stage,
        "requestURI": request.target,
        "verb": trail.asked.verb,
        "user": _user(trail.asked.user),
    }
    if trail.acting is not None:
        made["impersonatedUser"] = _user(trail.acting)
    made["sourceIPs"] = _sources(request)
    if agent := request.headers.get("user-agent"):
        made["userAgent"] = agent
    answer = _json(entry.body) if entry.body else None
    if trail.target is not None:
        made["objectRef"] = _reference(trail, answer)
    if entry.status:
        made["responseStatus"] = _status(entry.status, answer)
    made |= _content(entry, answer)
    made["requestReceivedTimestamp"], made["stageTimestamp"] = _moment(trail.received), _moment(entry.at)
    if trail.decision is not None:
        decision = "allow" if trail.decision.allowed else "forbid"
        made["annotations"] = {"authorization.k8s.io/decision": decision, "authorization.k8s.io/reason": trail.decision.reason}
    return made


def _content(entry: Entry, answer: Any) -> Object:
    """Return the bodies that the level asks for, and that the request has by this stage."""
    wanted, request, found = entry.trail.wanted, entry.trail.request, {}
    if wanted.level == METADATA or entry.stage == "RequestReceived":
        return {}
    if request.body and request.method in BODY_METHODS:
        found["requestObject"] = _pruned(_decoded(entry.trail), wanted.managed_fields)
    if wanted.level > REQUEST and answer is not None:
        found["responseObject"] = _pruned(answer, wanted.managed_fields)
    return {key: value for key, value in found.items() if value is not None}


def _decoded(trail: Trail) -> Any:
    """Return the body of a request as JSON, None where it is none."""
    request = trail.request
    try:
        if request.method == PATCHES:
            return codec.decode_patch(request, Context())[0]
        return codec.decode(request, Context(), "")
    except ApiError:
        return None


def _pruned(body: Any, managed_fields: bool) -> Any:
    if managed_fields or not isinstance(body, dict):
        return body
    metadata = body.get("metadata")
    pruned = {**body, "metadata": {k: v for k, v in metadata.items() if k != "managedFields"}} if isinstance(metadata, dict) else dict(body)
    if isinstance(body.get("items"), list):
        pruned["items"] = [_pruned(item, managed_fields) for item in body["items"]]
    return pruned


def _reference(trail: Trail, answer: Any) -> Object:
    asked, target = trail.asked, trail.target
    metadata = answer.get("metadata") if isinstance(answer, dict) and answer.get("kind") != "Status" else None
    made = {
        "resource": asked.plural,
        "namespace": asked.namespace,
        "name": asked.name or trail.made or (metadata or {}).get("name", ""),
        "uid": (metadata or {}).get("uid", ""),
        "apiGroup": asked.group,
        "apiVersion": target.version if target else "",
        "resourceVersion": (metadata or {}).get("resourceVersion", ""),
        "subresource": asked.subresource,
    }
    return {key: value for key, value in made.items() if value}


def _status(code: int, answer: Any) -> Object:
    status: Object = {"metadata": {}, "code": code}
    if isinstance(answer, dict) and answer.get("kind") == "Status":
        status |= {key: answer[key] for key in ("status", "message", "reason", "details") if answer.get(key)}
    return status


def _user(user: User) -> Object:
    made: Object = {"username": user.name}
    if user.uid:
        made["uid"] = user.uid
    if user.groups:
        made["groups"] = list(user.groups)
    return made | ({"extra": {key: list(values) for key, values in user.extra.items()}} if user.extra else {})


def _sources(request: Request) -> list[str]:
    forwarded = [part.strip() for part in request.headers.get("x-forwarded-for", "").split(",")]
    return list(dict.fromkeys(filter(None, (*forwarded, request.remote))))


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _moment(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
