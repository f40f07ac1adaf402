"""Objects with one thing wrong are refused with the causes that upstream gives, in its words and order: refused/*.yaml."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from moorings_core.registry import defaults, shape, strategy
from moorings_core.registry.schema import prune
from moorings_core.registry.validation import validate_create

from .objects import REGISTRY, changed

FOLDER = Path(__file__).with_name("refused")
LONG = "x" * 300


def rows() -> Iterator[Any]:
    """Every row of every file, with the body that it changes; unordered: upstream has no order there, as it walks a Go map."""
    for file in sorted(FOLDER.glob("*.yaml")):
        for part in yaml.safe_load_all(file.read_text()):
            for row in part["refused"]:
                told = f"without {row['without']}" if "without" in row else str(row["put"])
                yield pytest.param(part, row, id=f"{part['resource']}: {told}"[:150])


def long(value: Any) -> Any:
    """The value with its long texts written out."""
    if isinstance(value, str):
        return value.replace("LONG", LONG)
    if isinstance(value, list):
        return [long(item) for item in value]
    return {key: long(item) for key, item in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize(("part", "row"), list(rows()))
def test_an_object_is_refused_as_upstream_does(part, row):
    plural, _, group = part["resource"].partition(".")
    kind = REGISTRY.lookup(group, part["version"], plural)
    assert kind is not None and kind.schema is not None
    changes = {row["without"]: ...} if "without" in row else long(row["put"])
    obj = copy.deepcopy(prune(changed(part["body"], changes), kind.schema))
    obj |= {"apiVersion": kind.resource.api_version, "kind": kind.resource.kind}
    obj["metadata"] |= {"uid": "u"} | ({"namespace": "default"} if kind.resource.namespaced else {})
    defaults.apply(kind.resource, obj)
    strategy.prepare_create(kind.resource, obj)
    shape.fill(obj, kind.schema)
    found = list(dict.fromkeys(str(error) for error in validate_create(kind.resource, obj)))
    order = sorted if row.get("unordered") else list
    assert order(found) == order(long(row["causes"]))
