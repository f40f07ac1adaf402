"""Who is calling: by client certificate (CN is the user, O the groups), or by bearer token."""

from __future__ import annotations

from collections.abc import Mapping

from moorings_core.pki.tokens import InvalidToken, TokenSigner
from moorings_core.ports.errors import Unauthorized
from moorings_core.ports.objects import Key

from .cache import Cache
from .context import ANONYMOUS, User
from .http.message import Request

AUTHENTICATED = "system:authenticated"
ACCOUNT = "system:serviceaccount:"


class Authenticator:
    """Certificates are checked by TLS; tokens here. static maps tokens of a file to users."""

    def __init__(self, cache: Cache, signer: TokenSigner, audiences: tuple[str, ...], static: Mapping[str, User]) -> None:
        self._cache, self._signer, self._audiences, self._static = cache, signer, audiences, static

    def user(self, request: Request) -> User:
        """Return the caller, ANONYMOUS without credentials. Raises Unauthorized for bad ones."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token:
            found = self._static.get(token.strip()) or self.by_token(token.strip())
            if found is None:
                raise Unauthorized("Unauthorized")
            return found
        names = request.peer.get("commonName", ())
        if not names:
            return ANONYMOUS
        return User(names[0], (*request.peer.get("organizationName", ()), AUTHENTICATED))

    def by_token(self, token: str, audiences: tuple[str, ...] = ()) -> User | None:
        """Return the service account of a valid token whose objects still exist, or None."""
        try:
            claims = self._signer.verify(token, audiences or self._audiences)
        except InvalidToken:
            return None
        bound = claims.get("kubernetes.io", {})
        namespace, account = bound.get("namespace", ""), bound.get("serviceaccount", {})
        if not self._lives("serviceaccounts", namespace, account) or not self._lives("pods", namespace, bound.get("pod")):
            return None
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
        extra = {}
        if bound.get("pod"):
            extra["authentication.kubernetes.io/pod-name"] = (bound["pod"]["name"],)
            extra["authentication.kubernetes.io/pod-uid"] = (bound["pod"]["uid"],)
        return User(f"{ACCOUNT}{namespace}:{account['name']}", groups, account["uid"], extra)

    def _lives(self, plural: str, namespace: str, reference: Mapping[str, str] | None) -> bool:
        if not reference:
            return plural == "pods"
        found = self._cache.collection("", plural).get(Key(namespace, reference["name"]))
        return found is not None and found.object["metadata"]["uid"] == reference.get("uid")
