"""Kubeconfig files as kubectl reads them. The reader is `client.kubeconfig`."""

from __future__ import annotations

import base64

import yaml

from .authority import Certificate


def kubeconfig(name: str, server: str, ca_pem: bytes, user: str, certificate: Certificate) -> bytes:
    """Return a kubeconfig with one context `name`: the server's URL, its authority, and the user's certificate."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": _base64(ca_pem)}}],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": _base64(certificate.cert_pem),
                    "client-key-data": _base64(certificate.key_pem),
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
        "current-context": name,
    }
    return yaml.safe_dump(document, sort_keys=False).encode()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
