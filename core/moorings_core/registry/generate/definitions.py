"""Schemas: types, references, merge keys, list types and real defaults, without any description.

Short keys keep the file small: t type, r reference, i items, v map values, f format, q required, p properties, k merge key,
s patch strategy, l list type, m list map keys, a atomic map (0: not, whatever its definition says), d default, e enum,
x group-version-kinds, g how nothing is written, b which structs it is embedded by (`shapes`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ALWAYS = (
    "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Status",
    "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent",
)
REFERENCE = "#/definitions/"


def definitions(swagger: Path, served: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return every definition that a served kind, its list or its subresources reach."""
    upstream = json.loads(swagger.read_text())["definitions"]
    wanted = {(r["bodyGroup"], r["version"], r["kind"]) for r in served}
    wanted |= {(s["group"], s["version"], s["kind"]) for r in served for s in r["subresources"].values()}
    wanted |= {(group, version, f"{kind}List") for group, version, kind in wanted}
    roots = [n for n, d in upstream.items() if wanted & {_triple(x) for x in d.get("x-kubernetes-group-version-kind", ())}]
    reached: dict[str, Any] = {}
    pending = [*roots, *ALWAYS]
    while pending:
        name = pending.pop()
        if name not in reached:
            reached[name] = _compact(upstream[name])
            kinds = [_triple(x) for x in upstream[name].get("x-kubernetes-group-version-kind", ())]
            if kinds and len(kinds) == 1:
                reached[name]["x"] = kinds[0]
            pending.extend(_references(upstream[name]))
    return reached


def _triple(gvk: dict[str, str]) -> tuple[str, str, str]:
    return gvk["group"], gvk["version"], gvk["kind"]


def _compact(schema: dict[str, Any]) -> dict[str, Any]:
    small: dict[str, Any] = {}
    for key, short in (
        ("type", "t"),
        ("format", "f"),
        ("required", "q"),
        ("enum", "e"),
        ("x-kubernetes-patch-merge-key", "k"),
        ("x-kubernetes-patch-strategy", "s"),
        ("x-kubernetes-list-type", "l"),
        ("x-kubernetes-list-map-keys", "m"),
    ):
        if key in schema:
            small[short] = schema[key]
    if (kind := schema.get("x-kubernetes-map-type")) in ("atomic", "granular"):
        small["a"] = int(kind == "atomic")
    if schema.get("default") not in (None, "", 0, {}, False, []):
        small["d"] = schema["default"]
    reference = schema.get("$ref") or next((s["$ref"] for s in schema.get("allOf", ()) if "$ref" in s), None)
    if reference:
        small["r"] = reference.removeprefix(REFERENCE)
    if "items" in schema:
        small["i"] = _compact(schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        small["v"] = _compact(schema["additionalProperties"])
    if "properties" in schema:
        small["p"] = {name: _compact(value) for name, value in schema["properties"].items()}
    return small


def _references(schema: Any) -> list[str]:
    if isinstance(schema, list):
        return [r for item in schema for r in _references(item)]
    if not isinstance(schema, dict):
        return []
    own = [schema["$ref"].removeprefix(REFERENCE)] if isinstance(schema.get("$ref"), str) else []
    return own + [r for value in schema.values() for r in _references(value)]
