"""Kubernetes protobuf bodies into the JSON trees they stand for. Decoding only: every client reads JSON.

Source: runtime.Unknown envelope ("k8s\\0" prefix); field numbers from the facts; JSON forms of the Go types (Time, Quantity,
IntOrString, RawExtension, FieldsV1, wrapped string lists). Empty strings, zero numbers and empty messages that Go writes for
optional fields are dropped; required ones stay.
"""

from __future__ import annotations

import base64
import datetime
import functools
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from moorings_core.ports.errors import MooringsError
from moorings_core.ports.objects import Object

from .facts import definition_of, facts
from .schema import Schema, named

MAGIC = b"k8s\0"
META, RUNTIME = "k8s.io.apimachinery.pkg.apis.meta.v1", "k8s.io.apimachinery.pkg.runtime"
INT_OR_STRING, QUANTITY = "k8s.io.apimachinery.pkg.util.intstr.IntOrString", "k8s.io.apimachinery.pkg.api.resource.Quantity"
_SCHEMAS = "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1"
_JSON_SCHEMA = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
_JSON_NAMES = {"ref": "$ref", "schema": "$schema"} | {
    f"xKubernetes{''.join(word.capitalize() for word in name.split('-'))}": f"x-kubernetes-{name}"
    for name in (
        "preserve-unknown-fields",
        "embedded-resource",
        "int-or-string",
        "list-map-keys",
        "list-type",
        "map-type",
        "validations",
    )
}
"""Fields of schemas that JSON calls by other names"""
DEPTH_MOST = 64
_SIGNED = {"int32", "int64"}


class ProtobufError(MooringsError):
    """The body is not what it says it is; `offset` counts bytes from the start of the message that is wrong."""

    def __init__(self, what: str, offset: int = 0) -> None:
        super().__init__(f"invalid protobuf at byte {offset}: {what}")
        self.offset = offset


class Field(NamedTuple):
    """A field of a message; label is "", "repeated", "map" or "inline" (an embedded struct)."""

    name: str
    type: str
    label: str


def decode(body: bytes) -> Object:
    """Return the object in an envelope. Raises ProtobufError."""
    if not body.startswith(MAGIC):
        raise ProtobufError("the body does not start with k8s\\0")
    try:
        unknown = {number: value for number, _, value in _fields(memoryview(body)[4:])}
        types = {number: bytes(value).decode() for number, _, value in _fields(unknown.get(1, b""))}
        api_version, kind = types.get(1, ""), types.get(2, "")
        message = message_of(api_version, kind)
        if not message:
            raise ProtobufError(f"no message is known for {api_version} {kind}")
        group, _, version = api_version.rpartition("/")
        schema_name = definition_of(group, version, kind)
        schema = named(schema_name) if schema_name else None
        return {"kind": kind, "apiVersion": api_version, **_message(message, unknown.get(2, b""), schema, 0)}
    except (IndexError, struct.error, UnicodeDecodeError, ValueError, TypeError) as error:
        raise ProtobufError(f"truncated or malformed ({error})") from error


@functools.cache
def message_of(api_version: str, kind: str) -> str:
    """Return the message of a kind, or ""."""
    group, _, version = api_version.rpartition("/")
    folder = group.split(".")[0] if group else "core"
    known = facts()["messages"]
    candidates = [f"k8s.io.api.{folder}.{version}.{kind}", f"{META}.{kind}"]
    candidates += [n for n in known if n.endswith(f".{version}.{kind}") and f".{folder}." in n]
    return next((name for name in candidates if name in known), "")


@functools.cache
def _table(message: str) -> Mapping[int, Field]:
    names = _JSON_NAMES if message == f"{_SCHEMAS}.JSONSchemaProps" else {}
    fields = facts()["messages"][message].items()
    return {int(number): Field(names.get(parts[0], parts[0]), *parts[1:]) for number, parts in fields}


def _fields(data: memoryview | bytes) -> Iterator[tuple[int, int, Any]]:
    """Yield (field number, wire type, value) of a message."""
    position, end = 0, len(data)
    while position < end:
        value: Any
        tag, position = _varint(data, position)
        wire = tag & 7
        if wire == 0:
            value, position = _varint(data, position)
        elif wire == 2:
            length, position = _varint(data, position)
            if position + length > end:
                raise ProtobufError("a field reaches past the end", position)
            value, position = data[position : position + length], position + length
        elif wire == 1:
            value, position = data[position : position + 8], position + 8
        elif wire == 5:
            value, position = data[position : position + 4], position + 4
        else:
            raise ProtobufError(f"wire type {wire} does not exist", position)
        yield tag >> 3, wire, value


def _varint(data: memoryview | bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
        shift += 7
        if shift > 63:
            raise ProtobufError("a number has more than 64 bits", position)


def _message(message: str, data: memoryview | bytes, schema: Schema | None, depth: int) -> Object:
    if depth > DEPTH_MOST:
        raise ProtobufError(f"nested deeper than {DEPTH_MOST}")
    table = _table(message)
    result: Object = {}
    for number, wire, raw in _fields(data):
        field = table.get(number)
        if field is None:
            continue
        node = schema.properties.get(field.name) if schema is not None else None
        if field.label == "map":
            key, value = _entry(field.type, raw, node.values if node else None, depth)
            result.setdefault(field.name, {})[key] = value
        elif field.label == "repeated":
            child = node.items if node else None
            result.setdefault(field.name, []).extend(_repeated(field.type, wire, raw, child, depth))
        elif field.label == "inline":
            result.update(_message(field.type, raw, schema, depth + 1))
        else:
            value = _value(field.type, wire, raw, node, depth)
            if _worth(value, field, schema):
                result[field.name] = value
    return result


def _worth(value: Any, field: Field, schema: Schema | None) -> bool:
    """Whether a singular value is more than Go's way of writing nothing, which fields without presence have."""
    if schema is not None and field.name in schema.required:
        return True
    if value is None or (field.label == "bare" and value in ("", 0)):
        return False
    return value != {} or field.label != "bare" or not field.type.endswith(("Status", "Spec", "Strategy", ".ObjectMeta", ".ListMeta"))


def _repeated(kind: str, wire: int, raw: Any, node: Schema | None, depth: int) -> list[Any]:
    if wire == 2 and kind in ("int32", "int64", "uint32", "uint64", "bool"):
        values, position = [], 0
        while position < len(raw):
            number, position = _varint(raw, position)
            values.append(_value(kind, 0, number, node, depth))
        return values
    return [_value(kind, wire, raw, node, depth)]


def _entry(kind: str, raw: memoryview, node: Schema | None, depth: int) -> tuple[str, Any]:
    parts = {number: (wire, value) for number, wire, value in _fields(raw)}
    key = bytes(parts[1][1]).decode() if 1 in parts else ""
    if 2 in parts:
        return key, _value(kind, *parts[2], node, depth)
    return key, "" if kind in ("string", "bytes", QUANTITY) else {}


def _value(kind: str, wire: int, raw: Any, node: Schema | None, depth: int) -> Any:
    if kind == "string":
        return bytes(raw).decode()
    if kind == "bytes":
        return base64.b64encode(raw).decode()
    if kind == "bool":
        return bool(raw)
    if kind in _SIGNED:
        return raw - (1 << 64) if raw >= 1 << 63 else raw
    if wire == 1:
        return struct.unpack("<d", raw)[0]
    if wire == 5:
        return struct.unpack("<f", raw)[0]
    special = _SPECIAL.get(kind)
    if special is not None:
        return special(raw, depth)
    if kind.startswith("k8s.io."):
        if list(_table(kind).values()) == [Field("items", "string", "repeated")]:
            return [bytes(item).decode() for _, _, item in _fields(raw)]
        return _message(kind, raw, node, depth + 1)
    return raw


def _numbers(raw: memoryview) -> dict[int, Any]:
    return {number: value for number, _, value in _fields(raw)}


def _moment(raw: memoryview) -> datetime.datetime | None:
    parts = _numbers(raw)
    seconds = parts.get(1, 0)
    if not parts or seconds >= 1 << 63:
        return None  # Go's zero time lies before 1970
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).replace(microsecond=parts.get(2, 0) // 1000)


def _time(raw: memoryview, _: int) -> str | None:
    moment = _moment(raw)
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _micro_time(raw: memoryview, _: int) -> str | None:
    moment = _moment(raw)
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _duration(raw: memoryview, _: int) -> str:
    nanoseconds = _numbers(raw).get(1, 0)
    return f"{nanoseconds / 1e9:g}s"


def _quantity(raw: memoryview, _: int) -> str:
    return bytes(_numbers(raw).get(1, b"0")).decode() or "0"


def _int_or_string(raw: memoryview, _: int) -> int | str:
    parts = _numbers(raw)
    if parts.get(1, 0) == 1:
        return bytes(parts.get(3, b"")).decode()
    number: int = parts.get(2, 0)
    return number - (1 << 64) if number >= 1 << 63 else number


def _raw_json(raw: memoryview, _: int) -> Any:
    body = bytes(_numbers(raw).get(1, b""))
    if body.startswith(MAGIC):
        return decode(body)
    return orjson.loads(body) if body else None


def _schema_or_bool(raw: memoryview, depth: int) -> Any:
    """A schema, or whether anything is allowed."""
    parts = _numbers(raw)
    if 2 in parts:
        return _message(f"{_SCHEMAS}.JSONSchemaProps", parts[2], named(_JSON_SCHEMA), depth + 1)
    return bool(parts.get(1, 0))


def _schema_or_array(raw: memoryview, depth: int) -> Any:
    """One schema or a list of them."""
    parts = list(_fields(raw))
    made = [_message(f"{_SCHEMAS}.JSONSchemaProps", value, named(_JSON_SCHEMA), depth + 1) for _, _, value in parts]
    return made[0] if parts and parts[0][0] == 1 else made


def _schema_or_strings(raw: memoryview, depth: int) -> Any:
    """A schema or a list of names."""
    parts = list(_fields(raw))
    if parts and parts[0][0] == 1:
        return _message(f"{_SCHEMAS}.JSONSchemaProps", parts[0][2], named(_JSON_SCHEMA), depth + 1)
    return [bytes(value).decode() for _, _, value in parts]


_SPECIAL: dict[str, Callable[[memoryview, int], Any]] = {
    f"{META}.Time": _time,
    f"{META}.MicroTime": _micro_time,
    f"{META}.Duration": _duration,
    f"{META}.FieldsV1": _raw_json,
    QUANTITY: _quantity,
    INT_OR_STRING: _int_or_string,
    f"{RUNTIME}.RawExtension": _raw_json,
    f"{_SCHEMAS}.JSON": _raw_json,
    f"{_SCHEMAS}.JSONSchemaPropsOrBool": _schema_or_bool,
    f"{_SCHEMAS}.JSONSchemaPropsOrArray": _schema_or_array,
    f"{_SCHEMAS}.JSONSchemaPropsOrStringArray": _schema_or_strings,
}
