"""Who manages what after ordinary writes, worked out on FieldsV1 trees: only where an object has changed is anything looked at.

A tree is a nested mapping of FieldsV1 elements. Below a name stands what is held there: nothing more (`HELD`) where it is a field
without fields below, "." among the fields below where it is one itself. Trees of stored objects are shared: nothing here changes one.
Source: KEP-555; structured-merge-diff's Updater.Update.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from moorings_core.ports.objects import Object
from moorings_core.registry.custom.schema import ANYTHING
from moorings_core.registry.schema import Schema

from .fields import ITSELF, NOT_MANAGED, children, is_granular

Tree = Mapping[str, Any]
NOT_CONTENT = ("apiVersion", "kind", "metadata")
METADATA = "f:metadata"
KINDS = ("f:", "k:", "v:", "i:")
"""How the elements of a tree begin"""
HELD: Tree = {}
NONE: Tree = {}
"""The tree that holds nothing: empty as well, but only ever a whole tree"""
_GONE = object()
"""Stands for a value that is not there; None is one that is"""
Part = tuple[str, Any, Schema | None]


class Changes(NamedTuple):
    """What a write has set, and what it has taken away; None within a tree: nothing there."""

    set: Tree | None
    gone: Tree | None


def content(obj: Object) -> Object:
    """Return the part of an object that is managed: without what names and dates it."""
    made = {k: v for k, v in obj.items() if k not in NOT_CONTENT}
    metadata = {k: v for k, v in obj["metadata"].items() if k not in NOT_MANAGED}
    return made | {"metadata": metadata} if metadata else made


def changes(old: Object, new: Object, schema: Schema | None) -> Changes:
    """Return what differs between the contents of two states of an object."""
    found = _changes(content(old), content(new), schema, "", within=False)
    return Changes(*(_without_metadata(tree) for tree in found))


def union(tree: Tree, more: Tree | None) -> Tree:
    """Return a whole tree that holds what another one does, too."""
    return tree if not more else _union(tree, more) if tree else more


def difference(tree: Tree, less: Tree | None) -> Tree:
    """Return a whole tree that holds nothing of what another one does."""
    return tree if not less or not tree else _difference(tree, less) or NONE


def is_tree(value: Any) -> bool:
    """Whether a value is a tree of FieldsV1 elements."""
    if not isinstance(value, dict):
        return False
    return all((name == ITSELF or name[:2] in KINDS) and is_tree(below) for name, below in value.items())


def _changes(old: Any, new: Any, schema: Schema | None, element: str, *, within: bool) -> Changes:
    """Compare what stands at an element; within: it is an object that no schema describes, in another one."""
    if old is new or (type(old) is type(new) and old == new):
        return Changes(None, None)
    if old is _GONE:
        return Changes(_all(new, schema, element, within=within), None)
    if new is _GONE:
        return Changes(None, _all(old, schema, element, within=within))
    before, after = ({name: (child, node) for name, child, node in children(side, schema)} for side in (old, new))
    set_: dict[str, Tree] = {}
    gone: dict[str, Tree] = {}
    for name in sorted(before.keys() | after.keys()):
        was, is_ = before.get(name, (_GONE, None)), after.get(name, (_GONE, None))
        below = was[1] if was[0] is not _GONE else is_[1]
        differing = _changes(was[0], is_[0], below, name, within=below is ANYTHING)
        if differing.set is not None:
            set_[name] = differing.set
        if differing.gone is not None:
            gone[name] = differing.gone
    itself = _has_itself(schema, element, within=within)
    if not element or not (itself or not before or not after):
        return Changes(set_ or None, gone or None)
    was_field, is_field = itself or not before, (itself or not after) and not (new is None and _is_list(schema))
    is_set = is_field and not (was_field and _same_field((old, bool(before)), (new, bool(after))))
    return Changes(_node(set_, itself=is_set), _node(gone, itself=was_field and not is_field))


def _without_metadata(tree: Tree | None) -> Tree | None:
    """Return a whole tree without the metadata itself, which every object has: with the fields in it alone."""
    below = tree.get(METADATA) if tree else None
    if tree is None or below is None or (below and ITSELF not in below):
        return tree
    return difference(tree, {METADATA: HELD}) or None


def _all(value: Any, schema: Schema | None, element: str, *, within: bool) -> Tree:
    """Return all fields of a value that is there on one side only."""
    parts = sorted(children(value, schema), key=_name)
    if not parts:
        return HELD
    made: dict[str, Tree] = {ITSELF: HELD} if _has_itself(schema, element, within=within) else {}
    for name, child, node in parts:
        made[name] = _all(child, node, name, within=node is ANYTHING)
    return made


def _node(below: dict[str, Tree], *, itself: bool) -> Tree | None:
    if not itself:
        return below or None
    return {ITSELF: HELD, **below} if below else HELD


def _has_itself(schema: Schema | None, element: str, *, within: bool) -> bool:
    """Whether what has fields below is one, too: a map or list that somebody made, a list's item, an object without a schema."""
    return bool(element) and (is_granular(schema) or element.startswith("k:") or (schema is ANYTHING and within))


def _is_list(schema: Schema | None) -> bool:
    """Whether null is as good as nothing here."""
    return schema is not None and schema.type in ("array", "map")


def _same_field(before: tuple[Any, bool], after: tuple[Any, bool]) -> bool:
    """Whether a field is as before: of what has parts (the second of each pair says so) only that it is there counts."""
    (old, had), (new, has) = before, after
    if had and has:
        return True
    if has:
        return old in (None, {}, [])
    return new in ({}, []) if had else bool(old == new)


def _union(tree: Tree, more: Tree) -> Tree:
    if not more:
        return tree if not tree or ITSELF in tree else {ITSELF: HELD, **tree}
    if not tree:
        return more if ITSELF in more else {ITSELF: HELD, **more}
    changed = {}
    for name, below in more.items():
        known = tree.get(name)
        merged = below if known is None else _union(known, below)
        if merged is not known:
            changed[name] = merged
    if not changed:
        return tree
    made = {**tree, **changed}
    return made if len(made) == len(tree) else dict(sorted(made.items()))


def _difference(tree: Tree, less: Tree) -> Tree | None:
    """Return what is left below a name, None for nothing."""
    if not less or (not tree and ITSELF in less):
        left = {name: below for name, below in tree.items() if name != ITSELF}
        return (left or None) if len(left) < len(tree) or not tree else tree
    changed = {}
    for name, below in less.items():
        known = tree.get(name)
        if known is not None and (rest := None if name == ITSELF else _difference(known, below)) is not known:
            changed[name] = rest
    if not changed:
        return tree
    made = {name: below for name, below in {**tree, **changed}.items() if below is not None}
    return (HELD if made.keys() == {ITSELF} else made) if made else None


def _name(part: Part) -> str:
    return part[0]
