"""The OpenAPI v2 document: definitions only, with those of aggregated servers, in JSON and in the protobuf form that kubectl asks for.

kubectl 1.37 checks objects in a `kind: List` (what `kubectl get -o yaml` writes) against it, and nothing else any more.
Source: OpenAPI 2.0; field numbers of gnostic-models openapiv2/OpenAPIv2.proto.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence

import orjson

from moorings_core.ports.objects import Object

from .custom import published
from .discovery import Document
from .facts import Definition, facts
from .kinds import Kind, Registry
from .merged import Part, merge
from .schema import INT_OR_STRING, QUANTITY

PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
_ANSWERED = PROTOBUF.replace("@", ".")
"""What the answer is called: "@" may not stand in a media type (RFC 6838), and clients parse the answer's"""
_REFERENCE = "#/definitions/"
_GVK = "x-kubernetes-group-version-kind"
_SWAGGER, _INFO, _DEFINITIONS = 1, 2, 9
_REF, _FORMAT, _DESCRIPTION, _REQUIRED, _ADDITIONAL, _TYPE, _ITEMS, _PROPERTIES, _EXTENSION = 1, 2, 4, 19, 21, 22, 23, 25, 31


class OpenApiV2:
    """The document of one registry; `forget` after it changed."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._made: dict[bool, Document] = {}

    def forget(self) -> None:
        """Make it anew when next asked."""
        self._made.clear()

    def document(self, *, protobuf: bool) -> Document:
        """/openapi/v2"""
        if protobuf not in self._made:
            custom = [kind for kind in self._registry.kinds() if kind.custom is not None]
            remote = self._registry.remote_schemas
            plain = not custom and not remote
            self._made[protobuf] = _built_in(protobuf=protobuf) if plain else _document(_custom(custom), remote, protobuf=protobuf)
        return self._made[protobuf]


def _custom(kinds: Sequence[Kind]) -> dict[str, Object]:
    found: dict[str, Object] = {}
    for kind in kinds:
        resource, custom = kind.resource, kind.custom
        assert custom is not None
        name = published.name_of(resource.group, resource.version, resource.kind)
        gvk = {"group": resource.group, "kind": resource.kind, "version": resource.version}
        found[name] = published.published(custom.raw, gvk, _REFERENCE, old=True)
        found[f"{name}List"] = published.published_list(_REFERENCE + name, gvk, custom.list_kind, _REFERENCE, old=True)
    return found


@functools.cache
def _built_in(*, protobuf: bool) -> Document:
    return _document({}, {}, protobuf=protobuf)


def _document(custom: Mapping[str, Object], remote: Mapping[tuple[str, str], Part], *, protobuf: bool) -> Document:
    own = {name: _definition(name, raw) for name, raw in sorted(facts()["definitions"].items())} | dict(custom)
    whole = merge(own, remote)
    if protobuf:
        body, kind = _encode(whole.definitions), _ANSWERED
    else:
        info = {"title": "Kubernetes", "version": "v1.37.2"}
        told = {"swagger": "2.0", "info": info, "paths": whole.paths, "definitions": whole.definitions}
        body, kind = orjson.dumps(told), "application/json"
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
    texts = ((_REF, "$ref"), (_FORMAT, "format"), (_DESCRIPTION, "description"))
    parts = [_text(number, schema[key]) for number, key in texts if key in schema]
    parts += [_text(_REQUIRED, name) for name in schema.get("required", ())]
    if isinstance(schema.get("additionalProperties"), dict):
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
