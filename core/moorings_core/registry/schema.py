"""Schemas as trees of nodes: one structure for strict decoding, pruning, patches, OpenAPI and, later, custom resources.

Nodes are made lazily from the facts and shared: a PodSpec is compiled once, whichever kind holds it.
"""

from __future__ import annotations

import binascii
import functools
import re
from collections.abc import Mapping
from typing import Any

from moorings_core.ports.objects import Object

from .facts import Definition, definition
from .quantity import canonical, parse
from .times import complaint as time_complaint

QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/=\r\n]")
INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"


class Schema:
    """One node.

    type: object, array, map, string, integer, number, boolean, quantity, int-or-string or any.
    merge_key, patch_strategy, list_type, list_map_keys are upstream's x-kubernetes extensions. shape says how Go writes a field that
    holds nothing, embedded in which of its structs it is (generate/shapes.py).
    """

    def __init__(self, raw: Definition) -> None:
        self.raw = raw
        self.name: str = raw.get("r", "")
        self._target = definition(self.name) if self.name else raw
        self.merge_key: str = raw.get("k", "")
        self.patch_strategy: frozenset[str] = frozenset(filter(None, raw.get("s", "").split(",")))
        self.list_type: str = raw.get("l", "")
        self.list_map_keys: tuple[str, ...] = tuple(raw.get("m", ()))
        self.atomic: bool = bool(raw.get("a", self._target.get("a")))
        self.default: Any = raw.get("d")
        self.shape: str = raw.get("g", "")
        self.embedded: str = raw.get("b", "")
        self.format: str = self._target.get("f", "")
        self.required: tuple[str, ...] = tuple(self._target.get("q", ()))
        self.type = self._type()

    @functools.cached_property
    def properties(self) -> Mapping[str, Schema]:
        """The fields of an object."""
        return {name: Schema(raw) for name, raw in self._target.get("p", {}).items()}

    @functools.cached_property
    def items(self) -> Schema | None:
        """The node of an array's items."""
        return _shared(self._target["i"]) if "i" in self._target else None

    @functools.cached_property
    def values(self) -> Schema | None:
        """The node of a map's values."""
        return _shared(self._target["v"]) if "v" in self._target else None

    def _type(self) -> str:
        if self.name == QUANTITY:
            return "quantity"
        if self.name == INT_OR_STRING:
            return "int-or-string"
        target = self._target
        if "p" in target:
            return "object"
        if "v" in target:
            return "map"
        kind: str = target.get("t", "any")
        return "any" if kind == "object" else kind


_references: dict[str, Schema] = {}


def named(name: str) -> Schema:
    """Return the node of a definition by upstream's name. Raises KeyError."""
    if name not in _references:
        _references[name] = Schema({"r": name})
    return _references[name]


def _shared(raw: Definition) -> Schema:
    return named(raw["r"]) if set(raw) == {"r"} else Schema(raw)


def find_unknown(value: Any, schema: Schema, path: str = "") -> list[str]:
    """Return the paths of all fields that the schema does not know, in document order."""
    if schema.type == "object" and isinstance(value, dict):
        known = schema.properties
        found: list[str] = []
        for name, child in value.items():
            where = f"{path}.{name}" if path else name
            found += find_unknown(child, known[name], where) if name in known else [where]
        return found
    if schema.type == "map" and isinstance(value, dict) and schema.values is not None:
        return [u for name, child in value.items() for u in find_unknown(child, schema.values, f"{path}.{name}")]
    if schema.type == "array" and isinstance(value, list) and schema.items is not None:
        return [u for i, child in enumerate(value) for u in find_unknown(child, schema.items, f"{path}[{i}]")]
    return []


_JSON_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "quantity": (str, int, float),
    "int-or-string": (str, int, float),
}


def is_clean(value: Any, schema: Schema) -> bool:
    """Whether the three walks of this module would find nothing in a value: one quick walk instead, as nearly all objects pass."""
    kind = schema.type
    if kind == "object":
        if type(value) is not dict:
            return False
        known = schema.properties
        for name, child in value.items():
            node = known.get(name)
            if node is None or not is_clean(child, node) or (not child and _idle(name, child, schema)):
                return False
        return True
    if kind == "map":
        values = schema.values
        return type(value) is dict and (values is None or all(is_clean(v, values) for v in value.values()))
    if kind == "array":
        items = schema.items
        return type(value) is list and (items is None or all(is_clean(v, items) for v in value))
    wanted = _JSON_TYPES.get(kind)
    if wanted is None or type(value) not in wanted:
        return value is not None and wanted is None
    if kind == "quantity":
        return value != "" and bool(_canonical(value) == value)
    return _fits(value, schema) and not (kind == "string" and schema.format and _text_complaint(value, schema))


def _fits(value: Any, schema: Schema) -> bool:
    """Whether a number is one of its type."""
    if type(value) is not int:
        return True
    return INT32[0] <= value <= INT32[1] if schema.format == "int32" or schema.type == "int-or-string" else INT64[0] <= value <= INT64[1]


def prune(value: Any, schema: Schema, *, zeros: bool = False) -> Any:
    """Return value with canonical amounts, without unknown fields, nulls, empty optional maps and lists, and zeros that Go leaves out.

    What is clean is returned as it is, not copied.

    An empty map says no more than none, and upstream's Go structs don't keep it, nor "" where they have no pointer; an empty object
    (`emptyDir: {}`) says something. zeros: keep the zeros, which say something in an applied configuration.
    """
    if schema.type == "object" and isinstance(value, dict):
        known = schema.properties
        given = {n: v for n, v in value.items() if n in known and v is not None}
        kept = {n: prune(v, known[n], zeros=zeros) for n, v in given.items() if v or not _idle(n, v, schema, zeros=zeros)}
        return value if _same(kept, value) else kept
    if schema.type == "map" and isinstance(value, dict) and schema.values is not None:
        values = schema.values  # of which times may be null, which stands for none
        kept = {
            n: prune(v, values, zeros=zeros)
            for n, v in value.items()
            if v is not None or values.type == "any" or values.format == "date-time"
        }
        return value if _same(kept, value) else kept
    if schema.type == "array" and isinstance(value, list) and schema.items is not None:
        items = [prune(_zero(schema.items) if v is None else v, schema.items, zeros=zeros) for v in value]
        return value if all(a is b for a, b in zip(items, value, strict=True)) else items
    if schema.type == "quantity" and value != (stored := _canonical(value)):
        return stored or value
    return value


def _zero(schema: Schema) -> Any:
    """Return what upstream's decoder makes of a null in a list: the element with nothing in it."""
    return {"object": {}, "map": {}, "array": [], "string": "", "boolean": False, "integer": 0, "number": 0}.get(schema.type)


_SCALARS: Mapping[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False}


EMPTY_SAYS = {("io.k8s.api.autoscaling.v2.HPAScalingRules", "policies")}
"""Lists whose default stands for none given, but not for an empty one: (definition, field)"""


def _idle(name: str, value: Any, schema: Schema, *, zeros: bool = False) -> bool:
    node = schema.properties[name]
    if value in ({}, []):
        optional = node.type in ("map", "array") and name not in schema.required and node.shape != "n"
        return optional and (schema.name, name) not in EMPTY_SAYS
    return not zeros and not node.shape and node.type in _SCALARS and value == _SCALARS[node.type]


def check_types(value: Any, schema: Schema, path: str = "", owner: str = "") -> list[tuple[str, str]]:
    """Return (path, complaint) for every value of a wrong JSON type, amount or encoding; null stands for absent.

    owner is the definition that has the field. The complaints are in the words of Go's decoder, which clients print.
    """
    if value is None:
        return []
    complaint = _complaint(value, schema, path, owner)
    if complaint:
        return [(path, complaint)]
    owner = schema.name or owner
    if schema.type == "object":
        known = schema.properties
        children = [(v, known[n], _go_path(path, n, known[n])) for n, v in value.items() if n in known]
    elif schema.type == "map" and schema.values is not None:
        children = [(v, schema.values, f"{path}.{n}") for n, v in value.items()]
    elif schema.type == "array" and schema.items is not None:
        children = [(v, schema.items, f"{path}[{i}]") for i, v in enumerate(value)]
    else:
        return []
    return [c for child, node, where in children for c in check_types(child, node, where, owner)]


def _go_path(path: str, name: str, node: Schema) -> str:
    """Return the path of a field as Go's decoder says it: with the structs that are embedded on the way."""
    return ".".join(filter(None, (path, node.embedded, name)))


INT32, INT64 = (-(1 << 31), (1 << 31) - 1), (-(1 << 63), (1 << 63) - 1)
_INDEX = re.compile(r"\[\d+\]")
_GO_SCALARS: Mapping[str, str] = {"boolean": "bool", "number": "float64", "string": "string"}


def _complaint(value: Any, schema: Schema, path: str, owner: str) -> str:
    kind = schema.type
    wanted: tuple[type, ...] = {"object": (dict,), "map": (dict,), "array": (list,), **_JSON_TYPES}.get(kind, ())
    if wanted and type(value) not in wanted:
        shown = f"number {value}" if isinstance(value, float) and kind == "integer" else _json_name(value)
        field = f"struct field {owner.rpartition('.')[2]}.{_INDEX.sub('', path)}" if owner else "value"
        return f"json: cannot unmarshal {shown} into Go {field} of type {'int32' if kind == 'int-or-string' else _go_type(schema)}"
    if kind == "quantity":
        return _no_quantity(value)
    if not _fits(value, schema):
        field = f"struct field {owner.rpartition('.')[2]}.{_INDEX.sub('', path)}" if owner else "value"
        return f"json: cannot unmarshal number {value} into Go {field} of type {'int32' if kind == 'int-or-string' else _go_type(schema)}"
    return _text_complaint(value, schema) if kind == "string" else ""


def _text_complaint(text: str, schema: Schema) -> str:
    """Return what is wrong with a text that stands for bytes or for a time, "" with any other."""
    if schema.format == "byte":
        return base64_complaint(text)
    return time_complaint(text, micro=schema.name.endswith("MicroTime")) if schema.format == "date-time" else ""


def _go_type(schema: Schema) -> str:
    match schema.type:
        case "object":
            return ".".join(schema.name.split(".")[-2:]) if schema.name else "map[string]interface {}"
        case "map":
            return f"map[string]{_go_type(schema.values) if schema.values is not None else 'interface {}'}"
        case "array":
            return f"[]{_go_type(schema.items) if schema.items is not None else 'interface {}'}"
        case "integer":
            return schema.format or "int64"
        case "quantity":
            return "resource.Quantity"
    return _GO_SCALARS.get(schema.type, "string")


def _canonical(value: str | float) -> str | float:
    """Return an amount as it is stored, or what is no amount as it is (then `check_types` complains)."""
    try:
        return canonical(value)
    except ValueError:
        return ""


def _no_quantity(value: str | float) -> str:
    try:
        parse(str(value))
    except ValueError as error:
        return str(error)
    return ""


def base64_complaint(text: str) -> str:
    """Return where a text stops being base64, in the words of Go's decoder, or "" where it is."""
    try:
        binascii.a2b_base64(text.replace("\n", "").replace("\r", ""), strict_mode=True)
    except ValueError:
        wrong = _NOT_BASE64.search(text)
        padding = text.find("=")
        least = min((at for at in (wrong.start() if wrong else -1, padding) if at >= 0), default=len(text))
        at = least - least % 4 if least in (len(text), padding) and not wrong else least
        return f"illegal base64 data at input byte {at}"
    return ""


def _json_name(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    names: Mapping[type, str] = {str: "string", int: "number", float: "number", list: "array", dict: "object"}
    return names.get(type(value), "null")


def _same(kept: Object, value: Object) -> bool:
    return len(kept) == len(value) and all(kept[n] is value[n] for n in kept)
