"""Nodes of `registry.schema` made from an OpenAPI v3 schema: what apply, patches and strict decoding read of custom resources."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from moorings_core.ports.objects import Object
from moorings_core.registry.schema import Schema, named

METADATA = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
STRING = {"type": "string"}


class CustomSchema(Schema):
    """One node; `given` is the OpenAPI schema. root: the node of a whole object, which has metadata whatever the schema says."""

    def __init__(self, given: Object, *, root: bool = False) -> None:
        super().__init__({})
        self.given = given
        self.root = root or bool(given.get("x-kubernetes-embedded-resource"))
        self.open = bool(given.get("x-kubernetes-preserve-unknown-fields"))
        self.list_type = given.get("x-kubernetes-list-type", "")
        self.list_map_keys = tuple(given.get("x-kubernetes-list-map-keys") or ())
        self.atomic = given.get("x-kubernetes-map-type") == "atomic"
        self.default = given.get("default")
        self.format = given.get("format", "")
        self.required = tuple(given.get("required") or ())
        self.type = self._kind()

    def _kind(self) -> str:
        given = self.given
        if given.get("x-kubernetes-int-or-string"):
            return "int-or-string"
        if self.root or given.get("properties"):
            return "object"
        if given.get("type") == "object":
            return "map" if given.get("additionalProperties") or self.open else "object"
        if self.open:
            return "map"
        return str(given.get("type") or "any")

    @functools.cached_property
    def properties(self) -> Mapping[str, Schema]:
        """The fields; of an object that keeps unknown ones, each name is a field."""
        known: dict[str, Schema] = {n: CustomSchema(s) for n, s in (self.given.get("properties") or {}).items()}
        if self.root:
            known |= {"apiVersion": CustomSchema(STRING), "kind": CustomSchema(STRING), "metadata": named(METADATA)}
        return _Open(known) if self.open else known

    @functools.cached_property
    def items(self) -> Schema | None:
        """The node of a list's items."""
        items = self.given.get("items")
        return CustomSchema(items) if isinstance(items, dict) else None

    @functools.cached_property
    def values(self) -> Schema | None:
        """The node of a map's values."""
        values = self.given.get("additionalProperties")
        return CustomSchema(values) if isinstance(values, dict) else ANYTHING


class _Open(dict[str, Schema]):
    """Fields of an object that keeps unknown ones: they are told apart by their values, lists are atomic."""

    def __missing__(self, name: str) -> Schema:
        return ANYTHING

    def get(self, name: str, default: Schema | None = None) -> Schema | None:  # type: ignore[override]
        """Return the node of a field, whatever its name."""
        return self[name]


class _Anything(Schema):
    """The node of what no schema describes: objects are granular, all else is atomic."""

    def __init__(self) -> None:
        super().__init__({})
        self.type = "map"

    @property
    def values(self) -> Schema | None:
        """Itself."""
        return self


ANYTHING = _Anything()
