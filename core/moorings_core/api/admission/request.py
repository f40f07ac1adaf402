"""A write in the words of an AdmissionReview."""

from __future__ import annotations

from moorings_core.ports.objects import Object, Resource

from .attributes import Attributes
from .matching import Match, namespace_of

OPTIONS = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}


def user_info(a: Attributes) -> Object:
    """Return who wants a write."""
    user = a.context.user
    info: Object = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        info["uid"] = user.uid
    return info | ({"extra": {k: list(v) for k, v in user.extra.items()}} if user.extra else {})


def options_of(a: Attributes) -> Object | None:
    """Return the options of a write as an object, or None for a connection."""
    kind = OPTIONS.get(a.operation)
    if kind is None:
        return None
    options = a.context.options
    found: Object = {"kind": kind, "apiVersion": "meta.k8s.io/v1"}
    if options.dry_run:
        found["dryRun"] = ["All"]
    given: Object = {"fieldManager": options.field_manager or None, "fieldValidation": options.field_validation or None}
    if a.operation == "DELETE":
        preconditions = {k: v for k, v in (("uid", options.uid), ("resourceVersion", options.version)) if v}
        given = {"gracePeriodSeconds": options.grace, "propagationPolicy": options.propagation or None}
        given["preconditions"] = preconditions or None
    return found | {k: v for k, v in given.items() if v is not None}


def request_of(a: Attributes, match: Match) -> Object:
    """Return a write as the request of an AdmissionReview, without its objects."""
    asked = a.group_version_kind
    request: Object = {
        "kind": _kind(match.kind),
        "resource": _resource(match.resource),
        "requestKind": _kind(asked),
        "requestResource": _resource(a.resource),
        "operation": a.operation,
        "userInfo": user_info(a),
        "dryRun": a.context.options.dry_run,
    }
    if a.subresource:
        request |= {"subResource": a.subresource, "requestSubResource": a.subresource}
    if name := (a.key.name or ((a.object or {}).get("metadata") or {}).get("name")):
        request["name"] = name
    if namespace := namespace_of(a):
        request["namespace"] = namespace
    return request


def _kind(kind: tuple[str, str, str]) -> Object:
    return dict(zip(("group", "version", "kind"), kind, strict=True))


def _resource(resource: Resource) -> Object:
    return {"group": resource.group, "version": resource.version, "resource": resource.plural}
