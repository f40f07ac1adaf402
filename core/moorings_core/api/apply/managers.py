"""metadata.managedFields: who manages which fields of an object.

Whoever creates an object has all that it says, whoever changes it what it changes. Objects from before that was noted carry none:
at their first apply what is there belongs to "before-first-apply", and what kubectl's client-side apply noted in its annotation to
"kubectl-client-side-apply", as upstream has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import orjson

from moorings_core.ports.errors import BadRequest, Conflict
from moorings_core.ports.objects import Object
from moorings_core.registry.schema import Schema

from .fields import Fields, Path, decode, encode, fields_of, leaves, shown
from .merge import merge, remove
from .tracking import NONE, Tree, changes, difference, is_tree, union

APPLY, UPDATE = "Apply", "Update"
KUBECTL = "kubectl"
BEFORE, CLIENT_SIDE = "before-first-apply", "kubectl-client-side-apply"
ANCIENT, MOST_UPDATES = "ancient-changes", 10
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True, slots=True)
class Manager:
    """The key of an entry."""

    name: str
    operation: str
    version: str
    subresource: str = ""

    def shown(self) -> str:
        """Return the manager as conflicts name it."""
        where = f' with subresource "{self.subresource}"' if self.subresource else ""
        return f'"{self.name}"{where}' + (f" using {self.version}" if self.operation == UPDATE else "")


@dataclass(frozen=True, slots=True)
class Entry:
    """What a manager has, since when."""

    fields: Fields
    time: str


Entries = dict[Manager, Entry]
Trees = dict[Manager, tuple[Tree, str]]
"""What managers have as it is written, and since when"""


def applied(live: Object, config: Object, schema: Schema | None, manager: Manager, *, force: bool, now: str) -> Object:
    """Return live with a configuration applied. Raises Conflict where others have set fields otherwise, BadRequest."""
    if config.get("metadata", {}).get("managedFields"):
        raise BadRequest("metadata.managedFields must be nil")
    entries, wanted = _entries(live) or _first(live, schema, manager), fields_of(config, schema)
    before = entries.pop(manager, Entry(frozenset(), "")).fields
    values, given = dict(leaves(live, schema)), dict(leaves(config, schema))
    differing = frozenset(path for path in wanted if path in values and values[path] != given.get(path))
    if not force:
        _refuse(entries, differing - _unchanged_since_kubectl(live, schema, manager))
    entries = {m: Entry(e.fields - differing, e.time) for m, e in entries.items()}
    others: Fields = frozenset().union(*(e.fields for e in entries.values()))
    merged = merge(live, {k: v for k, v in config.items() if k != "metadata"}, schema)
    merged["metadata"] = _metadata(live, config, schema)
    result: Object = remove(merged, schema, before - wanted - others, wanted | others)
    old = _entries(live).get(manager)
    entries[manager] = old if old is not None and old.fields == wanted else Entry(wanted, now)
    result["metadata"] = {**result["metadata"], "managedFields": _written(entries)}
    if manager.name == KUBECTL and (result["metadata"].get("annotations") or {}).get(LAST_APPLIED):
        result["metadata"]["annotations"] = {**result["metadata"]["annotations"], LAST_APPLIED: _as_kubectl_notes(config)}
    return result


def created(obj: Object, empty: Object, schema: Schema | None, manager: Manager, now: str) -> list[Object]:
    """Return the managedFields of a new object: whoever sends it has all that is not in an empty one of its kind as well."""
    given = obj["metadata"].get("managedFields")
    if given and all(map(_is_sound, given)):
        return updated(empty, obj, schema, manager, now) or []
    return _trees_written({manager: (changes(empty, obj, schema).set or NONE, now)})


def updated(old: Object, new: Object, schema: Schema | None, manager: Manager, now: str) -> list[Object] | None:
    """Return the managedFields after an ordinary write, None for none: what changed is the writer's, what is gone nobody's."""
    given = None if manager.subresource else new["metadata"].get("managedFields")
    if given in ([], [{}]):
        return None
    held = given if given and all(map(_is_sound, given)) else old["metadata"].get("managedFields") or []
    differing = changes(old, new, schema)
    if differing == (None, None):
        return list(held)
    trees = _trees(held)
    mine, since = trees.pop(manager, (NONE, now))
    left: Trees = {m: (difference(difference(tree, differing.set), differing.gone), time) for m, (tree, time) in trees.items()}
    tree = union(difference(mine, differing.gone), differing.set)
    return _trees_written(_capped(left | {manager: (tree, now if differing.set else since)}))


def _is_sound(raw: Object) -> bool:
    """Whether an entry that a client sends can be read; if one cannot, all are taken as not sent. Source: DecodeManagedFields."""
    known = raw.get("operation") in (APPLY, UPDATE) and bool(raw.get("apiVersion")) and raw.get("fieldsType") == "FieldsV1"
    return known and is_tree(raw.get("fieldsV1"))


def _capped(trees: Trees) -> Trees:
    """Return what managers have, the oldest of too many updates as one for each version. Source: upstream's capmanagers.go."""
    updates = sorted((m for m in trees if m.operation == UPDATE and trees[m][0]), key=lambda m: (trees[m][1], m.name))
    if len(updates) <= MOST_UPDATES:
        return trees
    capped, first = dict(trees), dict[str, Manager]()
    length = len(updates)
    for manager in updates:
        if length <= MOST_UPDATES:
            break
        bucket = Manager(ANCIENT, UPDATE, manager.version)
        other = first.setdefault(manager.version, manager)
        if other is manager:
            continue
        tree, time = capped.pop(manager)
        old = capped.pop(bucket, None) or capped.pop(other)
        capped[bucket] = (union(old[0], tree), time)
        length -= 1
    return capped


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
        who = manager.shown()
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


def _unchanged_since_kubectl(live: Object, schema: Schema | None, manager: Manager) -> Fields:
    """Return what kubectl may take over without a conflict: what it applied itself on the client's side and nobody has changed since.

    Source: upstream's lastappliedmanager.go.
    """
    noted = _noted(live) if manager.name == KUBECTL else None
    if noted is None:
        return frozenset()
    values, now = dict(leaves(noted, schema)), dict(leaves(live, schema))
    return frozenset(path for path in fields_of(noted, schema) if path in values and now.get(path) == values[path])


def _as_kubectl_notes(config: Object) -> str:
    """Return a configuration as kubectl's client-side apply notes it: who goes back to that goes on from here.

    Source: upstream's lastappliedupdater.go.
    """
    metadata = dict(config["metadata"])
    annotations = {k: v for k, v in (metadata.pop("annotations", None) or {}).items() if k != LAST_APPLIED}
    noted = {**config, "metadata": metadata | ({"annotations": annotations} if annotations else {})}
    return orjson.dumps(noted, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE).decode()


def _last_applied(live: Object, schema: Schema | None) -> Fields:
    noted = _noted(live)
    return frozenset() if noted is None else fields_of(noted, schema) | {("f:metadata", "f:annotations", f"f:{LAST_APPLIED}")}


def _noted(live: Object) -> Object | None:
    """Return what kubectl noted of an object that it applied on the client's side, None where that is nothing that can be read."""
    text = (live["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    try:
        noted = orjson.loads(text) if text else None
    except ValueError:
        return None
    return noted if isinstance(noted, dict) else None


def _trees(entries: Iterable[Object]) -> Trees:
    return {_manager(raw): (raw.get("fieldsV1") or {}, raw.get("time") or "") for raw in entries}


def _manager(raw: Object) -> Manager:
    return Manager(raw.get("manager", ""), raw.get("operation", ""), raw.get("apiVersion", ""), raw.get("subresource", ""))


def _entries(obj: Object) -> Entries:
    trees = _trees(obj["metadata"].get("managedFields") or ())
    return {manager: Entry(decode(tree), time) for manager, (tree, time) in trees.items()}


def _written(entries: Entries) -> list[Object]:
    return _trees_written({manager: (encode(entry.fields), entry.time) for manager, entry in entries.items()})


def _trees_written(trees: Trees) -> list[Object]:
    """Return entries in upstream's order, without those that hold nothing."""
    ordered = sorted(trees.items(), key=lambda e: (e[0].operation != APPLY, e[1][1], e[0].name, e[0].subresource))
    return [_entry(manager, tree, time) for manager, (tree, time) in ordered if tree]


def _entry(manager: Manager, tree: Tree, time: str) -> Object:
    made: Object = {"manager": manager.name, "operation": manager.operation, "apiVersion": manager.version, "fieldsType": "FieldsV1"}
    made |= {"time": time, "fieldsV1": tree}
    return made | ({"subresource": manager.subresource} if manager.subresource else {})


__all__ = ["APPLY", "UPDATE", "Manager", "Path", "applied", "created", "updated"]
