"""Tokens of pods' service accounts: asked of the API when needed, kept for most of their time. Source: the kubelet's token manager."""

from __future__ import annotations

import datetime
import time
from typing import NamedTuple

from moorings_core.client.resources import SERVICE_ACCOUNTS
from moorings_core.ports.client import Client
from moorings_core.ports.objects import Object

RENEW_AT = 0.8
SECONDS = 3600


class Token(NamedTuple):
    """A token and when it ends, as the API writes times."""

    text: str
    expires: str


class PodTokens:
    """The tokens of this node's pods."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[tuple[str, str, str, int], tuple[Token, float]] = {}

    async def get(self, pod: Object, audience: str = "", seconds: int = SECONDS) -> Token:
        """Return a token for an audience ("": the API's own) that lives that long when it is new. Raises ApiError."""
        metadata, account = pod["metadata"], pod["spec"].get("serviceAccountName", "default")
        key = (metadata["uid"], account, audience, seconds)
        known = self._known.get(key)
        if known is not None and known[1] > time.time():
            return known[0]
        bound = {"kind": "Pod", "apiVersion": "v1", "name": metadata["name"], "uid": metadata["uid"]}
        spec: Object = {"expirationSeconds": seconds, "boundObjectRef": bound} | ({"audiences": [audience]} if audience else {})
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        request["metadata"] = {"namespace": metadata["namespace"]}
        status = (await self._client.create(SERVICE_ACCOUNTS, request, subresource="token", name=account))["status"]
        token = Token(status["token"], status["expirationTimestamp"])
        end = datetime.datetime.fromisoformat(token.expires).timestamp()
        self._known[key] = (token, time.time() + (end - time.time()) * RENEW_AT)
        return token

    def forget(self, pod_uid: str) -> None:
        """Drop the tokens of a pod that is gone."""
        for key in [k for k in self._known if k[0] == pod_uid]:
            del self._known[key]
