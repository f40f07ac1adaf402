"""An entry as an audit.k8s.io/v1 Event."""

from __future__ import annotations

import functools
import time
from typing import Any

import orjson

from moorings_core.api import codec
from moorings_core.api.access.attributes import Attributes, Decision
from moorings_core.api.context import Context, User
from moorings_core.api.http.message import Request
from moorings_core.api.paths import Target
from moorings_core.ports.errors import ApiError
from moorings_core.ports.objects import Object

from .policy import LEVELS, METADATA, REQUEST
from .trail import Entry, Trail

BODY_METHODS = ("POST", "PUT", "PATCH", "DELETE")
PATCHES = "PATCH"


def line(entry: Entry) -> bytes:
    """Return the event of an entry as one line of JSON."""
    trail = entry.trail
    plain = trail.wanted.level == METADATA and not entry.body and trail.acting is None and not trail.annotations
    plain = plain and not trail.asked.user.extra
    if plain and trail.decision is not None and entry.status and "x-forwarded-for" not in trail.request.headers:
        return _plain_line(entry, trail, trail.decision)
    return orjson.dumps(event(entry), option=orjson.OPT_APPEND_NEWLINE)


def _plain_line(entry: Entry, trail: Trail, decision: Decision) -> bytes:
    """Return the line of an entry without content, which nearly all are: put together from pieces, for a third of the time."""
    request, asked = trail.request, trail.asked
    agent = request.headers.get("user-agent", "")
    user = asked.user
    about = _about(asked.verb, user.name, user.uid, user.groups, request.remote, agent)
    reference = _text_reference(asked, trail.target.version, asked.name or trail.made) if trail.target is not None else ""
    text = (
        f'{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":{_text(trail.id)},"stage":"{entry.stage}",'
        f'"requestURI":{_text(request.target)},{about}{reference},"responseStatus":{{"metadata":{{}},"code":{entry.status}}},'
        f'"requestReceivedTimestamp":"{_moment(trail.received)}","stageTimestamp":"{_moment(entry.at)}",{_verdict(decision)}}}\n'
    )
    return text.encode()


def _text(value: str) -> str:
    return f'"{value}"' if value.isalnum() and value.isascii() else orjson.dumps(value).decode()


@functools.lru_cache(maxsize=4096)
def _about(verb: str, name: str, uid: str, groups: tuple[str, ...], remote: str, agent: str) -> str:
    made: Object = {"verb": verb, "user": _plain_user(name, uid, groups), "sourceIPs": [remote]} | ({"userAgent": agent} if agent else {})
    return orjson.dumps(made)[1:-1].decode()


def _text_reference(asked: Attributes, version: str, name: str) -> str:
    before, after = _place(asked.group, version, asked.plural, asked.namespace, asked.subresource)
    return f'{before},"name":{_text(name)}{after}' if name else f"{before}{after}"


@functools.lru_cache(maxsize=4096)
def _place(group: str, version: str, plural: str, namespace: str, subresource: str) -> tuple[str, str]:
    """Return what stands before and after the name in the reference to an object."""
    before: Object = {"resource": plural, "apiVersion": version} | ({"namespace": namespace} if namespace else {})
    after: Object = ({"apiGroup": group} if group else {}) | ({"subresource": subresource} if subresource else {})
    rest = orjson.dumps(after)[1:].decode()
    return f',"objectRef":{orjson.dumps(before)[:-1].decode()}', f",{rest}" if after else "}"


@functools.lru_cache(maxsize=1024)
def _verdict(decision: Decision) -> str:
    said = {
        "authorization.k8s.io/decision": "allow" if decision.allowed else "forbid",
        "authorization.k8s.io/reason": decision.reason,
    }
    return f'"annotations":{orjson.dumps(said).decode()}'


def event(entry: Entry) -> Object:
    """Return the event of an entry; parts of it are JSON already."""
    trail, request = entry.trail, entry.trail.request
    answer = _json(entry.body) if entry.body else None
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
    made["sourceIPs"] = _sources(request) if "x-forwarded-for" in request.headers else [request.remote]
    if agent := request.headers.get("user-agent"):
        made["userAgent"] = agent
    if trail.target is not None:
        made["objectRef"] = _reference(trail, trail.target, answer)
    if entry.status:
        made["responseStatus"] = {"metadata": {}, "code": entry.status} if answer is None else _status(entry.status, answer)
    if trail.wanted.level != METADATA and entry.stage != "RequestReceived":
        made |= _content(entry, answer)
    made["requestReceivedTimestamp"], made["stageTimestamp"] = _moment(trail.received), _moment(entry.at)
    if trail.decision is not None:
        decision = "allow" if trail.decision.allowed else "forbid"
        authorization = {"authorization.k8s.io/decision": decision, "authorization.k8s.io/reason": trail.decision.reason}
        made["annotations"] = {**authorization, **trail.annotations}
    return made


def _content(entry: Entry, answer: Any) -> Object:
    """Return the bodies that the level asks for, and that the request has by this stage."""
    wanted, request = entry.trail.wanted, entry.trail.request
    found: Object = {}
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


def _reference(trail: Trail, target: Target, answer: Any) -> Object:
    asked = trail.asked
    made = {"resource": asked.plural, "apiVersion": target.version}
    if asked.namespace:
        made["namespace"] = asked.namespace
    if name := asked.name or trail.made:
        made["name"] = name
    if asked.group:
        made["apiGroup"] = asked.group
    if asked.subresource:
        made["subresource"] = asked.subresource
    if isinstance(answer, dict) and answer.get("kind") != "Status":
        metadata = answer.get("metadata") or {}
        made |= {field: metadata[field] for field in ("name", "uid", "resourceVersion") if metadata.get(field)}
    return made


def _status(code: int, answer: Any) -> Object:
    status: Object = {"metadata": {}, "code": code}
    if isinstance(answer, dict) and answer.get("kind") == "Status":
        status |= {key: answer[key] for key in ("status", "message", "reason", "details") if answer.get(key)}
    return status


def _user(user: User) -> orjson.Fragment:
    """Return a user as JSON; those without anything of their own are few, and are made once."""
    if user.extra:
        shown = {"username": user.name, "groups": list(user.groups), "extra": {key: list(values) for key, values in user.extra.items()}}
        return orjson.Fragment(orjson.dumps(shown | ({"uid": user.uid} if user.uid else {})))
    return _plain_user(user.name, user.uid, user.groups)


@functools.lru_cache(maxsize=1024)
def _plain_user(name: str, uid: str, groups: tuple[str, ...]) -> orjson.Fragment:
    made: Object = {"username": name} | ({"uid": uid} if uid else {}) | ({"groups": list(groups)} if groups else {})
    return orjson.Fragment(orjson.dumps(made))


def _sources(request: Request) -> list[str]:
    forwarded = [part.strip() for part in request.headers.get("x-forwarded-for", "").split(",")]
    return list(dict.fromkeys(filter(None, (*forwarded, request.remote))))


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


@functools.lru_cache(maxsize=16)
def _second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def _moment(seconds: float) -> str:
    return f"{_second(int(seconds))}.{int(seconds % 1 * 1e6):06d}Z"
