"""The answers of an API that are not a success: one type per thing a caller does differently.

Source: k8s.io/apimachinery metav1.Status; the reason strings are what clients match on.
"""

from __future__ import annotations

from typing import ClassVar

from .objects import Object


class MooringsError(Exception):
    """Base of every error that moorings raises on purpose. exit_code: what a command ends with when it meets the error:

    1 failed, 2 wrong usage or configuration, 3 timed out, 4 no such thing.
    """

    exit_code: ClassVar[int] = 1


class ApiError(MooringsError):
    """An error Status from the API. Subclasses fix `code` and `reason`; `details` and `metadata` are those of the Status.

    Details that are given and empty are sent, as upstream does where it has nothing to say in them.
    """

    code: int = 500
    reason: str = "InternalError"

    def __init__(self, message: str, *, details: Object | None = None, code: int | None = None, reason: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details: Object = details or {}
        self._with_details = details is not None
        self.metadata: Object = {}
        if code is not None:
            self.code = code
        if reason is not None:
            self.reason = reason

    def status(self) -> Object:
        """Return the error as the `Status` object that goes over the wire."""
        status: Object = {"kind": "Status", "apiVersion": "v1", "metadata": self.metadata, "status": "Failure"}
        status |= {"message": self.message, "code": self.code} | ({"reason": self.reason} if self.reason else {})
        if self.details or self._with_details:
            status["details"] = self.details
        return status

    by_reason: ClassVar[dict[str, type[ApiError]]] = {}

    def __init_subclass__(cls) -> None:
        ApiError.by_reason.setdefault(cls.reason, cls)  # a finer error of a reason is for who raises it, not for who receives it

    @staticmethod
    def from_status(status: Object) -> ApiError:
        """Return the error that a received `Status` object stands for."""
        reason = str(status.get("reason") or "Unknown")
        kind = ApiError.by_reason.get(reason, ApiError)
        return kind(str(status.get("message", "")), details=status.get("details"), code=status.get("code", 500), reason=reason)


class BadRequest(ApiError):
    """The request cannot be understood: do not repeat it."""

    code, reason = 400, "BadRequest"


class Unauthorized(ApiError):
    """The caller is not known."""

    code, reason = 401, "Unauthorized"


class Forbidden(ApiError):
    """The caller is known and may not do this, or admission refused it."""

    code, reason = 403, "Forbidden"


class NotFound(ApiError):
    """There is no such object or path."""

    exit_code = 4

    code, reason = 404, "NotFound"


class MethodNotAllowed(ApiError):
    """The resource has no such verb."""

    code, reason = 405, "MethodNotAllowed"


class NotAcceptable(ApiError):
    """None of the media types that the caller accepts can be served."""

    code, reason = 406, "NotAcceptable"


class AlreadyExists(ApiError):
    """An object of that name is there already."""

    code, reason = 409, "AlreadyExists"


class Conflict(ApiError):
    """The stored object is not the one the caller read: read it again, then plan again."""

    code, reason = 409, "Conflict"


class Expired(ApiError):
    """The resourceVersion or continue token is older than the history: list again."""

    code, reason = 410, "Expired"


class Gone(ApiError):
    """As Expired, from a watch or an older server."""

    code, reason = 410, "Gone"


class RequestEntityTooLarge(ApiError):
    """The body is over the limit."""

    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMediaType(ApiError):
    """The body's media type is not served for this verb."""

    code, reason = 415, "UnsupportedMediaType"


class Invalid(ApiError):
    """The object breaks a rule of its kind; details.causes lists field, reason and message of each."""

    code, reason = 422, "Invalid"


class TooManyRequests(ApiError):
    """Try again after details.retryAfterSeconds."""

    code, reason = 429, "TooManyRequests"


class ServiceUnavailable(ApiError):
    """The server cannot answer at the moment: try again."""

    code, reason = 503, "ServiceUnavailable"


class ServerTimeout(ApiError):
    """The server gave up waiting; the write may or may not have happened."""

    code, reason = 504, "Timeout"
