"""Custom resources: definitions right and wrong, and objects of a defined kind in every way."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from .cases import APPLY, JSON, MERGE, STRATEGIC, TABLE, Case, obj, path
from .peers import Request

API = "apiextensions.k8s.io/v1"
Schema = dict[str, Any]
STRING, INTEGER = {"type": "string"}, {"type": "integer"}
RULES = [
    {"rule": "!has(self.most) || self.count <= self.most", "messageExpression": "'more than the most'"},
    {"rule": "!has(oldSelf.fixed) || self.fixed == oldSelf.fixed", "message": "fixed is fixed", "reason": "FieldValueForbidden"},
]
SPEC: Schema = {
    "type": "object",
    "required": ["count"],
    "x-kubernetes-validations": RULES,
    "properties": {
        "count": {"type": "integer", "minimum": 0, "maximum": 100},
        "most": INTEGER,
        "fixed": {"type": "string", "maxLength": 9},
        "mode": {"type": "string", "enum": ["fast", "slow"], "default": "fast"},
        "name": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 5},
        "share": {"x-kubernetes-int-or-string": True},
        "maybe": {"type": "string", "nullable": True},
        "when": {"type": "string", "format": "date-time"},
        "ratio": {"type": "number", "multipleOf": 0.5},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "nested": {"type": "object", "default": {}, "properties": {"depth": {"type": "integer", "default": 3}}},
        "labels": {"type": "object", "additionalProperties": STRING, "maxProperties": 2},
        "tags": {"type": "array", "items": STRING, "x-kubernetes-list-type": "set", "maxItems": 3},
        "ports": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "required": ["name"], "properties": {"name": STRING, "port": INTEGER}},
        },
        "either": {"type": "object", "properties": {"a": STRING, "b": STRING}, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        "template": {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
    },
}
STATUS: Schema = {"type": "object", "properties": {"ready": INTEGER, "selector": STRING}}
ROOT: Schema = {"type": "object", "properties": {"spec": SPEC, "status": STATUS}}
SCALE = {"specReplicasPath": ".spec.count", "statusReplicasPath": ".status.ready", "labelSelectorPath": ".status.selector"}
COLUMNS = [
    {"name": "Count", "type": "integer", "jsonPath": ".spec.count"},
    {"name": "Mode", "type": "string", "jsonPath": ".spec.mode", "priority": 1},
    {"name": "Tags", "type": "string", "jsonPath": ".spec.tags"},
    {"name": "Missing", "type": "string", "jsonPath": ".spec.nothing.here"},
    {"name": "First", "type": "integer", "jsonPath": '.spec.ports[?(@.name=="a")].port'},
    {"name": "When", "type": "date", "jsonPath": ".spec.when"},
]
VALUES: dict[str, Any] = {
    "a minimum": {"count": 1},
    "everything": {
        "count": 2, "most": 5, "mode": "slow", "name": "abc", "share": "5%", "maybe": None, "when": "2020-01-01T00:00:00Z", "ratio": 1.5,
        "open": {"a": [1, {"b": 2}]}, "nested": {"depth": 1}, "labels": {"a": "b"}, "tags": ["b", "a"], "ports": [{"name": "a", "port": 1}],
        "either": {"a": "x"}, "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"a": 1}},
    },
    "unknown fields": {"count": 1, "other": 1, "nested": {"other": 1}, "ports": [{"name": "a", "other": 1}], "open": {"other": 1}},
    "a null for a default": {"count": 1, "mode": None},
    "a null without a default": {"count": 1, "most": None},
    "a missing field": {},
    "a string for a number": {"count": "1"},
    "a fraction for a number": {"count": 1.5},
    "a whole fraction": {"count": 2.0},
    "a bool for a string": {"count": 1, "name": True},
    "a list for an object": {"count": 1, "nested": []},
    "too little": {"count": -1},
    "too much": {"count": 101},
    "a value that is none": {"count": 1, "mode": "other"},
    "a pattern": {"count": 1, "name": "ABC"},
    "too short": {"count": 1, "name": "a"},
    "too long": {"count": 1, "name": "abcdefg"},
    "no part of a step": {"count": 1, "ratio": 0.7},
    "no time": {"count": 1, "when": "yesterday"},
    "a share that is none": {"count": 1, "share": True},
    "too many fields": {"count": 1, "labels": {"a": "1", "b": "2", "c": "3"}},
    "a label that is none": {"count": 1, "labels": {"a": 1}},
    "too many items": {"count": 1, "tags": ["a", "b", "c", "d"]},
    "a tag twice": {"count": 1, "tags": ["a", "b", "a"]},
    "a port twice": {"count": 1, "ports": [{"name": "a"}, {"name": "b"}, {"name": "a"}]},
    "a port without a name": {"count": 1, "ports": [{"port": 1}]},
    "both of one": {"count": 1, "either": {"a": "x", "b": "y"}},
    "none of one": {"count": 1, "either": {}},
    "an embedded object that is none": {"count": 1, "template": {"spec": {}}},
    "a broken rule": {"count": 7, "most": 5},
    "two mistakes in one": {"count": 1, "name": "A"},
}  # fmt: skip
CHANGES: dict[str, list[tuple[str, Any, dict[str, str]]]] = {
    "merged": [("PATCH", {"spec": {"most": 9, "nested": None}}, MERGE)],
    "merged with a mistake": [("PATCH", {"spec": {"count": 200}}, MERGE)],
    "patched": [("PATCH", [{"op": "replace", "path": "/spec/count", "value": 3}], JSON)],
    "patched strategically": [("PATCH", {"spec": {"count": 3}}, STRATEGIC)],
    "against a transition rule": [("PATCH", {"spec": {"fixed": "a"}}, MERGE), ("PATCH", {"spec": {"fixed": "b"}}, MERGE)],
    "without a change": [("PATCH", {"spec": {"count": 1}}, MERGE)],
}


def definition(group: str, *, schema: Schema | None = None, kind: str = "Thing", **version: Any) -> dict[str, Any]:
    """Return a definition of things in a group."""
    made = {
        "name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema or ROOT},
        "subresources": {"status": {}, "scale": SCALE}, "additionalPrinterColumns": COLUMNS,
        "selectableFields": [{"jsonPath": ".spec.mode"}],
    } | version  # fmt: skip
    names = {"plural": "things", "kind": kind, "shortNames": ["th"], "categories": ["all"]}
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [{k: v for k, v in made.items() if v is not None}]}
    return obj(API, "CustomResourceDefinition", f"things.{group}", spec=spec)


def _post(crd: dict[str, Any]) -> Request:
    return Request("POST", path(API, "customresourcedefinitions", namespace=""), crd)


def _served(group: str) -> Request:
    return Request("GET", f"/apis/{group}/v1", until="things/scale")


def _gone(group: str) -> list[Request]:
    where = path(API, "customresourcedefinitions", f"things.{group}", "")
    return [Request("DELETE", where), Request("GET", where, until='"NotFound"')]


def _thing(group: str, /, **spec: Any) -> dict[str, Any]:
    return obj(f"{group}/v1", "Thing", "x", spec=spec)


def objects() -> Iterator[Case]:
    """Yield what becomes of objects of a kind."""
    group = "objects.example.com"
    where = path(f"{group}/v1", "things")
    yield "custom: a definition", [_post(definition(group)), _served(group)]
    for name, spec in VALUES.items():
        thing = _thing(group, **spec)
        strict = Request("POST", f"{where}?fieldValidation=Strict&dryRun=All", thing)
        yield f"custom: {name}", [strict, Request("POST", where, thing), Request("DELETE", f"{where}/x")]
    for name, steps in CHANGES.items():
        requests = [Request("POST", where, _thing(group, count=1))]
        requests += [Request(method, f"{where}/x", body, headers) for method, body, headers in steps]
        yield f"custom: {name}", [*requests, Request("DELETE", f"{where}/x")]
    yield from _subresources(group, where)
    yield "custom: the definition goes", _gone(group)


def _subresources(group: str, where: str) -> Iterator[Case]:
    made, gone = (
        Request("POST", where, _thing(group, count=1, tags=["b", "a"], ports=[{"name": "a", "port": 7}])),
        Request("DELETE", f"{where}/x"),
    )
    status = {"status": {"ready": 1, "selector": "a=b"}, "spec": {"count": 9}}
    scale = obj("autoscaling/v1", "Scale", "x", spec={"replicas": 4})
    scale["metadata"]["namespace"] = "default"
    yield (
        "custom: status and scale",
        [
            made,
            Request("PATCH", f"{where}/x/status", status, MERGE),
            Request("GET", f"{where}/x/status"),
            Request("GET", f"{where}/x/scale"),
            Request("PUT", f"{where}/x/scale", scale),
            Request("PATCH", f"{where}/x/scale", {"spec": {"replicas": 5}}, MERGE),
            Request("PATCH", f"{where}/x/scale", {"spec": {"replicas": 500}}, MERGE),
            Request("PATCH", f"{where}/x/status", {"status": {"ready": "no"}}, MERGE),
            Request("GET", f"{where}/x"),
            gone,
        ],
    )
    yield (
        "custom: as tables and selected",
        [
            made,
            Request("GET", where, headers=TABLE),
            Request("GET", f"{where}/x", headers=TABLE),
            Request("GET", f"{where}?fieldSelector=spec.mode%3Dfast"),
            Request("GET", f"{where}?fieldSelector=spec.count%3D1"),
            Request("GET", f"{where}?labelSelector=a%3Db"),
            gone,
        ],
    )
    first = _thing(group, count=1, ports=[{"name": "a", "port": 1}], open={"a": {"b": 1}}, tags=["a"])
    second = _thing(group, count=1, ports=[{"name": "b", "port": 2}], open={"a": {"c": 1}}, tags=["b"])
    clash = _thing(group, count=2, ports=[{"name": "a", "port": 5}])
    yield (
        "custom: applied by several",
        [
            *(Request("PATCH", f"{where}/x?fieldManager={m}", body, APPLY) for m, body in (("one", first), ("two", second))),
            Request("PATCH", f"{where}/x?fieldManager=three", clash, APPLY),
            Request("PATCH", f"{where}/x?fieldManager=three&force=true", clash, APPLY),
            Request("PATCH", f"{where}/x?fieldManager=one", _thing(group, count=1), APPLY),
            gone,
        ],
    )
    body = _thing(group, count=1)
    yield "custom: put without a version", [made, Request("PUT", f"{where}/x", body), gone]
    yield (
        "custom: of another kind",
        [Request("POST", where, {**body, "kind": "Other"}), Request("POST", where, {**body, "apiVersion": "v1"})],
    )
    yield (
        "custom: metadata that is none",
        [
            Request("POST", where, {**body, "metadata": {"name": "x", "labels": {"a": 1}}}),
            Request("POST", where, {**body, "metadata": {"name": "X_"}}),
            Request("POST", where, {**body, "metadata": {}}),
        ],
    )
    yield (
        "custom: discovery",
        [
            Request("GET", f"/apis/{group}"),
            Request("GET", f"/apis/{group}/v1"),
            Request("GET", f"/openapi/v3/apis/{group}/v1", pick="paths"),
        ],
    )


def _field(**schema: Any) -> Schema:
    """Return a schema with one field."""
    return {"type": "object", "properties": {"a": schema}}


def _list(kind: str, **items: Any) -> Schema:
    """Return a schema with a list of a type."""
    return _field(type="array", items=items, **{"x-kubernetes-list-type": kind})


WRONG: dict[str, dict[str, Any]] = {
    "without a type": {"properties": {"spec": {"type": "object"}}},
    "with an array of nothing": {"type": "object", "properties": {"a": {"type": "array"}}},
    "with a field of no type": {"type": "object", "properties": {"a": {}}},
    "with a type that is none": {"type": "object", "properties": {"a": {"type": "text"}}},
    "that is nullable": {"type": "object", "nullable": True},
    "with fields and other fields": _field(type="object", properties={"b": STRING}, additionalProperties=STRING),
    "with a type in an alternative": {"type": "object", "properties": {"a": {"type": "string", "anyOf": [{"type": "string"}]}}},
    "with a field only in an alternative": {"type": "object", "anyOf": [{"properties": {"b": {"pattern": "a"}}}]},
    "with unique items": {"type": "object", "properties": {"a": {"type": "array", "items": STRING, "uniqueItems": True}}},
    "with a reference": {"type": "object", "properties": {"a": {"type": "object", "$ref": "#/x"}}},
    "with a pattern that is none": {"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}},
    "with a default of another type": {"type": "object", "properties": {"a": {"type": "string", "default": 1}}},
    "with a default of unknown fields": _field(type="object", default={"x": 1}, properties={"b": STRING}),
    "with a map without keys": _list("map", type="object"),
    "with a set of objects": _list("set", type="object"),
    "with a list type that is none": _list("other", **STRING),
    "with metadata": {"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}},
    "with an open number": _field(**{"x-kubernetes-int-or-string": True, "x-kubernetes-preserve-unknown-fields": True}),
    "that keeps no unknown fields": {"type": "object", "x-kubernetes-preserve-unknown-fields": False},
    "with an empty rule": {"type": "object", "x-kubernetes-validations": [{"rule": " "}]},
    "with a reason that is none": {"type": "object", "x-kubernetes-validations": [{"rule": "true", "reason": "Other"}]},
    "with a path that is none": {"type": "object", "x-kubernetes-validations": [{"rule": "true", "fieldPath": ".nothing"}]},
    "with oldSelf in a list": _list("atomic", type="string", **{"x-kubernetes-validations": [{"rule": "self == oldSelf"}]}),
}  # fmt: skip
CHANGED: dict[str, dict[str, Any]] = {
    "without a group": {"group": ""},
    "in a group without a dot": {"group": "example"},
    "of another scope": {"scope": "Other"},
    "without a scope": {"scope": ""},
    "without versions": {"versions": []},
    "with a bad plural": {"names": {"plural": "Things", "kind": "Thing"}},
    "with a bad kind": {"names": {"plural": "things", "kind": "thing_"}},
    "with one name for both": {"names": {"plural": "things", "kind": "Thing", "listKind": "Thing"}},
    "with bad short names": {"names": {"plural": "things", "kind": "Thing", "shortNames": ["A"], "categories": ["B"]}},
    "with a webhook that is none": {"conversion": {"strategy": "Webhook"}},
    "with an unknown conversion": {"conversion": {"strategy": "Other"}},
    "that keeps unknown fields": {"preserveUnknownFields": True},
}
VERSIONS: dict[str, dict[str, Any]] = {
    "with a bad version": {"name": "V1"},
    "stored nowhere": {"storage": False},
    "without a schema": {"schema": None},
    "with a column of no type": {"additionalPrinterColumns": [{"name": "a", "type": "text", "jsonPath": ".a"}]},
    "with a column of no path": {"additionalPrinterColumns": [{"name": "a", "type": "string", "jsonPath": "a"}]},
    "with a scale of the status": {"subresources": {"scale": {"specReplicasPath": ".status.a", "statusReplicasPath": ".spec.a"}}},
    "with a warning but not deprecated": {"deprecationWarning": "old"},
    "with a selectable field that is none": {"selectableFields": [{"jsonPath": ".spec.nothing"}]},
    "with a selectable object": {"selectableFields": [{"jsonPath": ".spec.nested"}]},
    "with selectable metadata": {"selectableFields": [{"jsonPath": ".metadata.name"}]},
}


def definitions() -> Iterator[Case]:
    """Yield definitions that are wrong, and one that changes."""
    group = "wrong.example.com"
    for name, schema in WRONG.items():
        yield f"definitions: {name}", [_post(definition(group, schema=schema, subresources=None, selectableFields=None))]
    for name, spec in CHANGED.items():
        crd = definition(group)
        crd["spec"] |= spec
        yield f"definitions: {name}", [_post(crd)]
    for name, version in VERSIONS.items():
        yield f"definitions: {name}", [_post(definition(group, **version))]
    other = definition(group)
    other["metadata"]["name"] = "other.example.com"
    yield "definitions: by another name", [_post(other)]
    yield "definitions: in a protected group", [_post(definition("a.k8s.io"))]
    yield "definitions: life", _life()


def _life() -> list[Request]:
    group = "life.example.com"
    crd, where = definition(group), path(API, "customresourcedefinitions", f"things.{group}", "")
    second = copy.deepcopy(crd["spec"]["versions"][0]) | {"name": "v1beta1", "storage": False, "deprecated": True}
    second["schema"] = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    second |= {"selectableFields": [], "additionalPrinterColumns": []}
    versions = [*crd["spec"]["versions"], second]
    return [
        _post(crd),
        Request("GET", where, until='"InitialNamesAccepted"'),
        _served(group),
        Request("PATCH", where, {"spec": {"names": {"kind": "Other"}}}, MERGE),
        Request("PATCH", where, {"spec": {"scope": "Cluster"}}, MERGE),
        Request("PATCH", where, {"spec": {"group": "other.example.com"}}, MERGE),
        Request("PATCH", where, {"spec": {"versions": versions}}, MERGE),
        Request("GET", f"/apis/{group}/v1beta1", until="things/scale"),
        Request("POST", path(f"{group}/v1", "things"), _thing(group, count=1)),
        Request("GET", path(f"{group}/v1beta1", "things", "x")),
        Request("GET", path(f"{group}/v1beta1", "things"), headers=TABLE),
        *_gone(group),
        Request("GET", f"/apis/{group}/v1", until="404"),
    ]


def custom() -> list[Case]:
    """Return every case of this file."""
    return [*objects(), *definitions()]
