"""Tokens by which new machines join: Secrets of type bootstrap.kubernetes.io/token in kube-system.

Source: upstream's bootstrap token authenticator and k8s.io/cluster-bootstrap.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import hmac
import re

from moorings_core.api.cache import Cache
from moorings_core.api.context import User
from moorings_core.log import get_logger
from moorings_core.ports.objects import Key, Object

log = get_logger(__name__)
TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
GROUP = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]")
TYPE, NAMESPACE, BASE_GROUP = "bootstrap.kubernetes.io/token", "kube-system", "system:bootstrappers"


def check(cache: Cache, token: str) -> User | None:
    """Return the user of a bootstrap token that is there, whole, not expired and meant for authentication; None otherwise."""
    parts = TOKEN.fullmatch(token)
    if parts is None:
        return None
    identity, secret = parts.groups()
    stored = cache.collection("", "secrets").get(Key(NAMESPACE, f"bootstrap-token-{identity}"))
    if stored is None or stored.object.get("type") != TYPE or "deletionTimestamp" in stored.object["metadata"]:
        return None
    try:
        data = {k: base64.b64decode(v).decode() for k, v in (stored.object.get("data") or {}).items()}
    except (binascii.Error, UnicodeDecodeError):
        return None
    if not hmac.compare_digest(data.get("token-secret", ""), secret) or data.get("token-id") != identity:
        return None
    if not _is_live(data) or data.get("usage-bootstrap-authentication") != "true":
        return None
    groups = _groups(data, identity)
    return None if groups is None else User(f"system:bootstrap:{identity}", (*groups, "system:authenticated"))


def _is_live(data: Object) -> bool:
    text = data.get("expiration", "")
    if not text:
        return True
    try:
        end = datetime.datetime.fromisoformat(text)
    except ValueError:
        return False
    return end.tzinfo is not None and end > datetime.datetime.now(datetime.UTC)


def _groups(data: Object, identity: str) -> tuple[str, ...] | None:
    given = {group.strip() for group in data.get("auth-extra-groups", "").split(",")} - {""}
    wrong = sorted(group for group in given if not GROUP.fullmatch(group))
    if wrong:
        log.warning("bootstrap token with a wrong group", token=identity, group=wrong[0])
        return None
    return tuple(sorted(given | {BASE_GROUP}))
