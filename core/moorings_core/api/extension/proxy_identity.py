"""Who this server is to aggregated API servers, and what they need to believe it.

Source: upstream's front proxy: ConfigMap kube-system/extension-apiserver-authentication.
"""

from __future__ import annotations

import json
import os
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

from moorings_core.pki.authority import Authority, Certificate
from moorings_core.ports.objects import Object, Resource

NAME = "front-proxy-client"
CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap", True)


@dataclass(frozen=True, slots=True)
class ProxyIdentity:
    """The certificate that is shown to aggregated servers, its authority, and the authority of clients, all in PEM."""

    authority: bytes
    certificate: Certificate
    clients: bytes = b""

    @classmethod
    def load_or_create(cls, directory: Path, clients: bytes) -> ProxyIdentity:
        """Return the identity kept in a directory; servers that share it are one to aggregated servers."""
        authority = Authority.load_or_create(directory, "front-proxy")
        return cls(authority.cert_pem, authority.issue(NAME), clients)

    @classmethod
    def create(cls) -> ProxyIdentity:
        """Return a new identity, which ends with the process."""
        authority = Authority.create("front-proxy")
        return cls(authority.cert_pem, authority.issue(NAME))

    def show_on(self, context: ssl.SSLContext) -> None:
        """Show the certificate on connections of a context. ssl takes files only; these live for an instant, readable by nobody else."""
        with tempfile.TemporaryDirectory() as directory:
            certificate, key = self.certificate.write(Path(directory), "proxy")
            os.chmod(directory, 0o700)
            context.load_cert_chain(certificate, key)

    def config_map(self) -> Object:
        """Return what aggregated servers read to know us."""
        data = {
            "requestheader-allowed-names": json.dumps([NAME]),
            "requestheader-client-ca-file": self.authority.decode(),
            "requestheader-extra-headers-prefix": json.dumps(["X-Remote-Extra-"]),
            "requestheader-group-headers": json.dumps(["X-Remote-Group"]),
            "requestheader-uid-headers": json.dumps(["X-Remote-Uid"]),
            "requestheader-username-headers": json.dumps(["X-Remote-User"]),
        }
        if self.clients:
            data["client-ca-file"] = self.clients.decode()
        metadata = {"name": "extension-apiserver-authentication", "namespace": "kube-system"}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
