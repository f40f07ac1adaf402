"""Certificates asked of the cluster: who asks stands in the request, and who approves, signs or attests must be allowed to for the signer.

Source: upstream's strategy of CertificateSigningRequests and its admission plugins CertificateApproval, CertificateSigning,
CertificateSubjectRestriction, ClusterTrustBundleAttest and the part of NodeRestriction that is about certificates.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import NameOID

from moorings_core.api.context import MASTERS, User
from moorings_core.ports.objects import Object, Resource

from .attributes import Attributes, forbidden, quoted
from .authorizer import Access
from .node import PREFIX, node_of

GROUP = "certificates.k8s.io"
REQUESTS, BUNDLES = "certificatesigningrequests", "clustertrustbundles"
CLIENT = "kubernetes.io/kube-apiserver-client"
OF_NODES = ("kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet")


@dataclass(frozen=True, slots=True)
class Signing:
    """The guard of one request to write a certificate request or a trust bundle."""

    access: Access
    user: User

    def __call__(self, operation: str, resource: Resource, subresource: str, new: Object | None, old: Object | None) -> None:
        """Fill in who asks, and refuse what the user may not. Raises Forbidden."""
        if new is None:
            return
        why = self._bundle(new, old) if resource.plural == BUNDLES else self._request(operation, subresource, new, old)
        if why:
            raise forbidden(GROUP, resource.plural, new["metadata"].get("name", ""), why)

    def _request(self, operation: str, subresource: str, new: Object, old: Object | None) -> str:
        if operation == "CREATE":
            new["spec"] = {k: v for k, v in (new.get("spec") or {}).items() if k not in ("username", "uid", "groups", "extra")} | _asker(
                self.user
            )
            return self._subject(new["spec"])
        spec, before = (old or new)["spec"], (old or {}).get("status") or {}
        if subresource == "approval" and not self._may("approve", spec["signerName"]):
            return f"user not permitted to approve requests with signerName {quoted(spec['signerName'])}"
        status = new.get("status") or {}
        signed = any((status.get(part) or None) != (before.get(part) or None) for part in ("certificate", "conditions"))
        if subresource == "status" and signed and not self._may("sign", spec["signerName"]):
            return f"user not permitted to sign requests with signerName {quoted(spec['signerName'])}"
        return ""

    def _subject(self, spec: Object) -> str:
        node = node_of(self.user)
        signer = spec.get("signerName", "")
        if signer != CLIENT and not (node is not None and signer in OF_NODES):
            return ""
        try:
            subject = x509.load_pem_x509_csr(base64.b64decode(spec.get("request", ""))).subject
        except (ValueError, binascii.Error) as error:
            return f"failed to parse CSR: {error}"
        if signer == CLIENT:
            organizations = [attribute.value for attribute in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
            return f"use of {CLIENT} signer with {MASTERS} group is not allowed" if MASTERS in organizations else ""
        names = [attribute.value for attribute in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        return "" if names == [f"{PREFIX}{node}"] else f"can only create a node CSR with CN={PREFIX}{node}"

    def _bundle(self, new: Object, old: Object | None) -> str:
        spec = new.get("spec") or {}
        signer = spec.get("signerName")
        if not signer or (old is not None and old["spec"] == spec) or self._may("attest", signer):
            return ""
        return f"user not permitted to attest for signerName {quoted(signer)}"

    def _may(self, verb: str, signer: str) -> bool:
        names = (signer, f"{signer.partition('/')[0]}/*")
        return any(self.access.decide(Attributes(self.user, verb, GROUP, "signers", name=name)).allowed for name in names)


def _asker(user: User) -> Object:
    made: Object = {"username": user.name}
    if user.uid:
        made["uid"] = user.uid
    if user.groups:
        made["groups"] = list(user.groups)
    return made | ({"extra": {key: list(values) for key, values in user.extra.items()}} if user.extra else {})
