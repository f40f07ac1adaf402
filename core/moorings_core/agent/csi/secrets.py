"""What drivers are told in confidence, read anew for every call."""

from __future__ import annotations

import base64

from moorings_core.client.resources import SECRETS
from moorings_core.ports.client import Client
from moorings_core.ports.objects import Key, Object


async def read(client: Client, secret: Key | None) -> dict[str, str]:
    """Return the data of a secret, nothing where none is named. Raises ApiError."""
    if secret is None:
        return {}
    found = await client.get(SECRETS, secret.name, secret.namespace)
    return {k: base64.b64decode(v).decode() for k, v in (found.get("data") or {}).items()}


def key(reference: Object | None) -> Key | None:
    """Return the secret that a SecretReference names."""
    return Key(reference["namespace"], reference["name"]) if reference and reference.get("name") else None
