"""Tokens that were made unasked and that nobody uses: marked first, deleted a year later; all others stay."""

from datetime import UTC, datetime

import pytest

from moorings_core.client.resources import CONFIG_MAPS, PODS, SECRETS, SERVICE_ACCOUNTS
from moorings_core.controllers.framework import Cache, View
from moorings_core.controllers.legacytokens import EVERY, INVALID_SINCE, LAST_USED, SWEEP, TRACKING, LegacyTokenCleaner
from moorings_core.controllers.tokens import NAME, TYPE, UID
from moorings_core.ports.client import Delete, Patch

NOW = datetime(2030, 6, 15, 12, tzinfo=UTC)
LONG_AGO, LATELY = "2028-01-01T00:00:00Z", "2029-09-01T00:00:00Z"


def secret(created=LONG_AGO, labels=None, kind=TYPE, **metadata):
    meta = {"name": "s", "namespace": "d", "uid": "s-1", "resourceVersion": "7", "creationTimestamp": created, "labels": labels or {}}
    return {"metadata": {**meta, "annotations": {NAME: "robot"}, **metadata}, "type": kind}


def pod(**spec):
    return {"metadata": {"name": "p", "namespace": "d", "uid": "p-1"}, "spec": {"containers": [], **spec}}


def account(*listed, uid="a-1"):
    return {"metadata": {"name": "robot", "namespace": "d", "uid": uid}, "secrets": [{"name": name} for name in listed]}


LISTING = (account("s"),)


def looked(*kept, accounts=LISTING, pods=(), since="2029-01-01"):
    given = {SECRETS: kept, SERVICE_ACCOUNTS: accounts, PODS: pods, CONFIG_MAPS: ()}
    if since is not None:
        metadata = {"name": TRACKING, "namespace": "kube-system", "uid": "c-1"}
        given[CONFIG_MAPS] = ({"metadata": metadata, "data": {"since": since}},)
    caches = {resource: Cache(resource, lambda: 0.0) for resource in given}
    for resource, objects in given.items():
        for obj in objects:
            caches[resource].observe(None, obj)
    result = LegacyTokenCleaner().reconcile(SWEEP, View(caches), NOW)
    assert result.requeue_after == EVERY.total_seconds()
    return [intent.write for intent in result.intents]


MARKED = Patch(SECRETS, "d", "s", {"metadata": {"uid": "s-1", "labels": {INVALID_SINCE: "2030-06-15"}}})


@pytest.mark.parametrize("labels", [{}, {LAST_USED: "2029-06-14"}, {INVALID_SINCE: "someday"}])
def test_a_token_that_nobody_has_used_for_a_year_becomes_invalid(labels):
    assert looked(secret(labels=labels)) == [MARKED]


def test_one_that_has_been_invalid_for_a_year_goes_if_it_is_as_it_was_seen():
    assert looked(secret(labels={INVALID_SINCE: "2029-06-14"})) == [Delete(SECRETS, "d", "s", version="7")]
    assert looked(secret(labels={INVALID_SINCE: "2029-06-15"})) == []


@pytest.mark.parametrize(
    "kept",
    [
        secret(created=LATELY),
        secret(labels={LAST_USED: "2029-06-15"}),
        secret(labels={LAST_USED: "lately"}),
        secret(labels={LAST_USED: "lately", INVALID_SINCE: "2020-01-01"}),
        secret(kind="Opaque"),
        secret(deletionTimestamp=LATELY),
        secret(annotations={NAME: "nobody"}),
        secret(annotations={NAME: "robot", UID: "another"}),
    ],
    ids=str,
)
def test_others_stay(kept):
    assert looked(kept) == []


def test_one_that_its_account_does_not_list_was_asked_for():
    assert looked(secret(), accounts=[account("other")]) == []


@pytest.mark.parametrize(
    "user",
    [
        pod(volumes=[{"name": "v", "secret": {"secretName": "s"}}]),
        pod(volumes=[{"name": "v", "projected": {"sources": [{"secret": {"name": "s"}}]}}]),
        pod(volumes=[{"name": "v", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "s"}}}]),
        pod(imagePullSecrets=[{"name": "s"}]),
        pod(initContainers=[{"name": "i", "env": [{"name": "e", "valueFrom": {"secretKeyRef": {"name": "s", "key": "token"}}}]}]),
        pod(ephemeralContainers=[{"name": "e", "envFrom": [{"secretRef": {"name": "s"}}]}]),
    ],
    ids=lambda user: next(reversed(user["spec"])),
)
def test_one_that_a_pod_refers_to_stays(user):
    assert looked(secret(), pods=[user]) == []
    elsewhere = {**user, "metadata": {**user["metadata"], "namespace": "e"}}
    assert looked(secret(), pods=[elsewhere]) == [MARKED]


@pytest.mark.parametrize(
    ("since", "begun"), [("2029-06-13", True), ("2029-06-14", True), ("2029-06-15", False), ("soon", False), (None, False)]
)
def test_nothing_is_unused_before_use_has_been_noted_for_a_year(since, begun):
    assert looked(secret(), since=since) == ([MARKED] if begun else [])
