"""Checking an expression against an OpenAPI schema, before there is data: unknown fields and mixed types are found at once.

The schema becomes a message type, which is what the compiler knows structures as. Evaluation needs none of it: it runs on plain data.
Source: apiserver pkg/cel/common (escaping of names, formats), pkg/cel/openapi.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from google.protobuf import duration_pb2, timestamp_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

from .environment import Described, checking, described, new_pool
from .errors import compile_error

_WORDS = """true false null in as break const continue else for function if import let loop package namespace return var void while"""
_RESERVED = frozenset(_WORDS.split())
_ESCAPES = (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__"))
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SCALARS = {
    "string": FieldDescriptorProto.TYPE_STRING,
    "integer": FieldDescriptorProto.TYPE_INT64,
    "number": FieldDescriptorProto.TYPE_DOUBLE,
    "boolean": FieldDescriptorProto.TYPE_BOOL,
}
_WELL_KNOWN = {
    "date": ".google.protobuf.Timestamp",
    "date-time": ".google.protobuf.Timestamp",
    "duration": ".google.protobuf.Duration",
}
_FORMATS = {"date": "timestamp", "date-time": "timestamp", "duration": "duration", "byte": "bytes"}
DYNAMIC = ".google.protobuf.Value"
Schema = Mapping[str, Any]


def escape(name: str) -> str | None:
    """Return how a field is called in an expression, or None where it can't be named there."""
    if name in _RESERVED:
        return f"__{name}__"
    for text, escaped in _ESCAPES:
        name = name.replace(text, escaped)
    return name if _IDENTIFIER.fullmatch(name) else None


def check(expression: str, schemas: Mapping[str, Schema], variables: Mapping[str, str] | None = None) -> str:
    """Check an expression whose variables have these schemas and return the type that it gives. Raises CompileError.

    variables: further ones, by CEL's name of their type.
    """
    return type_name(compiled(expression, schemas, variables))


def type_name(expression: Any) -> str:
    """Return CEL's name of the type that a compiled expression gives."""
    return str(expression.return_type().name()).lower().replace("<", "(").replace(">", ")")


def compiled(
    expression: str,
    schemas: Mapping[str, Schema],
    variables: Mapping[str, str] | None = None,
    *,
    optional: Sequence[str] = (),
    extensions: Sequence[str] = (),
) -> Any:
    """Return an expression as the compiler understands it, for its type and its tree; it can't be evaluated. Raises CompileError.

    optional: the variables that are optional values. extensions: what is allowed beside what every expression may use.
    """
    file = FileDescriptorProto(name="schema.proto", syntax="proto2", package="moorings.schema")
    file.dependency.extend(["google/protobuf/struct.proto", "google/protobuf/timestamp.proto", "google/protobuf/duration.proto"])
    maker = _Maker(file)
    distinct = {id(schema): schema for schema in schemas.values()}  # one schema is one type: self may be compared with oldSelf
    by_schema = {key: maker.holder(schema) for key, schema in distinct.items()}
    holders = {name: by_schema[id(schema)] for name, schema in schemas.items()}
    pool = new_pool()
    pool.Add(file)
    types = {name: _variable(schema, holders[name]) for name, schema in schemas.items()}
    types |= {name: described("optional_type", types[name]) for name in optional}
    types |= {name: described(kind) for name, kind in (variables or {}).items()}
    try:
        return checking(pool, types, extensions).compile(expression)
    except RuntimeError as error:
        raise compile_error(error) from error


def as_values(value: Any, schema: Schema) -> Any:
    """Return a value as expressions over its schema see it: fields by their escaped names, moments, durations and bytes as such."""
    kind = schema.get("type")
    if isinstance(value, dict):
        fields, values = schema.get("properties") or {}, schema.get("additionalProperties")
        if not fields:
            return {k: as_values(v, values) for k, v in value.items()} if isinstance(values, dict) else value
        return {escape(k) or k: as_values(v, fields[k]) if k in fields else v for k, v in value.items()}
    if isinstance(value, list):
        items = schema.get("items")
        return [as_values(v, items) for v in value] if isinstance(items, dict) else value
    if kind == "number" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return _of_format(value, schema.get("format", "")) if kind == "string" and isinstance(value, str) else value


def _of_format(text: str, form: str) -> Any:
    """Return a text as what its format says; what does not fit stays a text."""
    try:
        if form in ("date", "date-time"):
            moment = timestamp_pb2.Timestamp()
            moment.FromJsonString(text if form == "date-time" else f"{text}T00:00:00Z")
            return moment
        if form == "duration":
            return seconds(text)
        return base64.b64decode(text) if form == "byte" else text
    except ValueError:
        return text


_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def seconds(text: str) -> duration_pb2.Duration:
    """Return a duration in Go's words ("1h30m"). Raises ValueError."""
    sign, bare = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    parts = _PART.findall(bare)
    if "".join(number + unit for number, unit in parts) != bare or not (parts or bare == "0"):
        raise ValueError(f"no duration: {text}")
    total = duration_pb2.Duration()
    total.FromNanoseconds(sign * sum(int(Fraction(number) * _UNITS[unit]) for number, unit in parts))
    return total


def _variable(schema: Schema, message: str) -> Described:
    """Return CEL's type of a schema; message is the name of its message type, where it needed one."""
    if schema.get("x-kubernetes-int-or-string"):
        return described("dyn")
    match schema.get("type"):
        case "string":
            return described(_FORMATS.get(schema.get("format", ""), "string"))
        case "integer":
            return described("int")
        case "number":
            return described("double")
        case "boolean":
            return described("bool")
        case "array":
            return described("list", _variable(schema.get("items") or {}, message))
        case "object" if schema.get("properties") or not schema.get("additionalProperties"):
            return described(message if _is_message(schema) else "dyn")
        case "object":
            values = schema["additionalProperties"]
            return described("map", described("string"), _variable(values if isinstance(values, dict) else {}, message))
    return described("dyn")


def _is_message(schema: Schema) -> bool:
    return bool(schema.get("type") == "object" and (schema.get("properties") or not schema.get("x-kubernetes-preserve-unknown-fields")))


class _Maker:
    """Writes message types into a file."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self._file, self._count = file, 0

    def holder(self, schema: Schema) -> str:
        """Return the name of the message type of the object that a schema is, or holds in lists and maps."""
        while not _is_message(schema) or not (schema.get("properties") or not schema.get("additionalProperties")):
            inner = schema.get("items") or schema.get("additionalProperties")
            if not isinstance(inner, dict):
                return ""
            schema = inner
        return self._message(schema).removeprefix(".")

    def _message(self, schema: Schema) -> str:
        self._count += 1
        name = f"M{self._count}"
        message = self._file.message_type.add(name=name)
        fields: dict[str, Any] = dict(schema.get("properties") or {})
        if schema.get("x-kubernetes-embedded-resource"):
            meta = {"type": "object", "properties": {"name": {"type": "string"}, "generateName": {"type": "string"}}}
            fields = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": meta} | fields
        for field, child in fields.items():
            known = escape(field)
            if known is not None:
                self._field(message, name, known, child)
        return f".{self._file.package}.{name}"

    def _field(self, message: DescriptorProto, owner: str, name: str, schema: Schema) -> None:
        field = message.field.add(name=name, number=len(message.field) + 1, label=FieldDescriptorProto.LABEL_OPTIONAL)
        match self._kind(schema):
            case "list":
                field.label = FieldDescriptorProto.LABEL_REPEATED
                self._set(field, schema.get("items") or {})
            case "map":
                field.label = FieldDescriptorProto.LABEL_REPEATED
                field.type = FieldDescriptorProto.TYPE_MESSAGE
                field.type_name = self._entry(message, owner, name, schema["additionalProperties"])
            case _:
                self._set(field, schema)

    def _kind(self, schema: Schema) -> str:
        if schema.get("type") == "array":
            return "list"
        return "map" if schema.get("type") == "object" and schema.get("additionalProperties") and not schema.get("properties") else ""

    def _entry(self, message: DescriptorProto, owner: str, name: str, values: Any) -> str:
        title = f"{''.join(part[:1].upper() + part[1:] for part in name.split('_'))}Entry"
        entry = message.nested_type.add(name=title)
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, type=FieldDescriptorProto.TYPE_STRING, label=FieldDescriptorProto.LABEL_OPTIONAL)
        value = entry.field.add(name="value", number=2, label=FieldDescriptorProto.LABEL_OPTIONAL)
        self._set(value, values if isinstance(values, dict) else {})
        return f".{self._file.package}.{owner}.{title}"

    def _set(self, field: FieldDescriptorProto, schema: Schema) -> None:
        """Give a field its type; lists of lists and maps of maps are more than a message type says, and go unchecked."""
        kind, form = schema.get("type", ""), schema.get("format", "")
        if kind in _SCALARS and not schema.get("x-kubernetes-int-or-string"):
            if kind == "string" and form in _WELL_KNOWN:
                field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, _WELL_KNOWN[form]
                return
            field.type = FieldDescriptorProto.TYPE_BYTES if (kind, form) == ("string", "byte") else _SCALARS[kind]
            return
        field.type = FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = self._message(schema) if _is_message(schema) and not self._kind(schema) else DYNAMIC
