"""Answers that are computed, not stored: who am I, may I, is this token good; and tokens for service accounts."""

from __future__ import annotations

import datetime
import time

from moorings_core.pki.tokens import TokenSigner
from moorings_core.ports.errors import BadRequest
from moorings_core.ports.objects import Key, Object, Resource
from moorings_core.registry.validation import to_invalid
from moorings_core.registry.validation.errors import invalid

from . import problems
from .authentication import Authenticator
from .cache import Cache
from .context import User

TOKEN_SECONDS, TOKEN_LEAST, TOKEN_MOST = 3600, 600, 1 << 32
ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount", True)
BOUND_KINDS = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}
TOKENS = Resource("authentication.k8s.io", "v1", "tokenrequests", "TokenRequest", True)
QUESTIONS = Resource("authorization.k8s.io", "v1", "", "", False)


class Reviews:
    """Computes reviews and issues tokens."""

    def __init__(self, cache: Cache, authenticator: Authenticator, signer: TokenSigner, audience: str) -> None:
        self._cache, self._authenticator, self._signer, self._audience = cache, authenticator, signer, audience

    def review(self, plural: str, body: Object, user: User) -> Object:
        """Return the answered review of a kind."""
        body = {**body, "metadata": {**body.get("metadata", {}), "creationTimestamp": None}}
        match plural:
            case "selfsubjectreviews":
                return body | {"status": {"userInfo": _info(user)}}
            case "selfsubjectaccessreviews" | "subjectaccessreviews" | "localsubjectaccessreviews" if not _one_question(body):
                text = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
                raise to_invalid(QUESTIONS, "", [invalid("spec", None, text)])
            case "selfsubjectaccessreviews" | "subjectaccessreviews" | "localsubjectaccessreviews":
                return body | {"status": {"allowed": True}}
            case "selfsubjectrulesreviews":
                everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
                urls = {"verbs": ["*"], "nonResourceURLs": ["*"]}
                rules = {"resourceRules": [everything], "nonResourceRules": [urls], "incomplete": False}
                return body | {"status": rules}
        return body | {"status": self._token_status(body.get("spec", {}))}

    def token(self, key: Key, body: Object) -> Object:
        """Return a TokenRequest with a token for a service account. Raises NotFound, BadRequest, Conflict."""
        account = self._cache.collection("", "serviceaccounts").get(key)
        if account is None:
            raise problems.not_found(ACCOUNTS, key.name)
        spec = body.get("spec") or {}
        seconds = spec.get("expirationSeconds") or TOKEN_SECONDS
        if not TOKEN_LEAST <= seconds <= TOKEN_MOST:
            limit = "less than 10 minutes" if seconds < TOKEN_LEAST else "larger than 2^32 seconds"
            raise to_invalid(TOKENS, "", [invalid("spec.expirationSeconds", seconds, f"may not specify a duration {limit}")])
        audiences = spec.get("audiences") or [self._audience]
        now = int(time.time())
        bound: Object = {"namespace": key.namespace, "serviceaccount": _reference(account.object)}
        bound |= self._bound_object(key.namespace, spec.get("boundObjectRef"))
        subject = f"system:serviceaccount:{key.namespace}:{key.name}"
        claims = {"sub": subject, "aud": audiences, "iat": now, "nbf": now, "exp": now + seconds, "kubernetes.io": bound}
        end = datetime.datetime.fromtimestamp(now + seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        status = {"token": self._signer.sign(claims), "expirationTimestamp": end}
        metadata = {"name": key.name, "namespace": key.namespace, "creationTimestamp": None}
        full = {"boundObjectRef": None, **spec, "audiences": audiences, "expirationSeconds": seconds}
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": metadata,
            "spec": full,
            "status": status,
        }

    def _bound_object(self, namespace: str, reference: Object | None) -> Object:
        if not reference:
            return {}
        plural = BOUND_KINDS.get(reference.get("kind", ""))
        if plural is None:
            raise BadRequest(f"cannot bind token for serviceaccount to object type {reference.get('kind')}")
        found = self._cache.collection("", plural).get(Key("" if plural == "nodes" else namespace, reference.get("name", "")))
        resource = Resource("", "v1", plural, reference["kind"], plural != "nodes")
        if found is None:
            raise problems.not_found(resource, reference.get("name", ""))
        uid = found.object["metadata"]["uid"]
        if reference.get("uid") not in (None, "", uid):
            raise problems.conflict(
                resource, reference["name"], f"the UID in the bound object reference ({reference['uid']}) does not match"
            )
        return {reference["kind"].lower(): _reference(found.object)}

    def _token_status(self, spec: Object) -> Object:
        audiences = tuple(spec.get("audiences") or ())
        user = self._authenticator.by_token(spec.get("token", ""), audiences)
        if user is None:
            return {"user": {}, "error": "invalid bearer token"}
        return {"authenticated": True, "user": _info(user), "audiences": list(audiences or (self._audience,))}


def _one_question(review: Object) -> bool:
    spec = review.get("spec") or {}
    return (spec.get("resourceAttributes") is None) is not (spec.get("nonResourceAttributes") is None)


def _reference(obj: Object) -> Object:
    return {"name": obj["metadata"]["name"], "uid": obj["metadata"]["uid"]}


def _info(user: User) -> Object:
    info: Object = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        info["uid"] = user.uid
    return info | ({"extra": {k: list(v) for k, v in user.extra.items()}} if user.extra else {})
