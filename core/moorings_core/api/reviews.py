"""Answers that are computed, not stored: who am I, may I, is this token good; and tokens for service accounts."""

from __future__ import annotations

import datetime
import time

from moorings_core.ports.errors import BadRequest
from moorings_core.ports.objects import Key, Object, Resource
from moorings_core.registry.schema import named as schema_named
from moorings_core.registry.selectors import FieldSelector, parse_fields
from moorings_core.registry.validation import to_invalid
from moorings_core.registry.validation.errors import FieldError, invalid

from . import managing, problems
from .access.accounts import Accounts, Rejected
from .access.attributes import Attributes
from .access.authorizer import Access
from .access.node import node_of
from .access.rbac import Rbac
from .apply.managers import UPDATE, Manager
from .authentication import Authenticator
from .cache import Cache
from .context import Context, User

TOKEN_SECONDS, TOKEN_LEAST, TOKEN_MOST = 3600, 600, 1 << 32
ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount", True)
BOUND_KINDS = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}
TOKENS = Resource("authentication.k8s.io", "v1", "tokenrequests", "TokenRequest", True)
ASKED = ("verb", "group", "resource", "subresource", "namespace", "name")
QUESTIONS = Resource("authorization.k8s.io", "v1", "", "", False)


class Reviews:
    """Computes reviews and issues tokens."""

    def __init__(self, cache: Cache, authenticator: Authenticator, accounts: Accounts, access: Access, rbac: Rbac) -> None:
        self._cache, self._authenticator, self._accounts = cache, authenticator, accounts
        self._access, self._rbac = access, rbac

    async def review(self, plural: str, namespace: str, body: Object, user: User) -> Object:
        """Return the answered review of a kind."""
        body = {**body, "metadata": {**body.get("metadata", {}), "creationTimestamp": None}}
        spec = body.get("spec") or {}
        match plural:
            case "selfsubjectreviews":
                return body | {"status": {"userInfo": _info(user)}}
            case "selfsubjectaccessreviews":
                _check_question(spec)
                return body | {"status": self._answer(user, spec)}
            case "subjectaccessreviews" | "localsubjectaccessreviews":
                _check_question(spec, whose=True, body=body, namespace=namespace)
                if namespace:
                    body["metadata"]["namespace"] = namespace
                return body | {"status": self._answer(_subject(spec), spec)}
            case "selfsubjectrulesreviews":
                return body | {"status": self._rules(user, spec.get("namespace", ""))}
        if not spec.get("token"):
            raise BadRequest("token is required for TokenReview in authentication")
        return body | {"status": await self._token_status(spec)}

    def token(self, key: Key, body: Object, context: Context) -> Object:
        """Return a TokenRequest with a token for a service account. Raises NotFound, BadRequest, Conflict, Forbidden."""
        metadata, spec = body.get("metadata") or {}, body.get("spec") or {}
        for field, have in (("name", key.name), ("namespace", key.namespace)):
            if metadata.get(field) not in (None, "", have):
                text = f"must match the service account {field} if specified"
                raise to_invalid(TOKENS, key.name, [invalid(f"metadata.{field}", metadata[field], text)])
        account = self._cache.collection("", "serviceaccounts").get(key)
        if account is None:
            raise problems.not_found(ACCOUNTS, key.name)
        uid = account.object["metadata"]["uid"]
        if metadata.get("uid") not in (None, "", uid):
            text = f"the UID in the token request ({metadata['uid']}) does not match the UID of the service account ({uid})"
            raise problems.conflict(Resource("authentication.k8s.io", "v1", "TokenRequest", "TokenRequest", True), key.name, text)
        seconds = spec.get("expirationSeconds") or TOKEN_SECONDS
        if not TOKEN_LEAST <= seconds <= TOKEN_MOST:
            limit = "less than 10 minutes" if seconds < TOKEN_LEAST else "larger than 2^32 seconds"
            raise to_invalid(TOKENS, "", [invalid("spec.expirationSeconds", seconds, f"may not specify a duration {limit}")])
        if context.guard is not None:
            named = {**body, "metadata": {**metadata, "name": key.name, "namespace": key.namespace}}
            context.guard("CREATE", ACCOUNTS, "token", named, None)
        writer = Manager(managing.name_of(context), UPDATE, TOKENS.api_version, "token")
        said: Object = {"metadata": {}, "spec": {**spec, "expirationSeconds": seconds}}
        made = self._issued(account.object, key, spec, seconds)
        made["metadata"]["managedFields"] = managing.of_new(said, schema_named("io.k8s.api.authentication.v1.TokenRequest"), writer)
        return made

    def _issued(self, account: Object, key: Key, spec: Object, seconds: int) -> Object:
        audiences = spec.get("audiences") or list(self._accounts.audiences)
        now = int(time.time())
        token = self._accounts.token(account, self._bound(key, spec.get("boundObjectRef")), audiences, seconds)
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {
                "name": key.name,
                "namespace": key.namespace,
                "uid": account["metadata"]["uid"],
                "creationTimestamp": _moment(now),
            },
            "spec": {"boundObjectRef": None, **spec, "audiences": audiences, "expirationSeconds": seconds},
            "status": {"token": token, "expirationTimestamp": _moment(now + seconds)},
        }

    def _bound(self, key: Key, reference: Object | None) -> dict[str, Object]:
        """Return the objects that a token is bound to, by the claim that names them."""
        if not reference:
            return {}
        kind, version, name = reference.get("kind", ""), reference.get("apiVersion", ""), reference.get("name", "")
        plural = BOUND_KINDS.get(kind) if version in ("", "v1") else None
        if plural is None:
            group, _, short = version.rpartition("/")
            raise BadRequest(f"cannot bind token to object of type {group}/{short}, Kind={kind}")
        found = self._cache.collection("", plural).get(Key("" if plural == "nodes" else key.namespace, name))
        resource = Resource("", "v1", plural, kind, plural != "nodes")
        if found is None:
            raise problems.not_found(resource, name)
        obj = found.object
        if kind == "Pod" and obj["spec"].get("serviceAccountName") != key.name:
            raise BadRequest(f'cannot bind token for serviceaccount "{key.name}" to pod running with different serviceaccount name.')
        if reference.get("uid") not in (None, "", obj["metadata"]["uid"]):
            text = f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record. "
            text += "The object might have been deleted and then recreated"
            raise problems.conflict(Resource("", "v1", kind, kind, True), name, text)
        return {kind.lower(): obj} | (self._node_of(obj) if kind == "Pod" else {})

    def _node_of(self, pod: Object) -> dict[str, Object]:
        name = pod["spec"].get("nodeName")
        if not name:
            return {}
        found = self._cache.collection("", "nodes").get(Key("", name))
        return {"node": found.object if found else {"metadata": {"name": name}}}

    def _answer(self, user: User, spec: Object) -> Object:
        asked, problem = _question(user, spec)
        decision = self._access.decide(asked)
        errors = "; ".join(filter(None, (decision.error, problem)))
        status: Object = {"allowed": decision.allowed}
        return status | ({"reason": decision.reason} if decision.reason else {}) | ({"evaluationError": errors} if errors else {})

    def _rules(self, user: User, namespace: str) -> Object:
        if not namespace:
            raise BadRequest("no namespace on request")
        found = self._rbac.permissions(user, namespace)
        errors, incomplete = list(found.errors), node_of(user) is not None
        if incomplete:
            errors.append("node authorizer does not support user rule resolution")
        rules = [rule.source for rule, _ in found.rules]
        fields = ("verbs", "apiGroups", "resources", "resourceNames")
        status: Object = {
            "resourceRules": [{f: r[f] for f in fields if r.get(f)} for r in rules if r.get("resources")],
            "nonResourceRules": [{f: r[f] for f in ("verbs", "nonResourceURLs")} for r in rules if r.get("nonResourceURLs")],
            "incomplete": incomplete,
        }
        return status | ({"evaluationError": ", ".join(errors)} if errors else {})

    async def _token_status(self, spec: Object) -> Object:
        try:
            known = await self._authenticator.by_token(spec["token"], spec.get("audiences") or ())
        except Rejected as error:
            return {"user": {}, "error": str(error)}
        return {"authenticated": True, "user": _info(known.user), "audiences": list(known.audiences)}


def _check_question(spec: Object, *, whose: bool = False, body: Object | None = None, namespace: str = "") -> None:
    errors: list[FieldError] = []
    if (spec.get("resourceAttributes") is None) is (spec.get("nonResourceAttributes") is None):
        text = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        errors.append(invalid("spec", _as_go(spec.get("nonResourceAttributes")), text))
    if whose and not spec.get("user") and not spec.get("groups"):
        errors.append(invalid("spec.user", spec.get("user", ""), "at least one of user or group must be specified"))
    if namespace:
        errors += _check_local(spec, (body or {}).get("metadata", {}), namespace)
    if errors:
        raise to_invalid(QUESTIONS, "", errors)


def _check_local(spec: Object, metadata: Object, namespace: str) -> list[FieldError]:
    if metadata.get("namespace") not in (None, "", namespace):
        raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
    errors = []
    given = spec.get("resourceAttributes")
    if given is not None and given.get("namespace", "") != namespace:
        errors.append(invalid("spec.resourceAttributes.namespace", given.get("namespace", ""), "must match metadata.namespace"))
    if spec.get("nonResourceAttributes") is not None:
        errors.append(invalid("spec.nonResourceAttributes", _as_go(spec["nonResourceAttributes"]), "disallowed on this kind of request"))
    return errors


def _question(user: User, spec: Object) -> tuple[Attributes, str]:
    """Return what a review asks, and what of it could not be read."""
    other = spec.get("nonResourceAttributes")
    if other is not None:
        return Attributes(user, other.get("verb", ""), path=other.get("path", "") or "/"), ""
    about = spec["resourceAttributes"]
    fields, problem = _selected(about.get("fieldSelector") or {})
    verb, group, plural, subresource, namespace, name = (about.get(part) or "" for part in ASKED)
    return Attributes(user, verb, group, plural, subresource, namespace, name, fields=fields), problem


def _selected(selector: Object) -> tuple[FieldSelector, str]:
    try:
        if selector.get("rawSelector"):
            return parse_fields(selector["rawSelector"]), ""
    except ValueError:
        return FieldSelector(), "spec.resourceAttributes.fieldSelector ignored due to parse error"
    known = [r for r in selector.get("requirements") or () if r.get("operator") in ("In", "NotIn") and len(r.get("values") or ()) == 1]
    found = FieldSelector(tuple((r["key"], r["values"][0], r["operator"] == "In") for r in known))
    if len(known) == len(selector.get("requirements") or ()):
        return found, ""
    return found, f"spec.resourceAttributes.fieldSelector {'partially ' if known else ''}ignored due to parse error"


def _as_go(attributes: Object | None) -> Object | None:
    """Return what upstream shows of a value: its structure, whose fields have other names than the API's."""
    return None if attributes is None else {"Path": attributes.get("path", ""), "Verb": attributes.get("verb", "")}


def _subject(spec: Object) -> User:
    extra = {key: tuple(values or ()) for key, values in (spec.get("extra") or {}).items()}
    return User(spec.get("user", ""), tuple(spec.get("groups") or ()), spec.get("uid", ""), extra)


def _moment(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _info(user: User) -> Object:
    info: Object = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        info["uid"] = user.uid
    return info | ({"extra": {k: list(v) for k, v in user.extra.items()}} if user.extra else {})
