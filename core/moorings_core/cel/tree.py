"""The checked tree of an expression, as the compiler gives it away: what each node is, its type, and which functions a call may mean.

Source: cel.dev/expr proto/cel/expr/checked.proto, syntax.proto (field numbers).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory

_SCALARS = {"int": 3, "bool": 8, "string": 9, "bytes": 12, "enum": 5, "double": 1}
_SHAPES = {
    "Checked": "2 *Reference references, 3 *Typed types, 4 Expr root",
    "Reference": "1 int key, 2 Meaning value",
    "Meaning": "1 string name, 3 *string overloads",
    "Typed": "1 int key, 2 Type value",
    "Nothing": "",
    "Type": "1 Nothing dyn, 3 enum primitive, 4 enum wrapper, 5 enum known, 6 List list, 7 Map map, 9 string message,"
    " 10 string parameter, 14 Abstract abstract",
    "List": "1 Type items",
    "Map": "1 Type keys, 2 Type values",
    "Abstract": "1 string name, 2 *Type parameters",
    "Expr": "2 int id, 3 Constant constant, 4 Ident ident, 5 Select select, 6 Call call, 7 Listed listed, 8 Struct struct, 9 Loop loop",
    "Constant": "2 bool truth, 3 int whole, 6 string text, 7 bytes bytes",
    "Ident": "1 string name",
    "Select": "1 Expr operand, 2 string field, 3 bool test",
    "Call": "1 Expr target, 2 string function, 3 *Expr args",
    "Listed": "1 *Expr elements",
    "Struct": "1 string name, 2 *Entry entries",
    "Entry": "3 Expr key, 4 Expr value",
    "Loop": "1 string variable, 8 string second, 2 Expr over, 3 string result_variable, 4 Expr start, 5 Expr condition, 6 Expr step,"
    " 7 Expr result",
}
"""Messages, in our words: the encoding knows no names. A map is a list of its entries there"""
_PRIMITIVES = ("", "bool", "int", "uint", "double", "string", "bytes")
_KNOWN = ("", "any", "timestamp", "duration")


@dataclass(frozen=True, slots=True)
class Type:
    """A type; kind is CEL's word for it, or struct, optional, opaque, parameter."""

    kind: str
    name: str = ""
    parameters: tuple[Type, ...] = ()


DYNAMIC = Type("dyn")


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the tree; id is its own within the tree."""

    id: int


@dataclass(frozen=True, slots=True)
class Constant(Node):
    """A literal: a bool, an int, a text or bytes; None stands for any other number or null."""

    value: bool | int | str | bytes | None


@dataclass(frozen=True, slots=True)
class Ident(Node):
    """A variable."""

    name: str


@dataclass(frozen=True, slots=True)
class Select(Node):
    """A field of something; test: only whether it is there."""

    operand: Node
    field: str
    test: bool


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A call, or an operator by the name that the language gives it (`_+_`)."""

    target: Node | None
    function: str
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Listed(Node):
    """A list that is written out."""

    elements: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Mapped(Node):
    """A map that is written out: keys and values."""

    entries: tuple[tuple[Node, Node], ...]


@dataclass(frozen=True, slots=True)
class Message(Node):
    """A message that is written out: the values of its fields."""

    values: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Loop(Node):
    """What macros become: over is walked, result_variable is what gathers."""

    variable: str
    second: str
    over: Node
    result_variable: str
    start: Node
    condition: Node
    step: Node
    result: Node


@dataclass(frozen=True, slots=True)
class Tree:
    """A checked expression."""

    root: Node
    types: dict[int, Type]
    overloads: dict[int, tuple[str, ...]]
    """For each call the functions that it may mean, by the compiler's names"""

    def type_of(self, node: Node) -> Type:
        """Return the type of a node."""
        return self.types.get(node.id, DYNAMIC)


def read(compiled: Any) -> Tree:
    """Return the tree of a compiled expression."""
    envelope = any_pb2.Any.FromString(compiled.serialize())
    checked = _classes()["Checked"].FromString(envelope.value)
    types = {pair.key: _type(pair.value) for pair in checked.types}
    overloads = {pair.key: tuple(pair.value.overloads) for pair in checked.references if pair.value.overloads}
    return Tree(_node(checked.root), types, overloads)


@functools.cache
def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="tree.proto", package="moorings.tree", syntax="proto2")
    for name, text in _SHAPES.items():
        message = file.message_type.add(name=name)
        for number, kind, field in (part.split() for part in text.split(",") if part.strip()):
            bare = kind.removeprefix("*")
            made = message.field.add(name=field, number=int(number), label=3 if kind.startswith("*") else 1)
            made.type = descriptor_pb2.FieldDescriptorProto.Type.ValueType(_SCALARS.get(bare, 11))
            if bare not in _SCALARS:
                made.type_name = f".moorings.tree.{bare}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"moorings.tree.{name}")) for name in _SHAPES}


def _type(given: Any) -> Type:
    for field, value in given.ListFields():
        match field.name:
            case "primitive" | "wrapper":
                return Type(_PRIMITIVES[value])
            case "known":
                return Type(_KNOWN[value]) if _KNOWN[value] != "any" else DYNAMIC
            case "list":
                return Type("list", parameters=(_type(value.items),))
            case "map":
                return Type("map", parameters=(_type(value.keys), _type(value.values)))
            case "message":
                return Type("struct", value)
            case "parameter":
                return Type("parameter", value)
            case "abstract":
                kind = "optional" if value.name == "optional_type" else "opaque"
                return Type(kind, value.name, tuple(map(_type, value.parameters)))
    return DYNAMIC


def _node(given: Any) -> Node:
    for field, value in given.ListFields():
        match field.name:
            case "constant":
                return Constant(given.id, next((v for _, v in value.ListFields()), None))
            case "ident":
                return Ident(given.id, value.name)
            case "select":
                return Select(given.id, _node(value.operand), value.field, value.test)
            case "call":
                target = _node(value.target) if value.HasField("target") else None
                return Call(given.id, target, value.function, tuple(map(_node, value.args)))
            case "listed":
                return Listed(given.id, tuple(map(_node, value.elements)))
            case "struct" if value.name:
                return Message(given.id, tuple(_node(entry.value) for entry in value.entries))
            case "struct":
                return Mapped(given.id, tuple((_node(entry.key), _node(entry.value)) for entry in value.entries))
            case "loop":
                parts = (_node(part) for part in (value.over, value.start, value.condition, value.step, value.result))
                over, start, condition, step, result = parts
                return Loop(given.id, value.variable, value.second, over, value.result_variable, start, condition, step, result)
    raise ValueError("the compiler's tree has a node of no known kind")
