"""Takes away tokens that were made for accounts unasked and that nobody has used for a year: first their use, later the Secret.

Servers of long ago made such a Secret for every account and listed it there; whoever made one by hand is left alone. The server notes
at a Secret on which day its token was used, and since when it does so in a ConfigMap. Source: upstream's
pkg/controller/serviceaccount/legacy_serviceaccount_token_cleaner.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from moorings_core.client.resources import CONFIG_MAPS, PODS, SECRETS, SERVICE_ACCOUNTS
from moorings_core.ports.client import Delete, Patch
from moorings_core.ports.errors import Conflict, NotFound
from moorings_core.ports.objects import Object
from moorings_core.registry.pod_references import secrets

from . import moments
from .framework import Intent, Result, View, Watch, WorkKey
from .tokens import NAME, TYPE, UID

SWEEP: WorkKey = ("", "sweep")
TRACKING = "kube-apiserver-legacy-service-account-token-tracking"
LAST_USED, INVALID_SINCE = (f"kubernetes.io/legacy-token-{word}" for word in ("last-used", "invalid-since"))
UNUSED, EVERY = timedelta(days=365), timedelta(days=1)
DAY = "%Y-%m-%d"


class LegacyTokenCleaner:
    """Looks at all tokens once a day. unused: how long nobody may have used one."""

    name = "legacy-serviceaccount-token-cleaner-controller"

    def __init__(self, unused: timedelta = UNUSED) -> None:
        self._unused = unused

    def watches(self) -> Sequence[Watch]:
        """Reads Secrets, accounts and pods; what says since when use is noted makes it begin."""
        return (Watch(CONFIG_MAPS, _if_tracking), Watch(SECRETS, _nothing), Watch(SERVICE_ACCOUNTS, _nothing), Watch(PODS, _nothing))

    def reconcile(self, key: WorkKey, view: View, now: datetime) -> Result:
        """Mark or delete what has been unused for so long."""
        tracked = _day(((view.get(CONFIG_MAPS, TRACKING, "kube-system") or {}).get("data") or {}).get("since"))
        if tracked is None or now.replace(tzinfo=None) < tracked + timedelta(days=1) + self._unused:
            return Result(requeue_after=EVERY.total_seconds())
        last = now - self._unused
        old = [
            secret for secret in view.all(SECRETS) if secret.get("type") == TYPE and _is_unused(secret, last) and _is_listed(secret, view)
        ]
        mounted = {namespace: _mounted(view, namespace) for namespace in {secret["metadata"]["namespace"] for secret in old}}
        unused = [secret for secret in old if secret["metadata"]["name"] not in mounted[secret["metadata"]["namespace"]]]
        return Result([intent for secret in unused for intent in _ended(secret, now, last)], requeue_after=EVERY.total_seconds())


def _is_unused(secret: Object, last: datetime) -> bool:
    """Whether a Secret is older than that and its token was not used since; a day that can't be read says nothing of either."""
    created, used = moments.parse(secret["metadata"].get("creationTimestamp")), _labels(secret).get(LAST_USED)
    if secret["metadata"].get("deletionTimestamp") or created is None or created >= last:
        return False
    return used is None or (_day(used) is not None and used < last.strftime(DAY))


def _is_listed(secret: Object, view: View) -> bool:
    """Whether the Secret's account lists it, as those do that were made unasked."""
    annotations, metadata = secret["metadata"].get("annotations") or {}, secret["metadata"]
    account = view.get(SERVICE_ACCOUNTS, annotations.get(NAME, ""), metadata["namespace"])
    if account is None or annotations.get(UID, "") not in ("", account["metadata"]["uid"]):
        return False
    return any(reference.get("name") == metadata["name"] for reference in account.get("secrets") or ())


def _mounted(view: View, namespace: str) -> set[str]:
    return {name for pod in view.within(PODS, namespace) for name in secrets(pod)}


def _ended(secret: Object, now: datetime, last: datetime) -> list[Intent]:
    """Return what makes a token invalid, or deletes it where it has been so for long enough."""
    metadata, since = secret["metadata"], _labels(secret).get(INVALID_SINCE, "")
    place = (SECRETS, metadata["namespace"], metadata["name"])
    if _day(since) is None:
        patch = {"metadata": {"uid": metadata["uid"], "labels": {INVALID_SINCE: now.strftime(DAY)}}}
        return [Intent(Patch(*place, patch), settled_by=(Conflict, NotFound))]
    if since >= last.strftime(DAY):
        return []
    return [Intent(Delete(*place, version=metadata["resourceVersion"]), settled_by=(Conflict, NotFound))]


def _labels(secret: Object) -> dict[str, str]:
    return secret["metadata"].get("labels") or {}


def _day(text: object) -> datetime | None:
    try:
        return datetime.strptime(text, DAY) if isinstance(text, str) and len(text) == len("2006-01-02") else None
    except ValueError:
        return None


def _if_tracking(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    if new is not None and new["metadata"]["name"] == TRACKING and new["metadata"].get("namespace") == "kube-system":
        yield SWEEP


def _nothing(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    return ()
