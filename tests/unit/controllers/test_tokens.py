"""Secrets that ask for the token of an account: filled, mended, and gone with their account; on a real API in memory."""

import base64

import pytest

from moorings_core.api.access.accounts import UNASKED, Accounts, Rejected
from moorings_core.api.access.last_used import LastUsed
from moorings_core.api.context import Context
from moorings_core.client.resources import SECRETS, SERVICE_ACCOUNTS
from moorings_core.controllers.tokens import NAME, TYPE, UID, TokensController
from moorings_core.pki.tokens import TokenSigner
from moorings_core.ports.errors import Conflict
from moorings_core.ports.objects import Key

from .api import running, until

API = "https://api.example.org"
KEY = Key("d", "s")


@pytest.fixture
def signer(tmp_path):
    return TokenSigner.load_or_create(tmp_path / "sa.key", API)


def secret(account="default", **more):
    return {"metadata": {"name": "s", "namespace": "d", "annotations": {NAME: account}, **more}, "type": TYPE}


def found(core, key=KEY):
    stored = core.cache.collection("", "secrets").get(key)
    return stored.object if stored is not None else None


def token_of(core):
    return base64.b64decode(((found(core) or {}).get("data") or {}).get("token", "")).decode()


async def test_a_secret_gets_a_token_that_is_the_account(tmp_path, signer):
    async with running(tmp_path, TokensController(signer.sign, "PEM")) as (core, client):
        await client.create(SECRETS, secret())
        await until(lambda: token_of(core))
        kept, account = found(core), await client.get(SERVICE_ACCOUNTS, "default", "d")
        assert {k: base64.b64decode(v).decode() for k, v in kept["data"].items() if k != "token"} == {"ca.crt": "PEM", "namespace": "d"}
        assert kept["metadata"]["annotations"] == {NAME: "default", UID: account["metadata"]["uid"]}
        user, audiences = Accounts(core.cache, signer, [API]).check(token_of(core), [API, "other"])
        assert (user.name, user.uid, audiences) == ("system:serviceaccount:d:default", account["metadata"]["uid"], (API,))


async def test_a_token_is_good_as_long_as_its_secret_holds_it(tmp_path, signer):
    async with running(tmp_path, TokensController(signer.sign, "")) as (core, client):
        await client.create(SECRETS, secret())
        await until(lambda: token_of(core))
        accounts, token = Accounts(core.cache, signer, [API]), token_of(core)
        with pytest.raises(Rejected, match="is invalid for the target audiences"):
            accounts.check(token, ["other"])
        await client.patch(SECRETS, "s", "d", {"data": {"token": None}})
        await until(lambda: token_of(core) not in ("", token))  # it gets another one
        with pytest.raises(Rejected, match="does not match server's copy"):
            accounts.check(token, [API])
        token = token_of(core)
        await client.patch(SECRETS, "s", "d", {"metadata": {"labels": {"kubernetes.io/legacy-token-invalid-since": "2026-01-01"}}})
        with pytest.raises(Rejected, match="has been marked invalid"):
            accounts.check(token, [API])
        await client.delete(SECRETS, "s", "d")
        with pytest.raises(Rejected, match="has been invalidated"):
            accounts.check(token, [API])


async def test_a_secret_goes_with_its_account(tmp_path, signer):
    async with running(tmp_path, TokensController(signer.sign, "")) as (core, client):
        await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "robot", "namespace": "d"}})
        await client.create(SECRETS, secret("robot"))
        await until(lambda: token_of(core))
        token = token_of(core)
        await client.delete(SERVICE_ACCOUNTS, "robot", "d")
        await until(lambda: found(core) is None)
        with pytest.raises(Rejected):
            Accounts(core.cache, signer, [API]).check(token, [API])


@pytest.mark.parametrize("annotations", [{NAME: "none"}, {NAME: "default", UID: "another"}])
async def test_a_secret_of_an_account_that_is_not_there_goes(tmp_path, signer, annotations):
    async with running(tmp_path, TokensController(signer.sign, "")) as (core, client):
        made = await client.create(SECRETS, secret(annotations=annotations))
        await until(lambda: found(core) is None)
        assert "data" not in made


async def test_other_secrets_are_left_alone_and_an_account_forgets_one_that_is_gone(tmp_path, signer):
    async with running(tmp_path, TokensController(signer.sign, "")) as (core, client):
        await client.create(SECRETS, {"metadata": {"name": "o", "namespace": "d", "annotations": {NAME: "none"}}, "data": {"a": "YQ=="}})
        await client.patch(SERVICE_ACCOUNTS, "default", "d", {"secrets": [{"name": "s"}, {"name": "o"}]})
        await client.create(SECRETS, secret())
        await until(lambda: token_of(core))
        await client.delete(SECRETS, "s", "d")
        accounts = core.cache.collection("", "serviceaccounts")
        await until(lambda: accounts.get(Key("d", "default")).object["secrets"] == [{"name": "o"}])
        assert found(core, Key("d", "o"))["data"] == {"a": "YQ=="}


async def test_the_day_of_use_is_noted_at_the_secret(tmp_path, signer):
    async with running(tmp_path, TokensController(signer.sign, "")) as (core, client):
        await client.create(SECRETS, secret())
        await until(lambda: token_of(core))
        accounts, noted = Accounts(core.cache, signer, [API]), LastUsed(core.writer, core.kind(SECRETS))
        accounts.used = noted.note
        accounts.check(token_of(core), [API])
        await until(lambda: "kubernetes.io/legacy-token-last-used" in (found(core)["metadata"].get("labels") or {}))
        version = found(core)["metadata"]["resourceVersion"]
        accounts.check(token_of(core), [API])
        await noted.close()
        assert found(core)["metadata"]["resourceVersion"] == version


async def test_who_uses_a_token_that_the_account_lists_is_warned_and_the_audit_log_knows_which_it_was(tmp_path, signer):
    async with running(tmp_path, TokensController(signer.sign, "")) as (core, client):
        await client.create(SECRETS, secret())
        await until(lambda: token_of(core))
        accounts, context = Accounts(core.cache, signer, [API]), Context()
        accounts.check(token_of(core), [API], context)
        assert (context.warnings, context.annotations) == ([], {"authentication.k8s.io/legacy-token-manual-secret": "s"})
        await client.patch(SERVICE_ACCOUNTS, "default", "d", {"secrets": [{"name": "s"}]})
        context = Context()
        accounts.check(token_of(core), [API], context)
        assert context.warnings == [UNASKED]
        assert context.annotations == {"authentication.k8s.io/legacy-token-autogenerated-secret": "s"}
        await client.patch(SECRETS, "s", "d", {"metadata": {"labels": {"kubernetes.io/legacy-token-invalid-since": "2026-01-01"}}})
        context = Context()
        with pytest.raises(Rejected):
            accounts.check(token_of(core), [API], context)
        assert (context.warnings, context.annotations) == ([], {"authentication.k8s.io/legacy-token-invalidated": "s/d"})


async def test_a_deletion_may_ask_for_the_version_that_was_seen(tmp_path):
    async with running(tmp_path) as (core, client):
        made = await client.create(SECRETS, {"metadata": {"name": "o", "namespace": "d"}})
        seen = made["metadata"]["resourceVersion"]
        await client.patch(SECRETS, "o", "d", {"metadata": {"labels": {"a": "b"}}})
        with pytest.raises(Conflict):
            await client.delete(SECRETS, "o", "d", version=seen)
        await client.delete(SECRETS, "o", "d", version=found(core, Key("d", "o"))["metadata"]["resourceVersion"])
        assert found(core, Key("d", "o")) is None
