"""Reads kubeconfig files and in-pod service-account mounts into `Credentials`. Writing them is `pki`'s.

Source: k8s.io/client-go tools/clientcmd/api/v1 (file format). exec and auth-provider plugins are refused, not ignored.
"""

from __future__ import annotations

import base64
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from moorings_core.ports.errors import MooringsError

IN_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class KubeconfigError(MooringsError):
    """The file cannot be used; the message names the file and the field."""


@dataclass(frozen=True, slots=True)
class Pem:
    """PEM text, given as a file (read anew when it changes) or inline."""

    file: str = ""
    data: bytes = b""

    def read(self) -> bytes:
        """Return the text. Raises OSError."""
        return self.data or Path(self.file).read_bytes()

    def stamp(self) -> tuple[int, int]:
        """Return what changes when the file does."""
        if not self.file:
            return (0, 0)
        found = os.stat(self.file)
        return (found.st_mtime_ns, found.st_ino)

    def __bool__(self) -> bool:
        return bool(self.file or self.data)


@dataclass(frozen=True, slots=True)
class Credentials:
    """A server and who we are to it. Only certificates of `ca` are trusted as the server's."""

    server: str
    ca: Pem = Pem()
    certificate: Pem = Pem()
    key: Pem = Pem()
    token: str = ""
    token_file: str = ""
    server_name: str = ""
    insecure: bool = False
    namespace: str = "default"


def load(path: str | Path, context: str = "") -> Credentials:
    """Read a kubeconfig's context (default: the current one). Raises KubeconfigError."""
    path = Path(path)
    try:
        config = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise KubeconfigError(f"{path}: {error}") from error
    if not isinstance(config, dict):
        raise KubeconfigError(f"{path}: not a kubeconfig")
    context = context or str(config.get("current-context") or "")
    chosen = _named(path, config, "contexts", context, "context")
    cluster = _named(path, config, "clusters", str(chosen.get("cluster", "")), "cluster")
    user = _named(path, config, "users", str(chosen.get("user", "")), "user") if chosen.get("user") else {}
    for field in ("exec", "auth-provider", "username"):
        if user.get(field):
            raise KubeconfigError(f"{path}: users[{chosen['user']}].user.{field}: not supported")
    if not cluster.get("server"):
        raise KubeconfigError(f"{path}: clusters[{chosen.get('cluster')}].cluster.server: missing")
    token_file = str(user.get("tokenFile") or "")
    return Credentials(
        server=str(cluster["server"]),
        ca=_pem(path, cluster, "certificate-authority"),
        certificate=_pem(path, user, "client-certificate"),
        key=_pem(path, user, "client-key"),
        token=str(user.get("token") or ""),
        token_file=str(path.parent / token_file) if token_file else "",
        server_name=str(cluster.get("tls-server-name") or ""),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        namespace=str(chosen.get("namespace") or "default"),
    )


def in_pod(mount: Path = IN_POD) -> Credentials:
    """Return the credentials of the service account that this pod runs as. Raises KubeconfigError outside a pod."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port or not (mount / "token").exists():
        raise KubeconfigError("not in a pod: KUBERNETES_SERVICE_HOST or the service account token is missing")
    host = f"[{host}]" if ":" in host else host
    namespace = (mount / "namespace").read_text().strip()
    return Credentials(f"https://{host}:{port}", Pem(str(mount / "ca.crt")), token_file=str(mount / "token"), namespace=namespace)


def tls_context(credentials: Credentials) -> ssl.SSLContext:
    """Return a context that trusts only the credentials' CA and shows our certificate. Raises OSError, ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if credentials.insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    elif credentials.ca:
        context.load_verify_locations(cadata=credentials.ca.read().decode())
    else:
        context.load_default_certs()
    if credentials.certificate:
        _load_chain(context, credentials.certificate.read() + b"\n" + credentials.key.read())
    return context


def _load_chain(context: ssl.SSLContext, pem: bytes) -> None:
    """OpenSSL's binding reads chains from files only; an anonymous one keeps the key off every disk (memfd_create(2))."""
    descriptor = os.memfd_create("client-certificate")
    try:
        os.write(descriptor, pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _named(path: Path, config: dict[str, Any], plural: str, name: str, field: str) -> dict[str, Any]:
    for entry in config.get(plural) or ():
        if isinstance(entry, dict) and entry.get("name") == name:
            return entry.get(field) or {}
    raise KubeconfigError(f"{path}: {plural}: no entry named {name!r}")


def _pem(path: Path, entry: dict[str, Any], field: str) -> Pem:
    if entry.get(f"{field}-data"):
        try:
            return Pem(data=base64.b64decode(entry[f"{field}-data"], validate=True))
        except ValueError as error:
            raise KubeconfigError(f"{path}: {field}-data: {error}") from error
    return Pem(file=str(path.parent / str(entry[field]))) if entry.get(field) else Pem()
