"""Putting a configuration into an object, and taking paths out of it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from moorings_core.registry.schema import Schema

from .fields import Fields, Path, is_granular, item_key, value_key


def merge(live: Any, applied: Any, schema: Schema | None) -> Any:
    """Return live with what is applied put in; neither is changed. Lists with keys keep live's order, new items come last."""
    if schema is None or not is_granular(schema):
        return applied
    if isinstance(live, dict) and isinstance(applied, dict):
        child = schema.properties.get if schema.type == "object" else lambda _: schema.values
        return live | {name: merge(live.get(name), value, child(name)) for name, value in applied.items()}
    if not isinstance(live, list) or not isinstance(applied, list):
        return applied
    if schema.list_type == "set":
        return [*live, *(value for value in applied if value not in live)]
    wanted = {item_key(item, schema): item for item in applied}
    known = [item_key(item, schema) for item in live]
    kept = [merge(item, wanted[key], schema.items) if key in wanted else item for key, item in zip(known, live, strict=True)]
    return [*kept, *(item for key, item in wanted.items() if key not in known)]


def remove(value: Any, schema: Schema | None, gone: Fields, kept: Fields) -> Any:
    """Return value without the paths that are gone; an item goes with its own path, unless something kept lies in it."""
    return _without(value, schema, (), gone, _prefixes(kept))


def _without(value: Any, schema: Schema | None, path: Path, gone: Fields, kept: Collection[Path]) -> Any:
    if schema is None or not is_granular(schema) or not any(p[: len(path)] == path for p in gone):
        return value
    if isinstance(value, dict):
        child = schema.properties.get if schema.type == "object" else lambda _: schema.values
        places = {name: (*path, f"f:{name}") for name in value}
        left = [n for n, p in places.items() if p in kept or p not in gone]
        return {n: _without(value[n], child(n), places[n], gone, kept) for n in left}
    if not isinstance(value, list):
        return value
    if schema.list_type == "set":
        return [item for item in value if (*path, value_key(item)) not in gone or (*path, value_key(item)) in kept]
    result = []
    for item in value:
        place = (*path, item_key(item, schema) or "")
        if place in gone and place not in kept:
            continue
        result.append(_without(item, schema.items, place, gone, kept))
    return result


def _prefixes(fields: Fields) -> set[Path]:
    return {path[:length] for path in fields for length in range(1, len(path) + 1)}
