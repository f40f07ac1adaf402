"""Certificates for pods: when one is asked for, what proves the key, and what stays when a signer refuses."""

import base64
import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from moorings_core.agent.environment import MissingSource
from moorings_core.agent.volumes.certificates import PodCertificates, key_and_proof, sources
from moorings_core.agent.volumes.payload import volume_files
from moorings_core.ports.errors import NotFound

from .builders import pod

CHAIN = "text\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\nmore text"
SOURCE = {"signerName": "example.org/one", "keyType": "ED25519", "credentialBundlePath": "bundle", "keyPath": "key"}


class Api:
    """Holds requests, and answers them when a test says so."""

    def __init__(self):
        self.requests = {}

    async def get(self, resource, name, namespace=""):
        if resource.plural != "podcertificaterequests":
            return {"metadata": {"uid": f"uid-{name}"}}
        if name not in self.requests:
            raise NotFound(name)
        return self.requests[name]

    async def create(self, resource, body):
        name = f"req-{len(self.requests)}"
        self.requests[name] = {**body, "metadata": {**body["metadata"], "name": name}}
        return self.requests[name]

    def answer(self, name, kind="Issued", refresh_in=3600, **status):
        moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=refresh_in)
        condition = {"type": kind, "status": "True", "reason": "Because", "message": "it is so"}
        given = {"certificateChain": CHAIN, "beginRefreshAt": moment.isoformat(), **status}
        self.requests[name] = {**self.requests[name], "status": {"conditions": [condition], **given}}


@pytest.fixture
def api():
    return Api()


def asking():
    return pod(nodeName="n", serviceAccountName="sa", volumes=[{"name": "v", "projected": {"sources": [{"podCertificate": SOURCE}]}}])


async def test_a_pod_waits_for_its_certificate_and_is_asked_for_once(api):
    held, one = PodCertificates(api), asking()
    for _ in range(3):
        with pytest.raises(MissingSource, match=r"no certificate of signer 'example\.org/one' yet"):
            await held.get(one, "v/0", SOURCE)
    (request,) = api.requests.values()
    assert {k: request["spec"][k] for k in ("nodeUID", "serviceAccountUID", "podUID")} == {
        "nodeUID": "uid-n",
        "serviceAccountUID": "uid-sa",
        "podUID": "u",
    }
    api.answer("req-0")
    issued = await held.get(one, "v/0", SOURCE)
    assert issued.chain == b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    proof = x509.load_der_x509_csr(base64.b64decode(request["spec"]["stubPKCS10Request"]))
    assert proof.is_signature_valid
    public = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert proof.public_key().public_bytes(*public) == load_pem_private_key(issued.key, None).public_key().public_bytes(*public)
    files = volume_files(one["spec"]["volumes"][0], one, None, None, {}, lambda place: issued)
    assert {path: file.content for path, file in files.items()} == {"bundle": issued.key + issued.chain, "key": issued.key}


async def test_the_old_certificate_stays_until_the_next_one_is_there(api):
    held, one = PodCertificates(api), asking()
    with pytest.raises(MissingSource):
        await held.get(one, "v/0", SOURCE)
    api.answer("req-0", refresh_in=-1)
    first = await held.get(one, "v/0", SOURCE)
    assert await held.get(one, "v/0", SOURCE) == first
    assert sorted(api.requests) == ["req-0", "req-1"]
    api.answer("req-1", "Denied")
    assert await held.get(one, "v/0", SOURCE) == first


async def test_a_refusal_is_told_and_stands_for_a_while(api):
    held, one = PodCertificates(api), asking()
    with pytest.raises(MissingSource):
        await held.get(one, "v/0", SOURCE)
    api.answer("req-0", "Denied")
    for _ in range(3):
        with pytest.raises(MissingSource, match="the certificate was denied: Because: it is so"):
            await held.get(one, "v/0", SOURCE)
    assert len(api.requests) == 1


async def test_a_request_that_somebody_deleted_is_made_again(api):
    held, one = PodCertificates(api), asking()
    made = []
    for _ in range(3):
        with pytest.raises(MissingSource):
            await held.get(one, "v/0", SOURCE)
        made.append(list(api.requests))
        api.requests.clear()
    assert made == [["req-0"], [], ["req-0"]]


@pytest.mark.parametrize("kind", ["ECDSAP256", "ECDSAP384", "ECDSAP521", "RSA3072", "ED25519"])
def test_a_key_of_each_type_proves_itself(kind):
    key, proof = key_and_proof(kind)
    assert key.startswith(b"-----BEGIN PRIVATE KEY-----")
    request = x509.load_der_x509_csr(proof)
    assert request.is_signature_valid and len(request.subject) == 0


def test_sources_are_found_with_their_place():
    assert sources(asking()) == {"v/0": SOURCE}
