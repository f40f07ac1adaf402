"""Errors in upstream's words. Source: apimachinery api/errors."""

from __future__ import annotations

from moorings_core.ports.errors import AlreadyExists, BadRequest, Conflict, Expired, Forbidden, MethodNotAllowed, NotFound, ServerTimeout
from moorings_core.ports.objects import Object, Resource


def _details(resource: Resource, name: str, uid: str = "") -> Object:
    details = {"name": name, "group": resource.group, "kind": resource.plural, "uid": uid}
    return {k: v for k, v in details.items() if v}


def _qualified(resource: Resource) -> str:
    return f"{resource.plural}.{resource.group}" if resource.group else resource.plural


def not_found(resource: Resource, name: str) -> NotFound:
    """There is no such object."""
    return NotFound(f'{_qualified(resource)} "{name}" not found', details=_details(resource, name))


def already_exists(resource: Resource, name: str) -> AlreadyExists:
    """The name is taken."""
    return AlreadyExists(f'{_qualified(resource)} "{name}" already exists', details=_details(resource, name))


def conflict(resource: Resource, name: str, why: str = "") -> Conflict:
    """The stored object is newer than the caller's."""
    reason = why or "the object has been modified; please apply your changes to the latest version and try again"
    return Conflict(f'Operation cannot be fulfilled on {_qualified(resource)} "{name}": {reason}', details=_details(resource, name))


def precondition(resource: Resource, name: str, why: str) -> Conflict:
    """The object that a deletion meant is another one; upstream names the kind here, not the resource."""
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    details = _details(resource, name) | {"kind": resource.kind}
    return Conflict(f'Operation cannot be fulfilled on {kind} "{name}": {why}', details=details)


def forbidden(resource: Resource, name: str, why: str) -> Forbidden:
    """Admission refuses the object."""
    return Forbidden(f'{_qualified(resource)} "{name}" is forbidden: {why}', details=_details(resource, name))


def method_not_allowed() -> MethodNotAllowed:
    """The resource has no such verb."""
    return MethodNotAllowed("the server does not allow this method on the requested resource", details={})


def no_resource() -> NotFound:
    """There is no such resource in a group that is there."""
    return NotFound("the server could not find the requested resource", details={})


def expired(asked: int, oldest: int) -> Expired:
    """A watch or list goes back further than the history."""
    return Expired(f"too old resource version: {asked} ({oldest})")


def page_expired(token: str) -> Expired:
    """A list can't be gone on with as it was begun; the token goes on from the same place with the newest state."""
    error = Expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the "
        "continue parameter, or use the continue token in this response to retrieve the remainder of the results."
    )
    error.metadata = {"continue": token}
    return error


def too_new(asked: int, newest: int) -> ServerTimeout:
    """The caller knows a revision that this server has not reached."""
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    details: Object = {"causes": [cause], "retryAfterSeconds": 1}
    return ServerTimeout(f"Too large resource version: {asked}, current: {newest}", details=details)


def bad_version(text: str) -> BadRequest:
    """A resourceVersion is no number."""
    why = f'strconv.ParseUint: parsing "{text}": invalid syntax'
    return BadRequest(f'invalid resource version: resourceVersion: Invalid value: "{text}": {why}')
