"""OpenAPI v3 documents per group version, made when first asked for, from the facts: no descriptions.

kubectl reads from them: the fields of a kind (explain), merge keys and list types (apply, edit, diff), and, on PATCH, whether
the server checks fields itself and takes strategic merge patches. Source: OpenAPI 3.0; upstream's x-kubernetes extensions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import orjson

from moorings_core.ports.objects import Object

from . import explained
from .custom import published
from .custom.kind import CustomVersion
from .discovery import Document
from .facts import Definition, definition
from .kinds import Kind, Registry
from .schema import INT_OR_STRING, QUANTITY

PATCH_TYPES = ("application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml")
STRATEGIC = "application/strategic-merge-patch+json"
WRITES = {"create": ("post", "post"), "update": ("put", "put"), "patch": ("patch", "patch")}
READS = {"get": ("get", "get"), "list": ("get", "list"), "delete": ("delete", "delete")}
OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_REFERENCE = "#/components/schemas/"


class OpenApi:
    """The documents of one registry; `forget` after it changed."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._made: dict[str, Document] = {}

    def forget(self) -> None:
        """Make every document anew when next asked."""
        self._made.clear()

    def index(self) -> Document:
        """/openapi/v3: where each group version's document is."""
        paths = {}
        for group, version in self._group_versions():
            name = _path(group, version)
            found = self.document(group, version)
            assert found is not None
            paths[name] = {"serverRelativeURL": f"/openapi/v3/{name}?hash={found.etag.strip(chr(34))}"}
        paths |= {n: {"serverRelativeURL": f"/openapi/v3/{n}"} for n in (_path(g, v) for g, v in self._registry.remote)}
        body = orjson.dumps({"paths": paths})
        return Document(body, "application/json", _etag(body))

    def document(self, group: str, version: str) -> Document | None:
        """/openapi/v3/apis/GROUP/VERSION or /openapi/v3/api/v1, or None where nothing is served there."""
        kinds = self._registry.of(group, version)
        if not kinds:
            return None
        key = _path(group, version)
        if key not in self._made:
            body = orjson.dumps(_document(kinds))
            self._made[key] = Document(body, "application/json", _etag(body))
        return self._made[key]

    def _group_versions(self) -> Iterator[tuple[str, str]]:
        yield "", "v1"
        for group, versions in self._registry.groups:
            for version in versions:
                yield group, version


def _path(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def _etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest().upper()}"'


def _document(kinds: Sequence[Kind]) -> Object:
    schemas: Object = {}
    paths: Object = {}
    for kind in kinds:
        if kind.definition:
            _collect(kind.definition, schemas)
            schemas[kind.definition]["x-kubernetes-group-version-kind"] = [_gvk(kind)]
        elif kind.custom is not None:
            _add_custom(kind, kind.custom, schemas)
        paths.update(_paths(kind))
    info = {"title": "Kubernetes", "version": "v1.37.2"}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}


def _add_custom(kind: Kind, custom: CustomVersion, schemas: Object) -> None:
    name = published.name_of(kind.resource.group, kind.resource.version, kind.resource.kind)
    schemas[name] = published.published(custom.raw, _gvk(kind), _REFERENCE)
    schemas[f"{name}List"] = published.published_list(_REFERENCE + name, _gvk(kind), custom.list_kind, _REFERENCE)
    for meta in (OBJECT_META, published.LIST_META):
        _collect(meta, schemas)


def _gvk(kind: Kind) -> Object:
    return {"group": kind.resource.group, "version": kind.resource.version, "kind": kind.resource.kind}


def _collect(name: str, schemas: Object) -> None:
    if name in schemas:
        return
    raw = definition(name)
    schemas[name] = _schema(raw, name)
    if name == OBJECT_META:
        for field, text in explained.OBJECT_META.items():
            schemas[name]["properties"][field]["description"] = text
    if "x" in raw:
        group, version, kind = raw["x"]
        schemas[name]["x-kubernetes-group-version-kind"] = [{"group": group, "version": version, "kind": kind}]
    for reference in _references(raw):
        _collect(reference, schemas)


def _references(raw: Definition) -> Iterator[str]:
    if "r" in raw:
        yield raw["r"]
    for child in (*raw.get("p", {}).values(), *(raw[k] for k in ("i", "v") if k in raw)):
        yield from _references(child)


def _schema(raw: Definition, name: str = "") -> Object:
    if name in (QUANTITY, INT_OR_STRING):
        return {"type": "string"} | ({"format": "int-or-string"} if name == INT_OR_STRING else {})
    made: Object = {}
    if "r" in raw:
        made["allOf"] = [{"$ref": _REFERENCE + raw["r"]}]
    else:
        made["type"] = raw.get("t", "object")
    for short, key in (("f", "format"), ("q", "required"), ("e", "enum"), ("d", "default")):
        if short in raw:
            made[key] = raw[short]
    if "p" in raw:
        made["properties"] = {name: _schema(child) for name, child in raw["p"].items()}
    if "i" in raw:
        made["items"] = _schema(raw["i"])
    if "v" in raw:
        made["additionalProperties"] = _schema(raw["v"])
    return made | _extensions(raw)


def _extensions(raw: Definition) -> Object:
    found: Object = {}
    for short, key in (
        ("k", "x-kubernetes-patch-merge-key"),
        ("s", "x-kubernetes-patch-strategy"),
        ("l", "x-kubernetes-list-type"),
        ("m", "x-kubernetes-list-map-keys"),
    ):
        if short in raw:
            found[key] = raw[short]
    return found | ({"x-kubernetes-map-type": "atomic" if raw["a"] else "granular"} if "a" in raw else {})


def _paths(kind: Kind) -> Object:
    resource = kind.resource
    collection: Object = {}
    item: Object = {}
    for verb in kind.verbs:
        if verb in WRITES:
            method, action = WRITES[verb]
            (collection if verb == "create" else item)[method] = _write(kind, action)
        elif verb in READS:
            method, action = READS[verb]
            (collection if verb == "list" else item)[method] = _operation(kind, action)
    scope = "{namespace}" if resource.namespaced else ""
    paths = {resource.path(scope): collection} if collection else {}
    if resource.namespaced and "list" in kind.verbs:
        paths[resource.path("")] = {"get": _operation(kind, "list")}
    if item:
        paths[resource.path(scope, "{name}")] = item
    for name, subresource in kind.subresources.items():
        where = resource.path(scope, "{name}", name)
        paths[where] = {WRITES[v][0]: _write(kind, WRITES[v][1]) for v in subresource.verbs if v in WRITES}
        paths[where] |= {READS[v][0]: _operation(kind, READS[v][1]) for v in subresource.verbs if v in READS}
        if name == "proxy":
            paths[f"{where}/{{path}}"] = paths[where]
    return paths


def _operation(kind: Kind, action: str) -> Object:
    return {
        "operationId": f"{action}{kind.resource.kind}",
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": _gvk(kind),
    }


def _write(kind: Kind, action: str) -> Object:
    parameters = [
        {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
        for name in ("dryRun", "fieldManager", "fieldValidation", "force")
    ]
    types = ((*PATCH_TYPES, STRATEGIC) if kind.definition else PATCH_TYPES) if action == "patch" else ("*/*",)
    body = {"content": {name: {"schema": {"type": "object"}} for name in types}, "required": True}
    return {**_operation(kind, action), "parameters": parameters, "requestBody": body}
