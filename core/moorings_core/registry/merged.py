"""What an aggregated server says of its kinds, as part of our OpenAPI v2 document.

Of its document only what belongs to one group version counts. A definition that upstream's API machinery has is ours; one whose name
another server has taken for something else gets a name of its own. Source: kube-openapi pkg/aggregator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from moorings_core.ports.objects import Object

REFERENCE = "#/definitions/"
GVK = "x-kubernetes-group-version-kind"
OURS = ("io.k8s.apimachinery.", "io.k8s.api.")


@dataclass(frozen=True, slots=True)
class Part:
    """What of a document belongs to one group version."""

    paths: Mapping[str, Object] = field(default_factory=dict)
    definitions: Mapping[str, Object] = field(default_factory=dict)


def part_of(document: object, group: str, version: str) -> Part:
    """Return the paths of a group version, its kinds, and all that they refer to. A document that is none has nothing."""
    if not isinstance(document, dict):
        return Part()
    known = document.get("definitions")
    definitions: Object = known if isinstance(known, dict) else {}
    root = f"/apis/{group}/{version}"
    given = document.get("paths")
    paths = {p: item for p, item in (given if isinstance(given, dict) else {}).items() if p == root or p.startswith(f"{root}/")}
    kinds = {name for name, schema in definitions.items() if _is_of(schema, group, version)}
    pending, reached = [*kinds, *_references(paths)], dict[str, Object]()
    while pending:
        name = pending.pop()
        if name in definitions and name not in reached and not name.startswith(OURS):
            reached[name] = definitions[name]
            pending.extend(_references(definitions[name]))
    return Part(paths, reached)


def merge(own: Mapping[str, Object], parts: Mapping[tuple[str, str], Part]) -> Part:
    """Return all paths of the parts, and our definitions with theirs."""
    paths, definitions = dict[str, Object](), dict(own)
    for _, part in sorted(parts.items()):
        names = {name: _free(name, schema, definitions) for name, schema in part.definitions.items()}
        changed = {name: new for name, new in names.items() if name != new}
        definitions |= {names[name]: _renamed(schema, changed) for name, schema in part.definitions.items()}
        paths |= {path: _renamed(item, changed) for path, item in part.paths.items()}
    return Part(paths, definitions)


def _is_of(schema: Any, group: str, version: str) -> bool:
    kinds = schema.get(GVK) if isinstance(schema, dict) else None
    return any((k.get("group", ""), k.get("version")) == (group, version) for k in kinds or () if isinstance(k, dict))


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        reference = value.get("$ref")
        if isinstance(reference, str):
            yield reference.removeprefix(REFERENCE)
        for child in value.values():
            yield from _references(child)
    elif isinstance(value, list):
        for child in value:
            yield from _references(child)


def _free(name: str, schema: Object, taken: Mapping[str, Object]) -> str:
    """Return a name that nobody has given to something else."""
    number, found = 1, name
    while found in taken and taken[found] != schema:
        number += 1
        found = f"{name}_v{number}"
    return found


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if not names:
        return value
    if isinstance(value, list):
        return [_renamed(child, names) for child in value]
    if not isinstance(value, dict):
        return value
    made = {key: _renamed(child, names) for key, child in value.items()}
    reference = made.get("$ref")
    if isinstance(reference, str) and (new := names.get(reference.removeprefix(REFERENCE))):
        made["$ref"] = REFERENCE + new
    return made
