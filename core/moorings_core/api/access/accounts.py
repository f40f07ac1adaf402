"""Service-account tokens: what stands in them, and whether what they are bound to is still there.

Source: upstream's pkg/serviceaccount claims; the extra fields that tell pod, node and credential are upstream's.
"""

from __future__ import annotations

import base64
import datetime
import hmac
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from moorings_core.api.cache import Cache, Stored
from moorings_core.api.context import Context, User
from moorings_core.pki.tokens import ACCOUNT as LEGACY_CLAIM
from moorings_core.pki.tokens import LEGACY_ISSUER, ExpiredToken, InvalidToken, TokenSigner
from moorings_core.ports.objects import Key, Object

from .rbac import ACCOUNT

LEEWAY = 60.0
"""Seconds for which a token outlives the mark of deletion on what it is bound to"""
EXTENDED_FROM, EXTENDED_TO = 3607, 365 * 24 * 3600
"""A pod's token for this long, which is what every pod gets, lives longer: clients that never read it again go on. Upstream's numbers."""
INVALID_SINCE, LAST_USED = (f"kubernetes.io/legacy-token-{word}" for word in ("invalid-since", "last-used"))
"""Labels of Secrets: upstream's controller marks tokens that nobody uses, and the server says when one was used"""
UNASKED = "Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated secret-based tokens."
EXTRA, AUDIT = "authentication.kubernetes.io/", "authentication.k8s.io/"
MOST_KEPT = 4096
PLURALS = {"pod": "pods", "secret": "secrets", "node": "nodes"}


class Rejected(Exception):
    """A token that is ours and not, or no longer, good: why."""


class Accounts:
    """Makes and checks the tokens of service accounts. audiences are those of the API itself."""

    def __init__(self, cache: Cache, signer: TokenSigner, audiences: Sequence[str]) -> None:
        self._cache, self._signer, self.audiences = cache, signer, tuple(audiences)
        self._kept: dict[str, Mapping[str, Any]] = {}
        self.used: Callable[[Object], None] = lambda secret: None
        """Called with the Secret whose token somebody has shown"""

    def token(self, account: Object, bound: Mapping[str, Object], audiences: Sequence[str], seconds: int) -> str:
        """Return a token; bound maps "pod", "secret" or "node" to the object it is to end with."""
        now, metadata = int(time.time()), account["metadata"]
        private: Object = {"namespace": metadata["namespace"], "serviceaccount": _reference(account)}
        private |= {kind: _reference(obj) for kind, obj in bound.items()}
        if "pod" in bound and seconds == EXTENDED_FROM and set(audiences) <= set(self.audiences):
            private["warnafter"], seconds = now + seconds, EXTENDED_TO
        claims = {
            "sub": f"{ACCOUNT}{metadata['namespace']}:{metadata['name']}",
            "aud": list(audiences),
            "iat": now,
            "nbf": now,
            "exp": now + seconds,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": private,
        }
        return self._signer.sign(claims)

    def check(self, token: str, audiences: Sequence[str], context: Context | None = None) -> tuple[User, tuple[str, ...]] | None:
        """Return the user of a token and those of the audiences that it is for; None: it is not ours. Raises Rejected.

        context: is told of a token that stands in a Secret.
        """
        claims = self._claims(token)
        if claims is None:
            return None
        if claims.get("iss") == LEGACY_ISSUER:
            return self._legacy(token, claims, context or Context()), self._implicit(audiences)
        fitting = tuple(a for a in audiences if a in _listed(claims.get("aud")))
        if not fitting:
            raise Rejected(f"token audiences {_go(_listed(claims.get('aud')))} is invalid for the target audiences {_go(audiences)}")
        bound = claims.get("kubernetes.io") or {}
        namespace = bound.get("namespace", "")
        self._check_account(namespace, bound.get("serviceaccount") or {})
        for kind, plural in PLURALS.items():
            if kind in bound and not (kind == "node" and "pod" in bound):
                self._check_bound(
                    kind, Key("" if kind == "node" else namespace, bound[kind].get("name", "")), plural, bound[kind].get("uid")
                )
        return _user(namespace, bound, claims.get("jti")), fitting

    def _implicit(self, audiences: Sequence[str]) -> tuple[str, ...]:
        """Return those of the audiences that a token without any is for: the API's own. Raises Rejected."""
        fitting = tuple(a for a in audiences if a in self.audiences)
        if not fitting:
            raise Rejected(f"token audiences {_go(self.audiences)} is invalid for the target audiences {_go(audiences)}")
        return fitting

    def _legacy(self, token: str, claims: Mapping[str, Any], context: Context) -> User:
        """Return the user of a token that stands in a Secret, which has to be there still, with this token. Raises Rejected."""
        fields = ("namespace", "secret.name", "service-account.name", "service-account.uid")
        namespace, name, account, uid = (str(claims.get(f"{LEGACY_CLAIM}{field}") or "") for field in fields)
        if claims.get("sub") != f"{ACCOUNT}{namespace}:{account}":
            raise Rejected("sub claim is invalid")
        stored = self._cache.collection("", "secrets").get(Key(namespace, name))
        if stored is None or stored.object["metadata"].get("deletionTimestamp"):
            raise Rejected("Token has been invalidated")
        secret = stored.object
        kept = (secret.get("data") or {}).get("token", "")
        if not hmac.compare_digest(kept.encode(), base64.b64encode(token.encode())):
            raise Rejected("Token does not match server's copy")
        self._check_account(namespace, {"name": account, "uid": uid})
        self.used(secret)
        if (secret["metadata"].get("labels") or {}).get(INVALID_SINCE):
            context.annotate(f"{AUDIT}legacy-token-invalidated", f"{name}/{namespace}")
            raise Rejected(
                f"the token in secret {namespace}/{name} for service account {namespace}/{account} has been marked invalid. Use tokens "
                "from the TokenRequest API or manually created secret-based tokens, or remove the "
                f"'{INVALID_SINCE}' label from the secret to temporarily allow use of this token"
            )
        self._tell(namespace, name, account, context)
        return _user(namespace, {"serviceaccount": {"name": account, "uid": uid}}, None)

    def _tell(self, namespace: str, name: str, account: str, context: Context) -> None:
        """Warn of a token that was made unasked, which is one that the account lists, and note which kind it is."""
        stored = self._cache.collection("", "serviceaccounts").get(Key(namespace, account))
        listed = (stored.object if stored is not None else {}).get("secrets") or ()
        if not any(reference.get("name") == name for reference in listed):
            context.annotate(f"{AUDIT}legacy-token-manual-secret", name)
            return
        context.warnings.append(UNASKED)
        context.annotate(f"{AUDIT}legacy-token-autogenerated-secret", name)

    def _claims(self, token: str) -> Mapping[str, Any] | None:
        """Return the claims of a token of ours, or None; what has been verified once is only looked at for its time."""
        known = self._kept.get(token)
        if known is None:
            try:
                known = self._signer.verify(token)
            except ExpiredToken:
                raise Rejected("service account token has expired") from None
            except InvalidToken:
                try:
                    known = self._signer.verify_legacy(token)
                except InvalidToken:
                    return None
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[token] = known
        if "exp" in known and known["exp"] + LEEWAY <= time.time():
            raise Rejected("service account token has expired")
        return known

    def _check_account(self, namespace: str, reference: Mapping[str, str]) -> None:
        name = reference.get("name", "")
        stored = self._cache.collection("", "serviceaccounts").get(Key(namespace, name))
        if stored is None:
            raise Rejected(f'serviceaccounts "{name}" not found')
        uid = stored.object["metadata"]["uid"]
        if uid != reference.get("uid"):
            raise Rejected(f"service account UID ({uid}) does not match claim ({reference.get('uid', '')})")
        if _is_gone(stored):
            raise Rejected(f"service account {namespace}/{name} has been deleted")

    def _check_bound(self, kind: str, key: Key, plural: str, uid: str | None) -> None:
        stored = self._cache.collection("", plural).get(key)
        if stored is None or _is_gone(stored):
            raise Rejected("service account token has been invalidated")
        have = stored.object["metadata"]["uid"]
        if have != uid:
            raise Rejected(f"{kind} UID ({have}) does not match service account {kind} ref claim ({uid or ''})")


def account_user(namespace: str, name: str) -> tuple[str, tuple[str, ...]]:
    """Return the user name and the groups of a service account, without those of everybody."""
    return f"{ACCOUNT}{namespace}:{name}", ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")


def _user(namespace: str, bound: Object, jti: str | None) -> User:
    account = bound["serviceaccount"]
    extra: dict[str, tuple[str, ...]] = {}
    if jti:
        extra[f"{EXTRA}credential-id"] = (f"JTI={jti}",)
    for kind in ("node", "pod"):
        for field in ("name", "uid"):
            if value := (bound.get(kind) or {}).get(field):
                extra[f"{EXTRA}{kind}-{field}"] = (value,)
    name, groups = account_user(namespace, account["name"])
    return User(name, (*groups, "system:authenticated"), account["uid"], extra)


def _is_gone(stored: Stored) -> bool:
    text = stored.object["metadata"].get("deletionTimestamp")
    return bool(text) and datetime.datetime.fromisoformat(text).timestamp() < time.time() - LEEWAY


def _reference(obj: Object) -> Object:
    return {field: obj["metadata"][field] for field in ("name", "uid") if obj["metadata"].get(field)}


def _listed(audience: Any) -> list[str]:
    return [audience] if isinstance(audience, str) else list(audience or ())


def _go(texts: Sequence[str]) -> str:
    return "[" + " ".join(f'"{text}"' for text in texts) + "]"
