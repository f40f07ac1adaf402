"""Bodies in and out: JSON, YAML and protobuf requests; JSON answers as objects, lists, tables or metadata only.

Source: upstream's content negotiation; kubectl 1.37 sends protobuf for typed writes and accepts JSON for every answer.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
import yaml

from moorings_core.ports.client import PatchType
from moorings_core.ports.errors import BadRequest, NotAcceptable, UnsupportedMediaType
from moorings_core.ports.objects import Object, Resource
from moorings_core.registry import columns, protobuf
from moorings_core.registry.custom import served

from .cache import Stored, fitted, tail
from .context import Context
from .http.message import Request
from .turns import Turns

Form = Literal["object", "table", "metadata"]
PATCH_TYPES: dict[str, PatchType] = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
    "application/apply-patch+cbor": "apply",
}
DEPTH_MOST = 200
CHUNK = 50
"""How many objects are encoded before others may run"""
JSON = "application/json"
PROTOBUF = "application/vnd.kubernetes.protobuf"
CUSTOM_PATCHES = ("application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml")
UNKNOWN_FORMAT = "the body of the request was in an unknown format - accepted media types include"
BODIES = f"{JSON}, application/yaml, application/vnd.kubernetes.protobuf"
INVALID_PATCH = "invalid JSON patch"
SUMMARY_MOST = 30
"""How many bytes of a body an answer repeats"""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The form of answer that a client asked for, and what a table's rows carry."""

    form: Form = "object"
    include: columns.Include = "Metadata"


def media_type(request: Request) -> str:
    """Return the body's media type without parameters; JSON where there is none."""
    return request.headers.get("content-type", JSON).partition(";")[0].strip().lower() or JSON


def decode(request: Request, context: Context, wanted: str = "") -> Object:
    """Return the object in a body; wanted is the kind that it should be. Raises BadRequest, UnsupportedMediaType."""
    kind = media_type(request)
    if kind == "application/vnd.kubernetes.protobuf":
        try:
            return protobuf.decode(request.body)
        except protobuf.ProtobufError as error:
            raise BadRequest(str(error)) from error
    if kind == "application/yaml":
        return _object(_yaml(request.body, context))
    if kind != JSON:
        raise UnsupportedMediaType(f"the body of the request was in an unknown format - accepted media types include: {BODIES}")
    try:
        return _object(_json(request.body, context))
    except orjson.JSONDecodeError as error:
        text = f"couldn't get version/kind; json parse error: {_words(error)} ({_summary(request.body)})"
        raise BadRequest(f"the object provided is unrecognized (must be of type {wanted}): {text}") from error


def decode_patch(request: Request, context: Context) -> tuple[Any, PatchType]:
    """Return a patch and its language. Raises BadRequest, UnsupportedMediaType."""
    kind = PATCH_TYPES.get(media_type(request))
    if kind is None:
        raise UnsupportedMediaType("415: Unsupported Media Type", details={})
    try:
        return (_configuration(request.body, context) if kind == "apply" else _json(request.body, context)), kind
    except orjson.JSONDecodeError as error:
        raise BadRequest(INVALID_PATCH if kind == "merge" else f"json parse error: {_words(error)}") from error


def _configuration(body: bytes, context: Context) -> Any:
    """Return a configuration to apply: YAML by its media type, and JSON as nearly everybody sends it."""
    try:
        return _json(body, context) if body.lstrip()[:1] == b"{" else _yaml(body, context)
    except orjson.JSONDecodeError:
        return _yaml(body, context)


def accepted(request: Request, *, whole: bool = False) -> Accepted:
    """Return the form of answer; whole: nothing but the object itself can be made. Raises NotAcceptable where that is not taken."""
    given = request.headers.get("accept", "")
    if not given:
        return Accepted()
    for part in given.split(","):
        kind, *rest = (p.strip() for p in part.split(";"))
        parameters = dict(p.partition("=")[::2] for p in rest)
        if kind not in (JSON, "application/*", "*/*"):
            continue
        wanted, version = parameters.get("as"), parameters.get("v", "v1")
        if whole and wanted is not None:
            continue
        if wanted == "Table" and version == "v1":
            include: Any = request.query.get("includeObject", "Metadata")
            return Accepted("table", include if include in ("None", "Metadata", "Object") else "Metadata")
        if wanted in ("PartialObjectMetadata", "PartialObjectMetadataList") and version == "v1":
            return Accepted("metadata")
        if wanted is None:
            return Accepted()
    if "protobuf" in given and JSON not in given:
        return Accepted()  # clients that ask for protobuf read JSON as well, by the answer's own type
    raise NotAcceptable(f"406: Not Acceptable\n\nAvailable representations: {JSON}", details={})


def one(resource: Resource, obj: Object, how: Accepted) -> bytes:
    """Return one object as the body of an answer."""
    if how.form == "table":
        version = {"resourceVersion": obj.get("metadata", {}).get("resourceVersion", "")}
        return orjson.dumps(columns.table(resource, [obj], metadata=version, include=how.include))
    return orjson.dumps(columns.metadata_only(obj) if how.form == "metadata" else obj)


async def many(resource: Resource, items: Sequence[Stored], metadata: Object, how: Accepted) -> bytes:
    """Return a list as the body of an answer; objects are joined as they were encoded before, never again."""
    turns = Turns()
    bodies = []
    for start in range(0, len(items), CHUNK):
        bodies += _bodies(resource, items[start : start + CHUNK], how)
        await turns.give()
    if how.form == "table":
        empty = orjson.dumps(columns.table(resource, [], metadata=metadata, include=how.include))
        return b"%b%b]}" % (empty.removesuffix(b"]}"), b",".join(bodies))
    if how.form == "metadata":
        kind, version = "PartialObjectMetadataList", "meta.k8s.io/v1"
    else:
        kind, version = f"{resource.kind}List", resource.api_version
    head = orjson.dumps({"kind": kind, "apiVersion": version, "metadata": metadata})
    return b"%b,%b%b%b" % (head[:-1], b'"items":[', b",".join(bodies), b"]}")


def _bodies(resource: Resource, items: Sequence[Stored], how: Accepted) -> list[bytes]:
    """Return the items as they stand in a list; a table's come as one piece."""
    if how.form == "table":
        rows = columns.rows(resource, [s.object for s in items], include=how.include)
        return [orjson.dumps(rows)[1:-1]]
    if how.form == "metadata":
        return [fitted(orjson.dumps(columns.metadata_only(s.object))) for s in items]
    if served.of(resource) is not None:
        return [s.body for s in items]  # each says what it is, as upstream has it for custom kinds
    end = tail(resource)
    return [s.item(end) for s in items]


def event(resource: Resource, kind: str, obj: Object, body: bytes | None, how: Accepted) -> bytes:
    """Return a watch event as one line."""
    if kind == "BOOKMARK" or how.form == "object":
        inner = body if body is not None else orjson.dumps(obj)
    elif how.form == "metadata":
        inner = orjson.dumps(columns.metadata_only(obj))
    else:
        version = {"resourceVersion": obj["metadata"]["resourceVersion"]}
        inner = orjson.dumps(columns.table(resource, [obj], metadata=version, include=how.include))
    return b'{"type":"%b","object":%b}\n' % (kind.encode(), inner)


def now() -> str:
    """Return the time as the API writes it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _object(value: Any) -> Object:
    if not isinstance(value, dict):
        raise BadRequest("the body is not an object")
    if value.get("metadata") is None:
        value["metadata"] = {}
    if not isinstance(value["metadata"], dict):
        raise BadRequest("json: cannot unmarshal metadata: it is not an object")
    return value


def _json(body: bytes, context: Context) -> Any:
    value = orjson.loads(body)
    if context.options.field_validation != "Ignore" and _key_count(value) != body.count(b'":'):
        _duplicates(body, context)
    return value


def _words(error: orjson.JSONDecodeError) -> str:
    """Return what is wrong with a JSON text; that it just ends is said as Go says it."""
    return "unexpected end of JSON input" if "unexpected end of data" in error.msg or not error.doc else str(error)


def _summary(body: bytes) -> str:
    """Return the beginning of a body, as text where it looks like an object."""
    if not body:
        return "<empty>"
    more = " ..." if len(body) > SUMMARY_MOST else ""
    begin = body[:SUMMARY_MOST]
    return (begin.decode(errors="replace") if body.startswith(b"{") else begin.hex()) + more


def _key_count(value: Any) -> int:
    """Return how many keys a document has: as many as `":` stands in its text, unless a key stands twice or text looks odd."""
    if isinstance(value, dict):
        return len(value) + sum(_key_count(v) for v in value.values() if isinstance(v, dict | list))
    return sum(_key_count(v) for v in value if isinstance(v, dict | list)) if isinstance(value, list) else 0


def _duplicates(body: bytes, context: Context) -> None:
    """Complain about keys that stand twice in one object: the decoder above silently keeps the last."""
    texts = [f'duplicate field "{path}"' for path in _doubles(json.loads(body, object_pairs_hook=_Pairs), "")]
    if context.options.field_validation == "Strict":
        context.duplicates.extend(dict.fromkeys(texts))
    else:
        context.warnings.extend(dict.fromkeys(texts))


class _Pairs(list[tuple[str, Any]]):
    """An object as its keys stand in the text."""


def _doubles(value: Any, path: str) -> Iterator[str]:
    """Yield the paths of keys that stand twice in one object."""
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for name, child in value:
            where = f"{path}.{name}" if path else name
            if name in seen:
                yield where
            seen.add(name)
            yield from _doubles(child, where)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _doubles(item, f"{path}[{index}]")


class _NoAliases(yaml.SafeLoader):
    """A loader that refuses aliases: a few bytes of them can stand for gigabytes."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self.doubles: list[str] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping, and note the keys that stand in it twice."""
        seen: set[Any] = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if name in seen:
                self.doubles.append(f'line {key.start_mark.line + 1}: key "{name}" already set in map')
            seen.add(name)
        return super().construct_mapping(node, deep)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise BadRequest("YAML aliases are not accepted")
        return super().compose_node(parent, index)


def _yaml(body: bytes, context: Context) -> Any:
    try:
        loader = _NoAliases(body)
        try:
            value = loader.get_single_data()
        finally:
            loader.dispose()
        value = orjson.loads(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS))  # what is no JSON is no object either
    except (yaml.YAMLError, TypeError) as error:
        raise BadRequest(f"the body is not valid YAML: {error}") from error
    if loader.doubles and context.options.field_validation == "Strict":
        listed = "\n  ".join(loader.doubles)
        raise BadRequest(f"error decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  {listed}")
    if context.options.field_validation == "Warn":
        context.warnings.extend(loader.doubles)
    return value
