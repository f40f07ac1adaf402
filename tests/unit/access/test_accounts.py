"""Tokens of service accounts end with what they are bound to, and are good for their audiences alone."""

from __future__ import annotations

import datetime
import time

import jwt
import pytest

from moorings_core.api.access.accounts import EXTENDED_FROM, EXTENDED_TO, Accounts, Rejected
from moorings_core.pki.tokens import TokenSigner

from .world import World, obj

API = "https://api.example.org"
ACCOUNT = obj("ServiceAccount", "robot", "x")
POD = obj("Pod", "p", "x", spec={"serviceAccountName": "robot", "nodeName": "n"})
SECRET, NODE = obj("Secret", "s", "x"), obj("Node", "n")
BOUND = {"pod": POD, "secret": SECRET, "node": NODE}


@pytest.fixture
def world():
    made = World()
    made.put(ACCOUNT, POD, SECRET, NODE)
    return made


@pytest.fixture
def accounts(world, tmp_path):
    return Accounts(world.cache, TokenSigner.load_or_create(tmp_path / "sa.key", API), [API])


def again(thing, **metadata):
    return {**thing, "metadata": {**thing["metadata"], **metadata}}


def test_a_token_is_its_account_with_pod_node_and_credential(accounts):
    token = accounts.token(ACCOUNT, {"pod": POD, "node": NODE}, [API], 3600)
    user, audiences = accounts.check(token, [API, "other"])
    assert (user.name, user.uid, audiences) == ("system:serviceaccount:x:robot", "uid-robot", (API,))
    assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:x", "system:authenticated")
    shown = {key.removeprefix("authentication.kubernetes.io/"): value for key, value in user.extra.items()}
    identity = jwt.decode(token, options={"verify_signature": False})["jti"]
    assert shown.pop("credential-id") == (f"JTI={identity}",)
    assert shown == {"pod-name": ("p",), "pod-uid": ("uid-p",), "node-name": ("n",), "node-uid": ("uid-n",)}


@pytest.mark.parametrize("kind", BOUND)
def test_a_token_ends_with_what_it_is_bound_to_however_that_goes(world, accounts, kind):
    thing = BOUND[kind]
    token = accounts.token(ACCOUNT, {kind: thing}, [API], 3600)
    now = datetime.datetime.now(datetime.UTC)
    for seconds, good in ((10, True), (90, False)):
        going = (now - datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
        world.put(again(thing, deletionTimestamp=going))
        assert is_good(accounts, token) is good
    world.put(again(thing, uid="another"))
    assert not is_good(accounts, token)
    world.put(thing)
    assert is_good(accounts, token)
    world.remove(thing)
    assert why_not(accounts, token) == "service account token has been invalidated"


def test_a_token_ends_with_its_account(world, accounts):
    token = accounts.token(ACCOUNT, {}, [API], 3600)
    world.put(again(ACCOUNT, uid="another"))
    assert why_not(accounts, token) == "service account UID (another) does not match claim (uid-robot)"
    world.remove(ACCOUNT)
    assert why_not(accounts, token) == 'serviceaccounts "robot" not found'


def test_a_pod_s_token_outlives_the_node_object_that_is_only_told_in_it(world, accounts):
    token = accounts.token(ACCOUNT, {"pod": POD, "node": NODE}, [API], 3600)
    world.remove(NODE)
    assert is_good(accounts, token)


def test_a_token_ends_at_its_time_also_when_it_was_seen_before(accounts, monkeypatch):
    token = accounts.token(ACCOUNT, {}, [API], 3600)
    assert is_good(accounts, token)
    later = time.time() + 3600 + 61
    monkeypatch.setattr("moorings_core.api.access.accounts.time.time", lambda: later)
    assert why_not(accounts, token) == "service account token has expired"


def test_an_expired_token_is_ours_and_refused(accounts):
    assert why_not(accounts, accounts.token(ACCOUNT, {}, [API], -100)) == "service account token has expired"


def test_a_token_for_others_opens_nothing_here(accounts):
    token = accounts.token(ACCOUNT, {}, ["vault"], 3600)
    assert "token audiences" in why_not(accounts, token)
    assert accounts.check(token, ["vault"])[1] == ("vault",)


def test_a_token_that_another_key_signed_is_nobody_s(accounts, world, tmp_path):
    other = Accounts(world.cache, TokenSigner.load_or_create(tmp_path / "other.key", API), [API])
    assert accounts.check(other.token(ACCOUNT, {}, [API], 3600), [API]) is None


def test_the_token_that_every_pod_gets_lives_a_year_as_upstream_s(accounts):
    token = accounts.token(ACCOUNT, {"pod": POD}, [API], EXTENDED_FROM)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == EXTENDED_TO
    assert claims["kubernetes.io"]["warnafter"] - claims["iat"] == EXTENDED_FROM
    plain = jwt.decode(accounts.token(ACCOUNT, {"pod": POD}, ["vault"], EXTENDED_FROM), options={"verify_signature": False})
    assert plain["exp"] - plain["iat"] == EXTENDED_FROM


def is_good(accounts, token):
    try:
        return accounts.check(token, [API]) is not None
    except Rejected:
        return False


def why_not(accounts, token):
    with pytest.raises(Rejected) as caught:
        accounts.check(token, [API])
    return str(caught.value)
