"""Which of several credentials counts, and where a token may stand."""

from __future__ import annotations

import base64

import pytest

from moorings_core.api.access.accounts import Accounts
from moorings_core.api.authentication import Authenticator
from moorings_core.api.context import ANONYMOUS, User
from moorings_core.api.http.message import Request
from moorings_core.pki.tokens import TokenSigner
from moorings_core.ports.errors import Unauthorized

from .world import World

ANN = User("ann", ("dev", "system:authenticated"))
PEER = {"commonName": ("bob",), "organizationName": ("ops", "dev")}
BOB = User("bob", ("ops", "dev", "system:authenticated"))


@pytest.fixture
def who(tmp_path):
    cache = World().cache
    accounts = Accounts(cache, TokenSigner.load_or_create(tmp_path / "sa.key", "https://x"), ["https://x"])
    authenticator = Authenticator(cache, accounts, {"secret": ANN})

    async def who(peer=(), **headers):
        found = {name.replace("_", "-"): value for name, value in headers.items()}
        return await authenticator.user(Request("GET", "/", found, b"", dict(peer)))

    return who


async def test_a_certificate_goes_before_a_token_and_nothing_is_nobody(who):
    assert await who() is ANONYMOUS
    assert await who(authorization="Bearer secret") == ANN
    assert await who(authorization="bearer  secret ") == ANN
    assert await who(PEER) == BOB
    assert await who(PEER, authorization="Bearer secret") == BOB
    assert await who(PEER, authorization="Bearer wrong") == BOB
    assert await who(authorization="Basic c2VjcmV0") is ANONYMOUS


@pytest.mark.parametrize("token", ["wrong", "a.b.c", "abcdef.0123456789abcdef"])
async def test_a_wrong_token_is_refused(who, token):
    with pytest.raises(Unauthorized):
        await who(authorization=f"Bearer {token}")


async def test_a_browser_s_token_stands_in_a_subprotocol_of_a_websocket_and_goes_no_further(tmp_path):
    cache = World().cache
    accounts = Accounts(cache, TokenSigner.load_or_create(tmp_path / "sa.key", "https://x"), ["https://x"])
    authenticator = Authenticator(cache, accounts, {"secret": ANN})
    encoded = base64.urlsafe_b64encode(b"secret").decode().rstrip("=")
    offered = f"v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.{encoded}"
    request = Request("GET", "/", {"upgrade": "websocket", "sec-websocket-protocol": offered}, b"", {})
    assert await authenticator.user(request) == ANN
    assert request.headers["sec-websocket-protocol"] == "v5.channel.k8s.io"
    plain = Request("GET", "/", {"sec-websocket-protocol": offered}, b"", {})
    assert await authenticator.user(plain) is ANONYMOUS
    alone = {"upgrade": "websocket", "sec-websocket-protocol": offered.partition(", ")[2]}
    assert await authenticator.user(Request("GET", "/", alone, b"", {})) is ANONYMOUS
