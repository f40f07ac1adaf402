"""Rules of volumes that show objects of the API as files. Source: upstream's validateProjectionSources and its neighbours."""

from __future__ import annotations

from collections.abc import Iterator

from moorings_core.ports.objects import Object

from . import contexts, environment, names, trust_bundles
from .errors import FieldError, Path, forbidden, invalid, not_supported, required
from .formats import qualified
from .placement import label_selector

MODE_WORDS = "must be a number between 0 and 0777 (octal), both inclusive"
TWICE = "conflicting duplicate paths"
TOKEN_SECONDS = (600, 1 << 32)
KEY_TYPES = ("RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519")
CERTIFICATE_LEAST = 3600
CERTIFICATE_MOST = (91 * 24 * 3600, 24 * 3600)
"""How long a pod's certificate may live at most, in seconds: by a signer of somebody's own, and by one of Kubernetes"""
CERTIFICATE_PATHS = ("credentialBundlePath", "keyPath", "certificateChainPath")


def secret(source: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with a volume that shows a Secret."""
    return _keyed(source, path, "secretName") + _items(source, path)


def config_map(source: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with a volume that shows a ConfigMap."""
    return _keyed(source, path, "name") + _items(source, path)


def _keyed(source: Object, path: Path, field: str) -> list[FieldError]:
    return ([] if source.get(field) else [required(path / field)]) + _mode(source, "defaultMode", path)


def _items(source: Object, path: Path) -> list[FieldError]:
    return [error for i, item in enumerate(source.get("items") or ()) for error in _item(item, (path / "items").at(i))]


def _item(item: Object, path: Path) -> list[FieldError]:
    found = [required(path / field) for field in ("key", "path") if not item.get(field)]
    return found + local(item.get("path", ""), path / "path") + _mode(item, "mode", path)


def _mode(source: Object, field: str, path: Path) -> list[FieldError]:
    mode = source.get(field)
    return [] if mode is None or 0 <= mode <= 0o777 else [invalid(path / field, mode, MODE_WORDS)]


def local(text: str, path: Path) -> list[FieldError]:
    """Return whether a file's path leads out of the volume, or begins as the volume's own files do."""
    found = contexts.descending(text, path)
    reserved = text.startswith("..") and not text.startswith("../")
    return [*found, invalid(path, text, "must not start with '..'")] if reserved else found


def downward(source: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with a volume that shows fields of the pod; upstream leaves the item's number out of these paths."""
    return _mode(source, "defaultMode", path) + [error for item in source.get("items") or () for error in _file(item, path)]


def _file(item: Object, path: Path) -> list[FieldError]:
    found = [] if item.get("path") else [required(path / "path")]
    found += local(item.get("path", ""), path / "path")
    field, amount = item.get("fieldRef"), item.get("resourceFieldRef")
    if field is not None:
        found += environment.field_ref(field, environment.FILE_FIELDS, path / "fieldRef")
        if amount is not None:
            found.append(invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"))
    elif amount is not None:
        found += environment.amount_ref(amount, path / "resourceFieldRef", volume=True)
    else:
        found.append(required(path, "one of fieldRef and resourceFieldRef is required"))
    return found + _mode(item, "mode", path)


def projected(source: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with a volume that shows several sources in one folder."""
    found, seen = _mode(source, "defaultMode", path), set[str]()
    for i, given in enumerate(source.get("sources") or ()):
        where = (path / "sources").at(i)
        there = [field for field in PROJECTIONS if given.get(field) is not None]
        for field in there:
            found += PROJECTIONS[field](given[field], where / field, path)
            for file, shown in _paths(field, given[field]):
                found += [invalid(path, shown, TWICE)] if file in seen else []
                seen.add(file)
        if len(there) > 1:
            found.append(forbidden(where, "may not specify more than 1 volume type per source"))
    return found


def _paths(field: str, source: Object) -> Iterator[tuple[str, str]]:
    """Yield the paths of the files that a source makes, each with what upstream names where it is there already."""
    for item in source.get("items") or ():
        if item.get("path"):
            yield item["path"], item["path"] if field == "downwardAPI" else source.get("name", "")
    if field == "clusterTrustBundle":
        yield source.get("path", ""), source.get("path", "")
    for name in CERTIFICATE_PATHS if field == "podCertificate" else ():
        if source.get(name):
            yield source[name], source[name]


def _object(source: Object, path: Path, volume: Path) -> list[FieldError]:
    return ([] if source.get("name") else [required(path / "name")]) + _items(source, path)


def _fields(source: Object, path: Path, volume: Path) -> list[FieldError]:
    return [error for item in source.get("items") or () for error in _file(item, path)]


def _token(source: Object, path: Path, volume: Path) -> list[FieldError]:
    seconds, file, where = source.get("expirationSeconds", 0), source.get("path", ""), path / "expirationSeconds"
    found: list[FieldError] = []
    if seconds < TOKEN_SECONDS[0]:
        found.append(invalid(where, seconds, "may not specify a duration less than 10 minutes"))
    if seconds > TOKEN_SECONDS[1]:
        found.append(invalid(where, seconds, "may not specify a duration larger than 2^32 seconds"))
    return found + (local(file, volume / "path") if file else [required(volume / "path")])


def _bundle(source: Object, path: Path, volume: Path) -> list[FieldError]:
    name, signer, selector = source.get("name"), source.get("signerName"), source.get("labelSelector")
    found: list[FieldError] = []
    if name is not None and signer is not None:
        shown = {field[0].upper() + field[1:]: source.get(field) for field in ("name", "signerName", "labelSelector", "optional")}
        shown |= {"Path": source.get("path", ""), "User": None}
        found.append(invalid(path, shown, "only one of name and signerName may be used"))
    elif name is not None:
        found += [] if name else [required(path / "name", "must be a valid object name")]
        if complaint := _bundle_name(name):
            found.append(invalid(path / "name", name, f"not a valid clustertrustbundlename: {complaint}"))
        if selector is not None:
            found.append(invalid(path / "labelSelector", selector, "labelSelector must be unset if name is specified"))
    elif signer is not None:
        found += [] if signer else [required(path / "signerName", "must be a valid signer name")]
        found += _signer(signer, path / "signerName") + label_selector(selector, path / "labelSelector")
    else:
        found.append(required(path, "either name or signerName must be specified"))
    file = source.get("path", "")
    return found + ([] if file else [required(path / "path")]) + local(file, path / "path")


def _bundle_name(name: str) -> str:
    return names.subdomain(name.rpartition(":")[2])


def _signer(name: str, path: Path) -> list[FieldError]:
    return trust_bundles.signer_name(name, path) if name else [required(path)]


def _certificate(source: Object, path: Path, volume: Path) -> list[FieldError]:
    signer, seconds, where = source.get("signerName", ""), source.get("maxExpirationSeconds"), path / "maxExpirationSeconds"
    found = _signer(signer, path / "signerName")
    for key in source.get("userAnnotations") or {}:
        found += _prefixed(key.lower(), path / "userAnnotations")
    if source.get("keyType") not in KEY_TYPES:
        found.append(not_supported(path / "keyType", source.get("keyType", ""), KEY_TYPES))
    domain = signer.partition("/")[0]
    most = CERTIFICATE_MOST[1 if domain == "kubernetes.io" or domain.endswith(".kubernetes.io") else 0]
    if seconds is not None and seconds < CERTIFICATE_LEAST:
        found.append(invalid(where, seconds, f"if provided, maxExpirationSeconds must be >= {CERTIFICATE_LEAST}"))
    if seconds is not None and seconds > most:
        found.append(invalid(where, seconds, f"if provided, maxExpirationSeconds must be <= {most}"))
    given = [field for field in CERTIFICATE_PATHS if source.get(field)]
    found += [error for field in given for error in local(source[field], path / field)]
    text = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"
    return found if given else [*found, required(path, text)]


def _prefixed(key: str, path: Path) -> list[FieldError]:
    if not key:
        return [required(path)]
    found = qualified(key, path)
    return found or ([] if "/" in key else [invalid(path, key, 'must be a domain-prefixed key (such as "acme.io/foo")')])


PROJECTIONS = {
    "secret": _object,
    "configMap": _object,
    "downwardAPI": _fields,
    "serviceAccountToken": _token,
    "clusterTrustBundle": _bundle,
    "podCertificate": _certificate,
}
