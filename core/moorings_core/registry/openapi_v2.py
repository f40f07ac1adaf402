"""The OpenAPI v2 document: definitions only, in JSON and in the protobuf form that kubectl asks for.

kubectl 1.37 checks objects in a `kind: List` (what `kubectl get -o yaml` writes) against it, and nothing else any more.
Source: OpenAPI 2.0; field numbers of gnostic-models openapiv2/OpenAPIv2.proto.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping

import orjson

from moorings_core.ports.objects import Object

from .discovery import Document
from .facts import Definition, facts
from .schema import INT_OR_STRING, QUANTITY

PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
_ANSWERED = PROTOBUF.replace("@", ".")
"""What the answer is called: "@" may not stand in a media type (RFC 6838), and clients parse the answer's"""
_REFERENCE = "#/definitions/"
_GVK = "x-kubernetes-group-version-kind"
_SWAGGER, _INFO, _DEFINITIONS = 1, 2, 9
_REF, _FORMAT, _REQUIRED, _ADDITIONAL, _TYPE, _ITEMS, _PROPERTIES, _EXTENSION = 1, 2, 19, 21, 22, 23, 25, 31


@functools.cache
def document(*, protobuf: bool) -> Document:
    """/openapi/v2"""
    definitions = {name: _definition(name, raw) for name, raw in sorted(facts()["definitions"].items())}
    if protobuf:
        body, kind = _encode(definitions), _ANSWERED
    else:
        info = {"title": "Kubernetes", "version": "v1.37.2"}
        body, kind = orjson.dumps({"swagger": "2.0", "info": info, "paths": {}, "definitions": definitions}), "application/json"
    return Document(body, kind, f'"{hashlib.sha256(body).hexdigest().upper()}"')


def _definition(name: str, raw: Definition) -> Object:
    if name in (QUANTITY, INT_OR_STRING):
        return {"type": "string"} | ({"format": "int-or-string"} if name == INT_OR_STRING else {})
    made = _schema(raw)
    if "x" in raw:
        group, version, kind = raw["x"]
        made[_GVK] = [{"group": group, "kind": kind, "version": version}]
    return made


def _schema(raw: Definition) -> Object:
    if "r" in raw:
        return {"$ref": _REFERENCE + raw["r"]}
    made: Object = {"type": raw["t"]} if "t" in raw else {}
    for short, key in (("f", "format"), ("q", "required")):
        if short in raw:
            made[key] = raw[short]
    if "p" in raw:
        made["properties"] = {name: _schema(child) for name, child in raw["p"].items()}
    if "i" in raw:
        made["items"] = _schema(raw["i"])
    if "v" in raw:
        made["additionalProperties"] = _schema(raw["v"])
    return made


def _encode(definitions: Mapping[str, Object]) -> bytes:
    info = _text(1, "Kubernetes") + _text(2, "v1.37.2")
    return _text(_SWAGGER, "2.0") + _field(_INFO, info) + _field(_DEFINITIONS, _named(definitions))


def _named(schemas: Mapping[str, Object]) -> bytes:
    return b"".join(_field(1, _text(1, name) + _field(2, _message(schema))) for name, schema in schemas.items())


def _message(schema: Object) -> bytes:
    parts = [_text(number, schema[key]) for number, key in ((_REF, "$ref"), (_FORMAT, "format")) if key in schema]
    parts += [_text(_REQUIRED, name) for name in schema.get("required", ())]
    if "additionalProperties" in schema:
        parts.append(_field(_ADDITIONAL, _field(1, _message(schema["additionalProperties"]))))
    if "type" in schema:
        parts.append(_field(_TYPE, _text(1, schema["type"])))
    if "items" in schema:
        parts.append(_field(_ITEMS, _field(1, _message(schema["items"]))))
    if "properties" in schema:
        parts.append(_field(_PROPERTIES, _named(schema["properties"])))
    if _GVK in schema:
        parts.append(_field(_EXTENSION, _text(1, _GVK) + _field(2, _text(2, _yaml(schema[_GVK])))))
    return b"".join(parts)


def _yaml(kinds: Iterable[Mapping[str, str]]) -> str:
    return orjson.dumps(list(kinds)).decode()  # JSON is YAML


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode())


def _field(number: int, value: bytes) -> bytes:
    """Return one length-delimited field (wire type 2)."""
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
