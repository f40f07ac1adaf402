"""Objects as tables, the way `kubectl get` shows them: columns per kind, cells in upstream's words.

`columns` names the kinds' columns; `pods`, `workloads`, `policies` and `others` compute cells. Pure: `now` is an argument.
Source: meta.k8s.io/v1 Table; upstream's printers.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Literal

from moorings_core.ports.objects import Object, Resource
from moorings_core.registry import forms
from moorings_core.registry.annotations import TEMPLATE_GENERATION
from moorings_core.registry.custom import served

from . import extensions, flows, others, pods, policies, workloads
from .column import AGE, NAME, Column

Include = Literal["None", "Metadata", "Object"]
_COLUMNS: dict[tuple[str, str], Sequence[Column]] = {
    **pods.COLUMNS,
    **workloads.COLUMNS,
    **others.COLUMNS,
    **policies.COLUMNS,
    **flows.COLUMNS,
    **extensions.COLUMNS,
}
_DEFAULT = (NAME, Column("Created At", lambda o, _: o["metadata"].get("creationTimestamp") or "<unknown>", type="date"))


def table(
    resource: Resource,
    objects: Sequence[Object],
    *,
    metadata: Object,
    include: Include = "Metadata",
    now: datetime.datetime | None = None,
) -> Object:
    """Return a Table of objects; metadata is the list's. Columns with a priority above 0 are for `-o wide`."""
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": [c.definition() for c in columns_of(resource)],
        "rows": rows(resource, objects, include=include, now=now),
    }


def rows(
    resource: Resource, objects: Sequence[Object], *, include: Include = "Metadata", now: datetime.datetime | None = None
) -> list[Object]:
    """Return the rows of a Table."""
    moment = now or datetime.datetime.now(datetime.UTC)
    columns = columns_of(resource)
    pairs = [(obj, forms.kept(obj)) for obj in objects]
    return [{"cells": [c.cell(kept, moment) for c in columns], **_row_object(obj, include)} for obj, kept in pairs]


def columns_of(resource: Resource) -> Sequence[Column]:
    """Return the columns of a kind."""
    custom = served.of(resource)
    if custom is not None:
        return custom.columns
    return _COLUMNS.get((resource.group, resource.plural), _DEFAULT)


def _row_object(obj: Object, include: Include) -> Object:
    if include == "None":
        return {"object": None}
    if include == "Object":
        return {"object": obj}
    return {"object": metadata_only(obj)}


def metadata_only(obj: Object) -> Object:
    """Return the metadata of an object as an object of its own, without annotations that stand for fields of another version."""
    metadata = forms.kept(obj)["metadata"]
    if TEMPLATE_GENERATION in (metadata.get("annotations") or {}):
        annotations = {k: v for k, v in metadata["annotations"].items() if k != TEMPLATE_GENERATION}
        metadata = {k: v for k, v in metadata.items() if k != "annotations"} | ({"annotations": annotations} if annotations else {})
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}


__all__ = ["AGE", "NAME", "Column", "Include", "columns_of", "metadata_only", "rows", "table"]
