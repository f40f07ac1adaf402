"""AdmissionReviews: what a webhook is asked and what it may answer. Source: apiserver webhook/request and webhook/errors."""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from moorings_core.api.admission.attributes import Attributes
from moorings_core.api.admission.matching import Match
from moorings_core.api.admission.request import options_of, request_of
from moorings_core.ports.errors import ApiError
from moorings_core.ports.objects import Object

KNOWN = ("v1", "v1beta1")


class CallFailed(Exception):
    """A webhook could not be asked, or answered nonsense: its failurePolicy says what that means."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a webhook says of a write."""

    allowed: bool
    patch: Sequence[Object] = ()
    result: Object | None = None
    warnings: Sequence[str] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)


def ask(a: Attributes, match: Match, obj: Object | None, old: Object | None, versions: Sequence[str]) -> tuple[str, Object]:
    """Return (uid, AdmissionReview) in the first version that the webhook and we know. Raises CallFailed."""
    version = next((v for v in versions if v in KNOWN), None)
    if version is None:
        text = "webhook does not accept known AdmissionReview versions (v1, v1beta1)"
        raise CallFailed(f"could not create admission objects: {text}")
    uid = str(uuid.uuid4())
    request = {"uid": uid, **request_of(a, match), "object": obj, "oldObject": old, "options": options_of(a)}
    return uid, {"kind": "AdmissionReview", "apiVersion": f"admission.k8s.io/{version}", "request": request}


def understand(body: bytes, uid: str, version: str, *, mutating: bool) -> Answer:
    """Return the answer in the body of a response. Raises CallFailed."""
    try:
        review = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise CallFailed(f"failed to call webhook: {error}") from error
    response = review.get("response") if isinstance(review, dict) else None
    if not isinstance(response, dict):
        raise _nonsense("webhook response was absent")
    if version == "admission.k8s.io/v1":
        if response.get("uid") != uid:
            raise _nonsense(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
        got = (review.get("apiVersion", ""), review.get("kind", ""))
        if got != ("admission.k8s.io/v1", "AdmissionReview"):
            raise _nonsense(f"expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {got[0]}, Kind={got[1]}")
    return Answer(
        allowed=bool(response.get("allowed")),
        patch=_patch(response, version, mutating=mutating),
        result=response.get("status"),
        warnings=tuple(response.get("warnings") or ()),
        annotations=response.get("auditAnnotations") or {},
    )


def refusal(name: str, result: Object | None) -> ApiError:
    """Return what a client is told of a refusal."""
    status: Object = result or {}
    denied = f'admission webhook "{name}" denied the request'
    text = status.get("message") or status.get("reason")
    code = status.get("code") or 0
    error = ApiError(
        f"{denied}: {text}" if text else f"{denied} without explanation",
        details=status.get("details"),
        code=max(code, 400),
        reason=status.get("reason") or "",
    )
    error.metadata = status.get("metadata") or {}
    return error


def _patch(response: Object, version: str, *, mutating: bool) -> Sequence[Object]:
    given, kind = response.get("patch"), response.get("patchType")
    if version == "admission.k8s.io/v1":
        if not mutating and given:
            raise _nonsense("validating webhook may not return response.patch")
        if not mutating and kind is not None:
            raise _nonsense("validating webhook may not return response.patchType")
        if given and kind is None:
            raise _nonsense("webhook returned response.patch but not response.patchType")
        if not given and kind is not None:
            raise _nonsense("webhook returned response.patchType but not response.patch")
    if not given or not mutating:
        return ()
    if kind not in (None, "JSONPatch"):
        raise CallFailed(f'unsupported patch type "{kind}"')
    try:
        patch: Any = orjson.loads(base64.b64decode(given))
    except (binascii.Error, ValueError, TypeError) as error:
        raise CallFailed(f"received undecodable patch in webhook response: {error}") from error
    if not isinstance(patch, list):
        raise CallFailed("received undecodable patch in webhook response: it is no list")
    return patch


def _nonsense(why: str) -> CallFailed:
    return CallFailed(f"received invalid webhook response: {why}")
