"""Secrets of type kubernetes.io/service-account-token: filled with a token that does not expire, and gone with their account.

Nobody gets one unasked; who creates such a Secret names the account in an annotation. Source: upstream's
pkg/controller/serviceaccount/tokens_controller.go.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from moorings_core.client.resources import SECRETS, SERVICE_ACCOUNTS
from moorings_core.pki.tokens import legacy_claims
from moorings_core.ports.client import Delete, Update
from moorings_core.ports.errors import Conflict, NotFound
from moorings_core.ports.objects import Object

from .framework import Intent, Question, Result, View, Watch, WorkKey

TYPE = "kubernetes.io/service-account-token"
NAME, UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
Sign = Callable[[Object], str]


class TokensController:
    """sign: makes a token of claims with the cluster's key. ca: the cluster's CA in PEM, "" for none."""

    name = "serviceaccount-token-controller"

    def __init__(self, sign: Sign, ca: str) -> None:
        self._sign, self._ca = sign, ca

    def watches(self) -> Sequence[Watch]:
        """Reads Secrets and accounts; a key is namespace, Secret, and the account that it names."""
        return (Watch(SECRETS, _secret), Watch(SERVICE_ACCOUNTS, _of_account))

    def reconcile(self, key: WorkKey, view: View, now: datetime) -> Result:
        """Fill a Secret, or take it away where its account is gone, or its name out of an account where it is gone itself."""
        namespace, name, account_name = key
        secret, account = view.get(SECRETS, name, namespace), view.get(SERVICE_ACCOUNTS, account_name, namespace)
        if secret is None or secret.get("type") != TYPE or _annotation(secret, NAME) != account_name:
            return Result(_unreferenced(account, name))
        if account is None or not _is_its(secret, account):
            question = Question(SERVICE_ACCOUNTS, namespace, account_name)  # the cache may be behind who has just made the account
            answer = view.answers.get(question)
            if answer is None:
                return Result(questions=[question])
            if not isinstance(answer, dict):
                return Result(_taken_away(secret) if isinstance(answer, NotFound) else ())
            if not _is_its(secret, answer):
                return Result(_taken_away(secret))
            account = answer
        return Result(self._filled(secret, account))

    def _filled(self, secret: Object, account: Object) -> list[Intent]:
        data = secret.get("data") or {}
        wanted = {"namespace": data.get("namespace") or _encoded(secret["metadata"]["namespace"])}
        if self._ca:
            wanted["ca.crt"] = _encoded(self._ca)
        if all(data.get(field) == value for field, value in wanted.items()) and data.get("token"):
            return []
        if not data.get("token"):
            wanted["token"] = _encoded(self._sign(legacy_claims(account["metadata"], secret["metadata"]["name"])))
        metadata = secret["metadata"]
        annotations = {**(metadata.get("annotations") or {}), NAME: account["metadata"]["name"], UID: account["metadata"]["uid"]}
        new = {**secret, "metadata": {**metadata, "annotations": annotations}, "data": {**data, **wanted}}
        return [Intent(Update(SECRETS, new), settled_by=(Conflict, NotFound))]


def _taken_away(secret: Object) -> list[Intent]:
    metadata = secret["metadata"]
    return [Intent(Delete(SECRETS, metadata["namespace"], metadata["name"], uid=metadata["uid"]), settled_by=(Conflict, NotFound))]


def _unreferenced(account: Object | None, name: str) -> list[Intent]:
    listed = (account or {}).get("secrets") or ()
    left = [reference for reference in listed if reference.get("name") != name]
    if account is None or len(left) == len(listed):
        return []
    return [Intent(Update(SERVICE_ACCOUNTS, {**account, "secrets": left}), settled_by=(NotFound,))]


def _is_its(secret: Object, account: Object) -> bool:
    return _annotation(secret, UID) in ("", account["metadata"]["uid"])


def _annotation(secret: Object, name: str) -> str:
    return str((secret["metadata"].get("annotations") or {}).get(name, ""))


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _secret(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    for secret in (old, new):
        if secret is not None and secret.get("type") == TYPE and (account := _annotation(secret, NAME)):
            yield secret["metadata"]["namespace"], secret["metadata"]["name"], account


def _of_account(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    """An account that comes or goes touches the Secrets that name it; what it holds does not."""
    if old is not None and new is not None and old["metadata"]["uid"] == new["metadata"]["uid"]:
        return
    account = new if new is not None else old
    assert account is not None
    for secret in view.within(SECRETS, account["metadata"]["namespace"]):
        if secret.get("type") == TYPE and _annotation(secret, NAME) == account["metadata"]["name"]:
            yield secret["metadata"]["namespace"], secret["metadata"]["name"], account["metadata"]["name"]
