"""Who is calling: by client certificate (CN is the user, O the groups), or by bearer token of a file, a service account, a joining
machine or an OpenID Connect issuer. The first that knows the caller is believed.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from moorings_core.ports.errors import Unauthorized

from .access import bootstrap_tokens
from .access.accounts import Accounts, Rejected
from .access.oidc import Issuer
from .cache import Cache
from .context import ANONYMOUS, Context, User
from .http.message import Request

AUTHENTICATED = "system:authenticated"
MOST_KEPT = 4096
WEBSOCKET_TOKEN = "base64url.bearer.authorization.k8s.io."


class Known(NamedTuple):
    """A caller by token; audiences are those of the asked ones that the token is for."""

    user: User
    audiences: tuple[str, ...]


class Authenticator:
    """Certificates are checked by TLS; tokens here. static maps tokens of a file to users."""

    def __init__(self, cache: Cache, accounts: Accounts, static: Mapping[str, User], issuers: Sequence[Issuer] = ()) -> None:
        self._cache, self._accounts, self._static, self._issuers = cache, accounts, static, issuers
        self._by_certificate: dict[tuple[str, tuple[str, ...]], User] = {}

    async def user(self, request: Request, context: Context | None = None) -> User:
        """Return the caller, ANONYMOUS without credentials. Raises Unauthorized for bad ones.

        context: is told what its caller and the audit log are to know of the credentials.
        """
        names = request.peer.get("commonName", ())
        if names:
            return self._certified(names[0], request.peer.get("organizationName", ()))
        token = _bearer(request)
        if not token:
            return ANONYMOUS
        try:
            return (await self.by_token(token, context=context)).user
        except Rejected:
            raise Unauthorized("Unauthorized") from None

    def _certified(self, name: str, groups: tuple[str, ...]) -> User:
        known = self._by_certificate.get((name, groups))
        if known is None:
            if len(self._by_certificate) >= MOST_KEPT:
                self._by_certificate.clear()
            known = self._by_certificate[name, groups] = User(name, (*groups, AUTHENTICATED))
        return known

    async def by_token(self, token: str, audiences: Sequence[str] = (), *, context: Context | None = None) -> Known:
        """Return whose token it is, for the API's own audiences where none are given. Raises Rejected with the reason."""
        wanted = tuple(audiences) or self._accounts.audiences
        if token in self._static:
            return Known(self._static[token], wanted)
        found = self._accounts.check(token, wanted, context)
        if found is not None:
            return Known(*found)
        joining = bootstrap_tokens.check(self._cache, token)
        if joining is not None:
            return Known(joining, wanted)
        for issuer in self._issuers:
            if issuer.speaks_for(token):
                return Known(await issuer.user(token), wanted)
        raise Rejected("invalid bearer token")


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    if "sec-websocket-protocol" in request.headers and request.headers.get("upgrade", "").lower() == "websocket":
        return _websocket_token(request)
    return ""


def _websocket_token(request: Request) -> str:
    """Return the token that a browser, which can set no other header, gives as a subprotocol; nobody behind us sees it."""
    offered = [p.strip() for p in request.headers["sec-websocket-protocol"].split(",")]
    given = [p for p in offered if p.startswith(WEBSOCKET_TOKEN)]
    if not given or len(given) == len(offered):
        return ""
    request.headers["sec-websocket-protocol"] = ", ".join(p for p in offered if p not in given)
    encoded = given[0][len(WEBSOCKET_TOKEN) :]
    try:
        return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        return "?"
