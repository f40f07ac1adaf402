"""Service-account tokens: JSON Web Tokens signed with ES256, bound to audience, expiry and (by claims) to objects.

Source: RFC 7519; the claim layout is upstream's ("kubernetes.io" with namespace, serviceaccount, pod, node).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from moorings_core import durable
from moorings_core.ports.errors import MooringsError

ALGORITHM = "ES256"
Claims = Mapping[str, Any]
LEGACY_ISSUER = "kubernetes/serviceaccount"
"""Who issued the tokens that stand in Secrets and never expire"""
ACCOUNT = "kubernetes.io/serviceaccount/"


class InvalidToken(MooringsError):
    """The token is malformed, not ours, expired or for another audience."""


class ExpiredToken(InvalidToken):
    """The token was good once."""


class TokenSigner:
    """Signs and verifies tokens of one issuer with one key."""

    def __init__(self, key_pem: bytes, issuer: str) -> None:
        key = serialization.load_pem_private_key(key_pem, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("the token key is not an elliptic-curve key")
        self.issuer = issuer
        self._private, self._public = key, key.public_key()
        spki = self._public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.key_id = base64.urlsafe_b64encode(hashlib.sha256(spki).digest()).rstrip(b"=").decode()

    @classmethod
    def load_or_create(cls, path: Path, issuer: str) -> TokenSigner:
        """Load the key from path, or make one and write it there (0600)."""
        if not path.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
            durable.write(path, key.private_bytes(encoding, form, serialization.NoEncryption()))
        return cls(path.read_bytes(), issuer)

    def sign(self, claims: Claims) -> str:
        """Return a token with these claims; `iss` is set, `exp` and `aud` are the caller's to give."""
        return jwt.encode({"iss": self.issuer, **claims}, self._private, ALGORITHM, {"kid": self.key_id})

    def verify(self, token: str, audiences: Sequence[str] = ()) -> Claims:
        """Return the claims of a valid token, for any audience when none is given. Raises InvalidToken."""
        options: Any = {"require": ["exp", "iss", "sub"], "verify_aud": bool(audiences)}
        try:
            claims: dict[str, Any] = jwt.decode(
                token, self._public, [ALGORITHM], options=options, issuer=self.issuer, audience=list(audiences) or None
            )
        except jwt.ExpiredSignatureError as error:
            raise ExpiredToken(str(error)) from error
        except jwt.InvalidTokenError as error:
            raise InvalidToken(str(error)) from error
        return claims

    def verify_legacy(self, token: str) -> Claims:
        """Return the claims of a token of a Secret: it has neither audience nor end. Raises InvalidToken."""
        try:
            options: Any = {"require": ["iss", "sub"], "verify_aud": False}
            claims: dict[str, Any] = jwt.decode(token, self._public, [ALGORITHM], options=options, issuer=LEGACY_ISSUER)
        except jwt.InvalidTokenError as error:
            raise InvalidToken(str(error)) from error
        return claims

    def jwks(self) -> bytes:
        """Return the public key as the JSON Web Key Set served at /openid/v1/jwks."""
        key = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self._public))
        return json.dumps({"keys": [key | {"use": "sig", "alg": ALGORITHM, "kid": self.key_id}]}).encode()


def legacy_claims(account: Mapping[str, Any], secret: str) -> dict[str, str]:
    """Return what stands in the token of a Secret; account is the metadata of its account."""
    return {
        "iss": LEGACY_ISSUER,
        "sub": f"system:serviceaccount:{account['namespace']}:{account['name']}",
        f"{ACCOUNT}namespace": account["namespace"],
        f"{ACCOUNT}secret.name": secret,
        f"{ACCOUNT}service-account.name": account["name"],
        f"{ACCOUNT}service-account.uid": account["uid"],
    }
