"""The generated facts, read once. See `generate` for the meaning of the short keys."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import orjson

from moorings_core.ports.objects import Resource

Definition = dict[str, Any]
PATH = Path(__file__).with_name("facts.json")


@functools.cache
def facts() -> dict[str, Any]:
    """Return the whole file: version, groups, resources, definitions, messages."""
    loaded: dict[str, Any] = orjson.loads(PATH.read_bytes())
    return loaded


def definition(name: str) -> Definition:
    """Return one definition by upstream's name. Raises KeyError."""
    found: Definition = facts()["definitions"][name]
    return found


@functools.cache
def definition_of(group: str, version: str, kind: str) -> str:
    """Return the name of the definition of a kind, or "" when it has none."""
    return _by_kind().get((group, version, kind), "")


def is_built_in(resource: Resource) -> bool:
    """Whether upstream itself has the kind, rather than a custom resource definition."""
    return bool(definition_of(resource.group, resource.version, resource.kind))


@functools.cache
def _by_kind() -> dict[tuple[str, str, str], str]:
    return {tuple(d["x"]): name for name, d in facts()["definitions"].items() if "x" in d}
