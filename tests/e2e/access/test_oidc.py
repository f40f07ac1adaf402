"""Users of an OpenID Connect issuer: a real HTTPS issuer on loopback, the unmodified kubectl with its tokens."""

from __future__ import annotations

import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from .issuer import Issuer


@pytest.fixture
def issuer(tmp_path):
    made = Issuer(tmp_path)
    yield made
    made.close()


def config(trusted, /, **fields):
    base = {"issuer": trusted.url, "clientID": "cluster", "caFile": str(trusted.authority), "usernameClaim": "email"}
    return [{**base, "groupsClaim": "groups", "groupsPrefix": "oidc:", **fields}]


def whoami(server, token):
    done = server.kubectl("auth", "whoami", "-o", "json", config=server.with_token(token), check=False)
    return done.stdout or done.stderr


def test_a_token_of_the_issuer_is_its_user_and_no_other_token_is(own_server, issuer):
    own_server.start(oidc=config(issuer, requiredClaims={"team": "ops"}))
    claims = {"email": "ann@example.org", "email_verified": True, "groups": ["dev"], "team": "ops"}
    user = json.loads(whoami(own_server, issuer.token(**claims)))["status"]["userInfo"]
    assert user == {"username": "ann@example.org", "groups": ["oidc:dev", "system:authenticated"]}
    stranger = rsa.generate_private_key(65537, 2048)
    now = int(time.time())
    for what, token in {
        "signed by somebody else": jwt.encode({"iss": issuer.url, "aud": "cluster", "exp": now + 60, **claims}, stranger, "RS256"),
        "signed by nobody": jwt.encode({"iss": issuer.url, "aud": "cluster", "exp": now + 60, **claims}, None, "none"),
        "for another client": issuer.token(**claims, aud="other"),
        "expired": issuer.token(**claims, exp=now - 60),
        "of another issuer": issuer.token(**claims, iss="https://elsewhere.example.org"),
        "with an address that nobody checked": issuer.token(**{**claims, "email_verified": False}),
        "without its user": issuer.token(groups=["dev"], team="ops"),
        "without a claim that is required": issuer.token(**{**claims, "team": "dev"}),
        "without an end": jwt.encode({"iss": issuer.url, "aud": "cluster", **claims}, issuer._key, "RS256", {"kid": issuer._id}),
    }.items():
        assert "Unauthorized" in whoami(own_server, token), what


def test_keys_that_the_issuer_has_changed_are_fetched_again(own_server, issuer):
    own_server.start(oidc=config(issuer, usernameClaim="sub"))
    assert f"{issuer.url}#7" in whoami(own_server, issuer.token())
    issuer.turn_key()
    own_server.wait_for("the new key is known", lambda: f"{issuer.url}#8" in whoami(own_server, issuer.token(sub="8")))
    for _ in range(3):
        assert f"{issuer.url}#8" in whoami(own_server, issuer.token(sub="8"))
    assert issuer.asked.count("/keys") == 2


def test_an_issuer_that_is_away_keeps_nobody_else_out(own_server, issuer):
    token = issuer.token(email="ann@example.org")
    issuer.close()
    own_server.start(oidc=config(issuer, usernamePrefix="x:"))
    assert "Unauthorized" in whoami(own_server, token)
    assert own_server.kubectl("auth", "can-i", "get", "pods").stdout == "yes\n"


def test_a_cluster_file_that_is_wrong_about_an_issuer_says_where(own_server, issuer):
    for fields, words in (
        ({"issuer": "http://plain.example.org"}, "server.oidc[0].issuer: expected a URL such as https://"),
        ({"signingAlgorithms": ["none"]}, "server.oidc[0].signingAlgorithms[0]: expected one of RS256"),
        ({"clientId": "x"}, "server.oidc[0].clientId: no such field; did you mean 'clientID'?"),
        ({"caFile": "/no/such/file"}, "server.oidc: the authority of https://"),
    ):
        own_server.launch(oidc=config(issuer, **fields))
        assert own_server.ended() == 2
        assert words in own_server.log
    own_server.launch(oidc=[{"issuer": issuer.url}])
    assert own_server.ended() == 2
    assert "cluster.yaml:3: server.oidc[0]: expected a field clientID" in own_server.log
