"""Certificates for pods: a key made here, a PodCertificateRequest signed with it, and the chain that a signer answers with.

The key never leaves the node. A certificate is asked for again from the moment on that its signer names; until a new one is there the
old one stays. Source: certificates.k8s.io/v1 PodCertificateRequest; the kubelet's pod certificate manager.
"""

from __future__ import annotations

import asyncio
import base64
import datetime
import re
import time
from dataclasses import dataclass
from typing import Any

from moorings_core.agent.environment import MissingSource
from moorings_core.client.resources import NODES, POD_CERTIFICATE_REQUESTS, SERVICE_ACCOUNTS
from moorings_core.ports.client import Client
from moorings_core.ports.errors import NotFound
from moorings_core.ports.objects import Object

PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
LIFETIME_SECONDS = 24 * 3600
AGAIN_SECONDS = 60.0
"""How long a refusal stands before a certificate is asked for again"""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A key and its certificates, both PEM; refresh: when to ask for the next ones, in seconds of the wall clock."""

    key: bytes
    chain: bytes
    refresh: float


@dataclass(slots=True)
class _Record:
    issued: Credentials | None = None
    key: bytes = b""
    request: str = ""
    refused: str = ""
    again: float = 0


class PodCertificates:
    """The certificates of this node's pods."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._records: dict[tuple[str, str], _Record] = {}

    async def get(self, pod: Object, place: str, source: Object) -> Credentials:
        """Return what a source of a pod's volume is to hold. place names the source in the pod. Raises MissingSource until there is one."""
        record = self._records.setdefault((pod["metadata"]["uid"], place), _Record())
        if record.issued is None or record.issued.refresh <= time.time():
            await self._go_on(record, pod, source)
        if record.issued is not None:
            return record.issued
        raise MissingSource(record.refused or f"no certificate of signer {source['signerName']!r} yet")

    def forget(self, pod_uid: str) -> None:
        """Drop the keys of a pod that is gone."""
        for key in [k for k in self._records if k[0] == pod_uid]:
            del self._records[key]

    async def _go_on(self, record: _Record, pod: Object, source: Object) -> None:
        """Ask, or look what became of what was asked."""
        if record.request:
            await self._look(record, pod["metadata"]["namespace"])
        elif record.again <= time.time():
            await self._ask(record, pod, source)

    async def _ask(self, record: _Record, pod: Object, source: Object) -> None:
        key, proof = await asyncio.to_thread(key_and_proof, source["keyType"])
        metadata, spec = pod["metadata"], pod["spec"]
        namespace, account = metadata["namespace"], spec.get("serviceAccountName", "default")
        owner = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}
        asked: Object = {
            "signerName": source["signerName"],
            "podName": metadata["name"],
            "podUID": metadata["uid"],
            "serviceAccountName": account,
            "serviceAccountUID": (await self._client.get(SERVICE_ACCOUNTS, account, namespace))["metadata"]["uid"],
            "nodeName": spec["nodeName"],
            "nodeUID": (await self._client.get(NODES, spec["nodeName"]))["metadata"]["uid"],
            "maxExpirationSeconds": source.get("maxExpirationSeconds") or LIFETIME_SECONDS,
            "stubPKCS10Request": base64.b64encode(proof).decode(),
        }
        if source.get("userAnnotations"):
            asked["unverifiedUserAnnotations"] = source["userAnnotations"]
        body: Object = {"apiVersion": "certificates.k8s.io/v1", "kind": "PodCertificateRequest", "spec": asked}
        body["metadata"] = {"namespace": namespace, "generateName": "req-", "ownerReferences": [owner]}
        made = await self._client.create(POD_CERTIFICATE_REQUESTS, body)
        record.key, record.request = key, made["metadata"]["name"]

    async def _look(self, record: _Record, namespace: str) -> None:
        try:
            found = await self._client.get(POD_CERTIFICATE_REQUESTS, record.request, namespace)
        except NotFound:
            record.request = ""
            return
        status = found.get("status") or {}
        told = {c["type"]: c for c in status.get("conditions") or () if c.get("status") == "True"}
        if "Issued" in told:
            chain = "".join(f"{part}\n" for part in PEM.findall(status.get("certificateChain", "")))
            record.issued = Credentials(record.key, chain.encode(), _seconds(status["beginRefreshAt"]))
            record.request, record.refused = "", ""
        for kind in {"Denied", "Failed"} & told.keys():
            record.request, record.again = "", time.time() + AGAIN_SECONDS
            record.refused = f"the certificate was {kind.lower()}: {told[kind].get('reason', '')}: {told[kind].get('message', '')}"


def key_and_proof(kind: str) -> tuple[bytes, bytes]:
    """Return a new private key as PEM, and an empty PKCS#10 request in DER that proves its possession. Raises MissingSource."""
    from cryptography import x509  # an agent whose pods ask for no certificate does without 5 MB
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    curves: dict[str, Any] = {"ECDSAP256": ec.SECP256R1(), "ECDSAP384": ec.SECP384R1(), "ECDSAP521": ec.SECP521R1()}
    key: Any
    if kind in curves:
        key = ec.generate_private_key(curves[kind])
    elif kind in ("RSA3072", "RSA4096"):
        key = rsa.generate_private_key(65537, int(kind[3:]))
    elif kind == "ED25519":
        key = ed25519.Ed25519PrivateKey.generate()
    else:
        raise MissingSource(f"unknown key type {kind!r}")
    digest = None if kind == "ED25519" else hashes.SHA256()
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, digest)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key.private_bytes(*form), request.public_bytes(serialization.Encoding.DER)


def sources(pod: Object) -> dict[str, Object]:
    """Return the sources of certificates in a pod's volumes by their place."""
    found = {}
    for volume in pod["spec"].get("volumes") or ():
        for number, source in enumerate((volume.get("projected") or {}).get("sources") or ()):
            if source.get("podCertificate"):
                found[f"{volume['name']}/{number}"] = source["podCertificate"]
    return found


def _seconds(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()
