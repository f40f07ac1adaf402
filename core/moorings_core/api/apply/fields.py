"""Sets of field paths. A path is a tuple of FieldsV1 elements: "f:NAME", "k:{KEYS}" of a list's item, "v:VALUE" of a set.

In FieldsV1 what has fields below it and is one itself says so by an element "."; what has none below is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from moorings_core.ports.objects import Object
from moorings_core.registry.custom.schema import ANYTHING
from moorings_core.registry.schema import Schema

Path = tuple[str, ...]
Fields = frozenset[Path]
ITSELF = "."
NOT_MANAGED = {
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "name",
    "namespace",
    "resourceVersion",
    "selfLink",
    "uid",
}
KEY_DEFAULTS = {"protocol": "TCP"}
"""Keys of list items that may be left out, with what is meant then: ports (core/v1 ContainerPort, ServicePort)"""


def fields_of(obj: Object, schema: Schema | None) -> Fields:
    """Return the paths of all that an object says, without what names and dates it."""
    metadata = {k: v for k, v in (obj.get("metadata") or {}).items() if k not in NOT_MANAGED}
    content = {k: v for k, v in obj.items() if k not in ("apiVersion", "kind", "metadata")} | ({"metadata": metadata} if metadata else {})
    return frozenset(path for path, _ in leaves(content, schema))


def leaves(value: Any, schema: Schema | None, path: Path = (), within: bool = False) -> Iterator[tuple[Path, Any]]:
    """Yield (path, value) of every leaf: scalars, what is atomic, what is empty, and the items of keyed lists themselves.

    So do objects that no schema describes, below the first one. within: this value is such an object.
    """
    parts = list(children(value, schema))
    if not parts:
        if path:
            yield path, value
        return
    if path and (path[-1].startswith("k:") or (schema is ANYTHING and within)):
        yield path, {}
    for element, child, node in parts:
        yield from leaves(child, node, (*path, element), node is ANYTHING)


def item_key(item: Any, schema: Schema) -> str | None:
    """Return the element of an item of a keyed list, with the defaults of keys that it leaves out; None without any key."""
    if not isinstance(item, dict):
        return None
    keys = {k: v for k in schema.list_map_keys if (v := item.get(k, KEY_DEFAULTS.get(k))) is not None}
    return f"k:{orjson.dumps(keys, option=orjson.OPT_SORT_KEYS).decode()}" if keys else None


def value_key(value: Any) -> str:
    """Return the element of a value in a set."""
    return f"v:{orjson.dumps(value).decode()}"


def is_granular(schema: Schema | None) -> bool:
    """Whether parts of a value are managed apart."""
    if schema is None or schema.atomic:
        return False
    return schema.type in ("object", "map") or (schema.type == "array" and schema.list_type in ("map", "set"))


def encode(fields: Fields) -> Object:
    """Return paths as FieldsV1."""
    root: Object = {}
    whole: set[int] = set()
    for path in sorted(fields):
        place = root
        for element in path:
            if not place and id(place) in whole:
                place[ITSELF] = {}
            place = place.setdefault(element, {})
        whole.add(id(place))
    return root


def decode(tree: Mapping[str, Any], path: Path = ()) -> Fields:
    """Return FieldsV1 as paths."""
    found: set[Path] = set()
    for element, child in tree.items():
        if child:
            found |= decode(child, (*path, element))
        else:
            found.add(path if element == ITSELF else (*path, element))
    return frozenset(found)


def shown(path: Path) -> str:
    """Return a path as people read it: .spec.containers[name="main"].image."""
    parts = []
    for element in path:
        kind, _, text = element.partition(":")
        if kind == "f":
            parts.append(f".{text}")
        elif kind == "k":
            parts.append("[" + ",".join(f"{k}={orjson.dumps(v).decode()}" for k, v in sorted(orjson.loads(text).items())) + "]")
        elif kind == "v":
            parts.append(f"[={text}]")
    return "".join(parts)


def children(value: Any, schema: Schema | None) -> Iterator[tuple[str, Any, Schema | None]]:
    if schema is None or not is_granular(schema):
        return
    if isinstance(value, dict):
        for name, child in value.items():
            yield f"f:{name}", child, schema.properties.get(name) if schema.type == "object" else schema.values
    elif isinstance(value, list) and schema.list_type == "set":
        for item in value:
            yield value_key(item), item, None
    elif isinstance(value, list):
        for item in value:
            if (key := item_key(item, schema)) is not None:
                yield key, item, schema.items
