"""A small OpenID Connect issuer: an HTTPS server with a discovery document and keys, which can be changed while it runs."""

from __future__ import annotations

import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from moorings_core.pki.authority import Authority


class Issuer:
    """Issues tokens for subjects."""

    def __init__(self, root: Path) -> None:
        authority = Authority.create("issuer")
        self.authority = root / "issuer-ca.crt"
        self.authority.write_bytes(authority.cert_pem)
        certificate, key = authority.issue("issuer", hosts=["127.0.0.1"]).write(root, "issuer")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"
        self.asked: list[str] = []
        self.turn_key()
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def turn_key(self) -> None:
        """Sign with a new key from now on, and publish that alone."""
        self._key = rsa.generate_private_key(65537, 2048)
        self._id = f"key-{time.monotonic_ns()}"

    def token(self, **claims: object) -> str:
        """Return a token for client "cluster", good for an hour where the claims say nothing else."""
        full = {"iss": self.url, "aud": "cluster", "sub": "7", "exp": int(time.time()) + 3600, **claims}
        return jwt.encode(full, self._key, "RS256", {"kid": self._id})

    def close(self) -> None:
        """Go away; more than once is no harm."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _document(self, path: str) -> object:
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key()))
        return {"keys": [key | {"kid": self._id, "use": "sig", "alg": "RS256"}]}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                body = json.dumps(issuer._document(self.path)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
