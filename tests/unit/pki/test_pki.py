"""Certificates that TLS accepts, tokens that only their issuer and audience accept."""

import asyncio
import ssl
import stat
import time

import pytest
import yaml

from moorings_core.pki.authority import Authority
from moorings_core.pki.kubeconfig import kubeconfig
from moorings_core.pki.tokens import InvalidToken, TokenSigner


async def handshake(tmp_path, authority: Authority, client_authority: Authority) -> dict:
    """Serve TLS on loopback with client certificates required; return what the server sees of the client."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*authority.issue("server", hosts=["127.0.0.1", "kubernetes.default"]).write(tmp_path, "server"))
    server.load_verify_locations(cadata=authority.cert_pem.decode())
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(cadata=authority.cert_pem.decode())
    certificate = client_authority.issue("system:node:a", organizations=["system:nodes"])
    client.load_cert_chain(*certificate.write(tmp_path, "client"))
    seen: asyncio.Future[dict] = asyncio.get_running_loop().create_future()

    def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.set_result(writer.get_extra_info("peercert"))
        writer.write(b"hello")
        writer.close()

    listener = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=server)
    try:
        port = listener.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
        try:
            if await reader.read() != b"hello":
                raise ConnectionError("the server hung up")
        finally:
            writer.close()
        return await seen
    finally:
        listener.close()
        await listener.wait_closed()


async def test_mutual_tls_shows_user_and_groups(tmp_path):
    authority = Authority.create("test")
    subject = dict(pair for rdn in (await handshake(tmp_path, authority, authority))["subject"] for pair in rdn)
    assert subject == {"organizationName": "system:nodes", "commonName": "system:node:a"}


async def test_a_stranger_s_certificate_is_refused(tmp_path):
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await handshake(tmp_path, Authority.create("test"), Authority.create("stranger"))


def test_an_authority_is_loaded_again_and_its_key_is_private(tmp_path):
    first = Authority.load_or_create(tmp_path / "pki", "test")
    assert Authority.load_or_create(tmp_path / "pki", "test").cert_pem == first.cert_pem
    assert stat.S_IMODE((tmp_path / "pki" / "ca.key").stat().st_mode) == 0o600


def test_kubeconfig_is_what_kubectl_reads():
    authority = Authority.create("test")
    document = yaml.safe_load(kubeconfig("lab", "https://192.0.2.1:6443", authority.cert_pem, "admin", authority.issue("admin")))
    assert document["clusters"][0]["cluster"]["server"] == "https://192.0.2.1:6443"
    assert document["contexts"][0]["context"] == {"cluster": "lab", "user": "admin"}
    assert document["current-context"] == "lab"


class TestTokens:
    @pytest.fixture
    def signer(self, tmp_path):
        return TokenSigner.load_or_create(tmp_path / "sa.key", "https://kubernetes.default.svc")

    def claims(self, **changes):
        return {"sub": "system:serviceaccount:a:b", "aud": ["api"], "exp": int(time.time()) + 60, **changes}

    def test_round_trip(self, signer):
        assert signer.verify(signer.sign(self.claims()), ["api"])["sub"] == "system:serviceaccount:a:b"

    @pytest.mark.parametrize("changes", [{"exp": 1}, {"aud": ["other"]}, {"iss": "elsewhere"}], ids=str)
    def test_expired_foreign_or_misdirected_tokens_are_refused(self, signer, changes):
        with pytest.raises(InvalidToken):
            signer.verify(signer.sign(self.claims(**changes)), ["api"])

    def test_another_key_s_token_is_refused(self, signer, tmp_path):
        other = TokenSigner.load_or_create(tmp_path / "other.key", signer.issuer)
        with pytest.raises(InvalidToken):
            signer.verify(other.sign(self.claims()))

    def test_an_unsigned_token_is_refused(self, signer):
        import jwt

        with pytest.raises(InvalidToken):
            signer.verify(jwt.encode(self.claims() | {"iss": signer.issuer}, "", "none"))
