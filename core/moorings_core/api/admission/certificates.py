"""CertificateSubjectRestriction: nobody becomes an administrator by a certificate that the API server's own signer makes."""

from __future__ import annotations

import base64
import binascii

from moorings_core.api.context import MASTERS

from .attributes import Attributes
from .plugin import Step, World

CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"


def check_subject(world: World, a: Attributes) -> None:
    """Refuse a request for the group of administrators. Raises Forbidden."""
    spec = a.new.get("spec") or {}
    if spec.get("signerName") != CLIENT_SIGNER:
        return
    from cryptography import x509  # large, and few ask for certificates
    from cryptography.x509.oid import NameOID

    try:
        request = x509.load_pem_x509_csr(base64.b64decode(spec.get("request") or ""))
    except (ValueError, binascii.Error) as error:
        raise a.forbidden(f"failed to parse CSR: {error}") from error
    if any(group.value == MASTERS for group in request.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)):
        raise a.forbidden(f"use of {CLIENT_SIGNER} signer with system:masters group is not allowed")


VALIDATE = (Step(check_subject, ("CREATE",), ("certificates.k8s.io", "certificatesigningrequests")),)
