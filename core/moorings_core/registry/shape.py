"""What is written of fields that hold nothing: null, or the zero of their type, as upstream's Go structures are encoded.

A client that decodes into the same structures cannot tell; one that does not (jq, a diff, a JSON path) can.
Source: the `json` tags of k8s.io/api (see generate/shapes.py), and encoding/json.
"""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Any

from moorings_core.ports.objects import Object

from .schema import Schema, named

ZEROS: dict[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False, "quantity": "0", "int-or-string": 0}
AS_JSON = "io.k8s.apiextensions-apiserver."
"""How the definitions begin whose objects upstream stores as JSON: an empty list stays one"""
OWN = ("apiVersion", "kind", "metadata")
"""Fields of every object, which the server writes itself"""


class Shape:
    """How to fill objects of one definition.

    nulls: fields that are null where they hold nothing; many: whether an empty list or map is nothing too. zeros: fields with their
    zeros. always: objects that are there even where nothing was given. inner: fields to look into; single: whether that is one object
    rather than a list or map of them.
    """

    def __init__(self, schema: Schema, skipped: Collection[str] = ()) -> None:
        nodes = [(name, node) for name, node in schema.properties.items() if name not in skipped]
        written = [(name, node) for name, node in nodes if node.shape == "w"]
        binary = not schema.name.startswith(AS_JSON)
        empties = ((name, node.type in ("array", "map") or node.format == "byte") for name, node in nodes if node.shape == "n")
        self.nulls = tuple((name, many and binary) for name, many in empties)
        self.zeros = tuple((name, _zero(node)) for name, node in written if node.type != "object")
        self.always = tuple((name, node.name) for name, node in written if node.type == "object")
        self._inner = tuple((name, held, node.type == "object") for name, node in nodes if (held := _held(node)) and _has_shape(held))

    @functools.cached_property
    def inner(self) -> dict[str, tuple[Shape, bool]]:
        """The fields to look into: made late, as definitions may hold themselves."""
        return {name: (shape_of(held), single) for name, held, single in self._inner}

    def filled(self, value: Object, *, lists: bool = True) -> Object:
        """Return an object with what Go would write of its empty fields; the same one where nothing is missing.

        lists: an empty list or map becomes null, as it does in upstream's store.
        """
        made: Object = {}
        for name, many in self.nulls:
            if name not in value or (lists and many and not value[name] and value[name] is not None):
                made[name] = None
        for name, zero in self.zeros:
            if name not in value:
                made[name] = zero
        for name, held in self.always:
            if name not in value:
                made[name] = shape_of(held).filled({})
        inner = self.inner
        for name, child in value.items():
            if name in inner and child is not None:
                shape, single = inner[name]
                new = shape.filled(child, lists=lists) if single else _each(child, shape, lists=lists)
                if new is not child:
                    made[name] = new
        return {**value, **made} if made else value


def filled(obj: Object, schema: Schema, *, lists: bool = True) -> Object:
    """Return an object of a kind with what Go would write of its empty fields; obj is not changed."""
    return _whole(schema.name).filled(obj, lists=lists)


def fill(obj: Object, schema: Schema) -> None:
    """Fill an object of a kind in place; what lies below its first level is not changed but replaced."""
    made = filled(obj, schema)
    if made is not obj:
        obj.update(made)


@functools.cache
def shape_of(name: str) -> Shape:
    """Return the shape of a definition by upstream's name. Raises KeyError."""
    return Shape(named(name))


@functools.cache
def _whole(name: str) -> Shape:
    return Shape(named(name), OWN)


def _zero(node: Schema) -> Any:
    return None if node.format == "date-time" else ZEROS.get(node.type)


def _each(children: Any, shape: Shape, *, lists: bool) -> Any:
    if isinstance(children, dict):
        made = {key: shape.filled(child, lists=lists) for key, child in children.items()}
        return children if all(made[key] is child for key, child in children.items()) else made
    items, same = [], True
    for child in children:
        new = shape.filled(child, lists=lists)
        same = same and new is child
        items.append(new)
    return children if same else items


def _held(node: Schema) -> str:
    """Return the definition of the objects in a field, "" where it has none."""
    inside = node.items if node.type == "array" else node.values if node.type == "map" else node
    return inside.name if inside is not None and inside.type == "object" else ""


@functools.cache
def _has_shape(name: str) -> bool:
    """Whether anything within a definition is written even where it holds nothing."""
    seen, pending = {name}, [name]
    while pending:
        for node in named(pending.pop()).properties.values():
            if node.shape in ("n", "w"):
                return True
            if (held := _held(node)) and held not in seen:
                seen.add(held)
                pending.append(held)
    return False
