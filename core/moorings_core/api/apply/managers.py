"""metadata.managedFields: who manages which fields of an object.

Objects that nobody ever applied carry none, which keeps ordinary writes cheap. At the first apply what is there belongs to
"before-first-apply", and what kubectl's client-side apply noted in its annotation to "kubectl-client-side-apply", as upstream
has it for objects from before server-side apply.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import orjson

from moorings_core.ports.errors import BadRequest, Conflict
from moorings_core.ports.objects import Object
from moorings_core.registry.schema import Schema

from .fields import Fields, Path, decode, encode, fields_of, holders, leaves, shown
from .merge import merge, remove

APPLY, UPDATE = "Apply", "Update"
BEFORE, CLIENT_SIDE = "before-first-apply", "kubectl-client-side-apply"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True, slots=True)
class Manager:
    """The key of an entry."""

    name: str
    operation: str
    version: str
    subresource: str = ""

    def shown(self, time: str) -> str:
        """Return the manager as conflicts name it."""
        where = f' with subresource "{self.subresource}"' if self.subresource else ""
        using = f" using {self.version}" + (f" at {time}" if time else "")
        return f'"{self.name}"{where}' + (using if self.operation == UPDATE else "")


@dataclass(frozen=True, slots=True)
class Entry:
    """What a manager has, since when."""

    fields: Fields
    time: str


Entries = dict[Manager, Entry]


def applied(live: Object, config: Object, schema: Schema | None, manager: Manager, *, force: bool, now: str) -> Object:
    """Return live with a configuration applied. Raises Conflict where others have set fields otherwise, BadRequest."""
    if config.get("metadata", {}).get("managedFields"):
        raise BadRequest("metadata.managedFields must be nil")
    entries, wanted = _entries(live) or _first(live, schema, manager), fields_of(config, schema)
    before = entries.pop(manager, Entry(frozenset(), "")).fields
    values, given = dict(leaves(live, schema)), dict(leaves(config, schema))
    differing = frozenset(path for path in wanted if path in values and values[path] != given.get(path))
    if not force:
        _refuse(entries, differing)
    entries = {m: Entry(e.fields - differing, e.time) for m, e in entries.items()}
    others: Fields = frozenset().union(*(e.fields for e in entries.values()))
    merged = merge(live, {k: v for k, v in config.items() if k != "metadata"}, schema)
    merged["metadata"] = _metadata(live, config, schema)
    result: Object = remove(merged, schema, before - wanted - others, wanted | others)
    old = _entries(live).get(manager)
    entries[manager] = old if old is not None and old.fields == wanted else Entry(wanted, now)
    result["metadata"] = {**result["metadata"], "managedFields": _written(entries)}
    return result


def updated(old: Object, new: Object, schema: Schema | None, manager: Manager, now: str) -> list[Object] | None:
    """Return the managedFields after an ordinary write, None for none: what changed is the writer's, what is gone nobody's."""
    given = new["metadata"].get("managedFields")
    if not old["metadata"].get("managedFields") or given in ([], [{}]):
        return None
    entries = _entries(new if given else old)
    parts = [_managed(obj, schema) for obj in (old, new)]
    before, after = (dict(leaves(part, schema)) for part in parts)
    held, holds = (frozenset(holders(part, schema, empty=part is parts[0])) for part in parts)
    changed = frozenset(path for path, value in after.items() if path not in before or before[path] != value) | (holds - held)
    touched = changed | (before.keys() - after.keys()) | (held - holds)
    if not touched:
        return _written(entries)
    mine = entries.pop(manager, Entry(frozenset(), now))
    left = {m: Entry(e.fields - touched, e.time) for m, e in entries.items()}
    fields = (mine.fields & (after.keys() | holds)) | changed
    return _written(left | ({manager: Entry(fields, now if fields != mine.fields else mine.time)} if fields else {}))


def _managed(obj: Object, schema: Schema | None) -> Object:
    """Return the part of an object that is managed."""
    known = fields_of(obj, schema)
    return {k: v for k, v in obj.items() if k not in ("apiVersion", "kind", "metadata")} | {
        "metadata": {k: v for k, v in obj["metadata"].items() if any(p[:2] == ("f:metadata", f"f:{k}") for p in known)}
    }


def _metadata(live: Object, config: Object, schema: Schema | None) -> Object:
    node = schema.properties.get("metadata") if schema is not None else None
    given = {k: v for k, v in config.get("metadata", {}).items() if k not in ("managedFields", "resourceVersion")}
    merged: Object = merge(live["metadata"], given, node)
    return merged


def _refuse(entries: Mapping[Manager, Entry], differing: Fields) -> None:
    causes, texts = [], []
    for manager, entry in sorted(entries.items(), key=lambda e: (e[0].name, e[0].operation)):
        paths = sorted(shown(path) for path in entry.fields & differing)
        if not paths:
            continue
        who = manager.shown(entry.time)
        causes += [{"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": path} for path in paths]
        texts.append(f"conflicts with {who}:\n" + "\n".join(f"- {path}" for path in paths))
    if len(causes) == 1:
        texts = [f"{causes[0]['message']}: {causes[0]['field']}"]
    if causes:
        count = f"{len(causes)} conflict" + ("s" if len(causes) > 1 else "")
        raise Conflict(f"Apply failed with {count}: " + "\n".join(texts), details={"causes": causes})


def _first(live: Object, schema: Schema | None, applying: Manager) -> Entries:
    fields, time = fields_of(live, schema), live["metadata"].get("creationTimestamp") or ""
    fields = frozenset(path for path in fields if path[0] != "f:status")
    noted = _last_applied(live, schema) & fields
    found = {Manager(BEFORE, UPDATE, applying.version): Entry(fields - noted, time)}
    return found | ({Manager(CLIENT_SIDE, UPDATE, applying.version): Entry(noted, time)} if noted else {})


def _last_applied(live: Object, schema: Schema | None) -> Fields:
    text = (live["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    try:
        noted = orjson.loads(text) if text else None
    except ValueError:
        return frozenset()
    if not isinstance(noted, dict):
        return frozenset()
    return fields_of(noted, schema) | {("f:metadata", "f:annotations", f"f:{LAST_APPLIED}")}


def _entries(obj: Object) -> Entries:
    found: Entries = {}
    for raw in obj["metadata"].get("managedFields") or ():
        manager = Manager(raw.get("manager", ""), raw.get("operation", ""), raw.get("apiVersion", ""), raw.get("subresource", ""))
        found[manager] = Entry(decode(raw.get("fieldsV1") or {}), raw.get("time") or "")
    return found


def _written(entries: Entries) -> list[Object]:
    return [_entry(manager, entry) for manager, entry in _sorted(entries) if entry.fields]


def _sorted(entries: Entries) -> Iterator[tuple[Manager, Entry]]:
    yield from sorted(entries.items(), key=lambda e: (e[0].operation != APPLY, e[1].time, e[0].name, e[0].subresource))


def _entry(manager: Manager, entry: Entry) -> Object:
    made: Object = {"manager": manager.name, "operation": manager.operation, "apiVersion": manager.version, "fieldsType": "FieldsV1"}
    made |= {"time": entry.time, "fieldsV1": encode(entry.fields)}
    return made | ({"subresource": manager.subresource} if manager.subresource else {})


__all__ = ["APPLY", "UPDATE", "Manager", "Path", "applied", "updated"]
