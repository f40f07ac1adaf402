"""Files of ConfigMap, Secret, downward API and projected volumes. Pure but for the tokens, which `tokens` brings."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping

from moorings_core.agent.environment import MissingSource, field_value, resource_value
from moorings_core.ports.objects import Object

from . import trust
from .atomic import File
from .certificates import Credentials

Raw = Callable[[str, str], Mapping[str, bytes] | None]
"""raw("ConfigMap" | "Secret", name) -> its data, or None; raw("ClusterTrustBundle", its key) -> {"": the anchors}, or None"""
Token = Callable[[Object], str]
"""token(serviceAccountToken source) -> a token that is good for now"""


Certificate = Callable[[str], Credentials]
"""certificate(place of a source) -> the key and certificates that it holds"""


def _none(place: str) -> Credentials:
    raise MissingSource(f"no certificate for {place}")


def config_map_data(obj: Object) -> dict[str, bytes]:
    """Return the entries of a ConfigMap."""
    text = {k: v.encode() for k, v in (obj.get("data") or {}).items()}
    return text | {k: base64.b64decode(v) for k, v in (obj.get("binaryData") or {}).items()}


def secret_data(obj: Object) -> dict[str, bytes]:
    """Return the entries of a Secret."""
    return {k: base64.b64decode(v or "") for k, v in (obj.get("data") or {}).items()}


def volume_files(
    volume: Object, pod: Object, raw: Raw, token: Token, allocatable: Mapping[str, str], certificate: Certificate = _none
) -> dict[str, File]:
    """Return the files of a volume. Raises MissingSource."""
    if "configMap" in volume:
        source = volume["configMap"]
        return _entries("ConfigMap", source.get("name", ""), source, source.get("defaultMode", 0o644), raw)
    if "secret" in volume:
        source = volume["secret"]
        return _entries("Secret", source.get("secretName", ""), source, source.get("defaultMode", 0o644), raw)
    if "downwardAPI" in volume:
        source = volume["downwardAPI"]
        return _fields(source, pod, source.get("defaultMode", 0o644), allocatable)
    files: dict[str, File] = {}
    projected = volume["projected"]
    mode = projected.get("defaultMode", 0o644)
    for number, source in enumerate(projected.get("sources") or ()):
        if source.get("podCertificate"):
            files |= _credentials(source["podCertificate"], mode, certificate(f"{volume['name']}/{number}"))
            continue
        files |= _projected(source, pod, mode, raw, token, allocatable)
    return files


def _projected(source: Object, pod: Object, mode: int, raw: Raw, token: Token, allocatable: Mapping[str, str]) -> dict[str, File]:
    if source.get("configMap"):
        return _entries("ConfigMap", source["configMap"]["name"], source["configMap"], mode, raw)
    if source.get("secret"):
        return _entries("Secret", source["secret"]["name"], source["secret"], mode, raw)
    if source.get("downwardAPI"):
        return _fields(source["downwardAPI"], pod, mode, allocatable)
    if source.get("serviceAccountToken"):
        wanted = source["serviceAccountToken"]
        return {wanted["path"]: File(token(wanted).encode(), mode)}
    if source.get("clusterTrustBundle"):
        return _anchors(source["clusterTrustBundle"], mode, raw)
    raise MissingSource(f"projected volume source {sorted(source)} is not supported")


def _credentials(source: Object, mode: int, issued: Credentials) -> dict[str, File]:
    contents = {"credentialBundlePath": issued.key + issued.chain, "keyPath": issued.key, "certificateChainPath": issued.chain}
    return {source[field]: File(content, mode) for field, content in contents.items() if source.get(field)}


def _anchors(source: Object, mode: int, raw: Raw) -> dict[str, File]:
    found = raw(trust.KIND, trust.key(source))
    if found is None and not source.get("optional"):
        what = f'named "{source["name"]}"' if source.get("name") else f'of signer "{source.get("signerName")}"'
        raise MissingSource(f"no trust bundle {what} found")
    return {source["path"]: File((found or {"": b""})[""], mode)}


def _entries(kind: str, name: str, source: Object, mode: int, raw: Raw) -> dict[str, File]:
    data = raw(kind, name)
    if data is None:
        if source.get("optional"):
            return {}
        raise MissingSource(f'{kind.lower()} "{name}" not found')
    items = source.get("items")
    if not items:
        return {key: File(value, mode) for key, value in data.items()}
    files = {}
    for item in items:
        if item["key"] not in data:
            if source.get("optional"):
                continue
            raise MissingSource(f"references non-existent {kind.lower()} key: {item['key']}")
        files[item["path"]] = File(data[item["key"]], item.get("mode", mode))
    return files


def _fields(source: Object, pod: Object, mode: int, allocatable: Mapping[str, str]) -> dict[str, File]:
    files = {}
    for item in source.get("items") or ():
        if item.get("fieldRef"):
            text = field_value(pod, item["fieldRef"]["fieldPath"])
        else:
            text = resource_value(pod, "", item["resourceFieldRef"], allocatable)
        files[item["path"]] = File(text.encode(), item.get("mode", mode))
    return files
