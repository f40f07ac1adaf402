"""Rules of ClusterTrustBundles. Source: upstream's ValidateClusterTrustBundle, validateTrustBundle and ValidateSignerName."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

from moorings_core.ports.objects import Object

from . import names
from .errors import FieldError, Path, invalid, too_long

BUNDLE, SIGNER = Path("spec.trustBundle"), Path("spec.signerName")
SIZE_MOST = 1 << 20
DOMAIN_MOST, SIGNER_MOST = 253, 253 + 253 + 63 + 1 + 1
OMITTED = "<value omitted>"
_BLOCK = re.compile(r"-----BEGIN ([^\n-]+)-----[ \t]*\n(.*?)-----END \1-----", re.DOTALL)


def _bundle(obj: Object) -> list[FieldError]:
    spec = obj.get("spec") or {}
    return _signed(obj) + trust_bundle(spec.get("trustBundle", ""), BUNDLE)


def _signed(obj: Object) -> list[FieldError]:
    signer = (obj.get("spec") or {}).get("signerName", "")
    return _name(obj["metadata"].get("name", ""), signer) + (signer_name(signer, SIGNER) if signer else [])


def _name(name: str, signer: str) -> list[FieldError]:
    path, prefix = Path("metadata.name"), signer.replace("/", ":") + ":"
    if not signer:
        text = 'ClusterTrustBundle without signer name must not have ":" in its name'
        return [invalid(path, name, text)] if ":" in name else []
    if not name.startswith(prefix):
        return [invalid(path, name, f"ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}")]
    complaint = names.subdomain(name.removeprefix(prefix))
    return [invalid(path, name, complaint)] if complaint else []


def unsigned_name(name: str) -> str:
    """The name of a bundle: with colons it says whose it is, and is looked at together with that."""
    return "" if ":" in name else names.subdomain(name)


def signer_name(name: str, path: Path) -> list[FieldError]:
    """Return what is wrong with a signer's name: a domain and a path."""
    parts = name.split("/")
    if len(parts) != 2:
        return [invalid(path, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")]
    domain, rest = parts
    found = [too_long(path, DOMAIN_MOST)] if len(domain) > DOMAIN_MOST else []
    found += _labels(domain, path, domain=True)
    if "." not in domain:
        found.append(invalid(path, domain, "should be a domain with at least two segments separated by dots"))
    found += _labels(rest, path, domain=False)
    return found + ([too_long(path, SIGNER_MOST)] if len(name) > SIGNER_MOST else [])


def _labels(text: str, path: Path, *, domain: bool) -> list[FieldError]:
    for label in text.split("."):
        if complaint := names.label(label) if domain else names.subdomain(label):
            return [invalid(path, text, f'validating label "{label}": {complaint}')]
    return []


def trust_bundle(text: str, path: Path) -> list[FieldError]:
    """Return what is wrong with concatenated certificates of authorities: each is there once, and there is one."""
    if len(text) > SIZE_MOST:
        return [too_long(path, SIZE_MOST)]
    known: dict[bytes, list[int]] = {}
    found: list[FieldError] = []
    for i, (kind, headers, raw) in enumerate(_blocks(text)):
        if complaint := _complaint(kind, headers, raw):
            found.append(invalid(path, OMITTED, f"entry {i} {complaint}"))
        else:
            known.setdefault(raw, []).append(i)
    if not found and not known:
        return [invalid(path, OMITTED, "at least one trust anchor must be provided")]
    twice = [f"duplicate trust anchor (indices [{' '.join(map(str, at))}])" for at in known.values() if len(at) > 1]
    return found or [invalid(path, OMITTED, words) for words in twice]


def _blocks(text: str) -> Iterator[tuple[str, bool, bytes]]:
    """Yield the type of each PEM block, whether it has headers, and what it holds; what is none is passed over."""
    for block in _BLOCK.finditer(text):
        head, empty, body = block[2].partition("\n\n")
        headers = ":" in head
        encoded = body if headers and empty else block[2]
        try:
            yield block[1], headers, base64.b64decode("".join(encoded.split()), validate=True)
        except (binascii.Error, ValueError):
            continue


def _complaint(kind: str, headers: bool, raw: bytes) -> str:
    from cryptography import x509  # large, and few objects have certificates

    if kind != "CERTIFICATE":
        return f"has bad block type: {kind}"
    if headers:
        return "has PEM block headers"
    try:
        constraints = x509.load_der_x509_certificate(raw).extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return "does not have the CA bit set"
    except ValueError:
        return "does not parse as X.509"
    return "" if constraints.value.ca else "does not have the CA bit set"


def _bundle_update(new: Object, old: Object) -> list[FieldError]:
    after, before = ((o.get("spec") or {}) for o in (new, old))
    if after.get("signerName", "") == before.get("signerName", ""):
        return []
    return [invalid(SIGNER, after.get("signerName", ""), "field is immutable")]


KIND = ("certificates.k8s.io", "clustertrustbundles")
CREATE = {KIND: _bundle}
UPDATE = {KIND: _bundle_update}
