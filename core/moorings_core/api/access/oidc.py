"""Tokens of an OpenID Connect issuer: its keys come from its discovery document, the user from the token's claims.

Source: OpenID Connect Discovery 1.0; claims, prefixes and their defaults are upstream's --oidc-* flags.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

import jwt

from moorings_core.api.context import User
from moorings_core.ports.cluster import OidcConfig
from moorings_core.ports.errors import MooringsError

from .accounts import Rejected

FETCH_SECONDS = 10.0
COOLDOWN_SECONDS = 1.0
"""How soon a token with an unknown key makes the keys be fetched again: anybody can make up such tokens"""
MOST_KEPT = 1024
DISCOVERY = "/.well-known/openid-configuration"
BYTES_MOST = 1 << 20


class UnusableIssuer(MooringsError):
    """What the cluster file says of an issuer does not hold on this machine."""

    exit_code = 2


class Issuer:
    """One trusted issuer."""

    def __init__(self, config: OidcConfig) -> None:
        self._config = config
        self._keys: jwt.PyJWKClient | None = None
        self._kept: dict[str, Mapping[str, Any]] = {}
        try:
            self._tls = ssl.create_default_context(cafile=config.ca_file or None)
        except (OSError, ssl.SSLError) as error:
            raise UnusableIssuer(f"server.oidc: the authority of {config.issuer}, {config.ca_file}: {error}") from error

    def speaks_for(self, token: str) -> bool:
        """Whether a token says that it is of this issuer; nothing is verified."""
        try:
            claims: Mapping[str, Any] = jwt.decode(token, options={"verify_signature": False})
        except jwt.InvalidTokenError:
            return False
        return claims.get("iss") == self._config.issuer

    async def user(self, token: str) -> User:
        """Return the user of a token. Raises Rejected."""
        claims = self._kept.get(token)
        if claims is None:
            try:
                claims = await asyncio.to_thread(self._verify, token)
            except (OSError, ValueError, jwt.PyJWTError) as error:
                raise Rejected(f"oidc: verify token: {error}") from error
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[token] = claims
        if claims["exp"] <= time.time():
            raise Rejected("oidc: verify token: oidc: token is expired")
        return user_of(claims, self._config)

    def _verify(self, token: str) -> Mapping[str, Any]:
        if self._keys is None:
            document = self._discover()
            tls, patience = self._tls, FETCH_SECONDS
            self._keys = jwt.PyJWKClient(document["jwks_uri"], ssl_context=tls, timeout=patience, cooldown_duration=COOLDOWN_SECONDS)
        key = self._keys.get_signing_key_from_jwt(token)
        config = self._config
        options: Any = {"require": ["exp", "iss", "aud"]}
        claims: Mapping[str, Any] = jwt.decode(
            token, key, list(config.signing_algorithms), audience=config.client_id, issuer=config.issuer, options=options
        )
        return claims

    def _discover(self) -> Mapping[str, Any]:
        url = self._config.issuer.rstrip("/") + DISCOVERY
        with urllib.request.urlopen(url, context=self._tls, timeout=FETCH_SECONDS) as answer:
            document: Mapping[str, Any] = json.loads(answer.read(BYTES_MOST))
        if document.get("issuer") != self._config.issuer:
            raise ValueError(f"the issuer calls itself {document.get('issuer')!r}, not {self._config.issuer!r}")
        return document


def user_of(claims: Mapping[str, Any], config: OidcConfig) -> User:
    """Return the user that verified claims stand for. Raises Rejected."""
    name = claims.get(config.username_claim)
    if not isinstance(name, str) or not name:
        raise Rejected(f'oidc: parse username claims "{config.username_claim}": claim not present')
    if config.username_claim == "email" and claims.get("email_verified", True) is not True:
        raise Rejected("oidc: email not verified")
    for claim, value in config.required_claims.items():
        if claims.get(claim) != value:
            raise Rejected(f"oidc: required claim {claim} value does not match")
    groups = tuple(f"{config.groups_prefix}{group}" for group in _groups(claims, config.groups_claim))
    return User(f"{_prefix(config)}{name}", (*groups, "system:authenticated"))


def _prefix(config: OidcConfig) -> str:
    """Return what stands before names, so that no issuer can name a user of another: only an e-mail address does without."""
    if config.username_prefix is not None:
        return config.username_prefix
    return "" if config.username_claim == "email" else f"{config.issuer}#"


def _groups(claims: Mapping[str, Any], claim: str) -> Sequence[str]:
    found = claims.get(claim, []) if claim else []
    groups = [found] if isinstance(found, str) else found
    if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
        raise Rejected(f'oidc: parse groups claim "{claim}": json: cannot unmarshal')
    return groups
