"""Changes of what is stored are refused with the causes that upstream gives: changes/*.yaml."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from moorings_core.ports.objects import Object, Resource
from moorings_core.registry import defaults, shape, strategy
from moorings_core.registry.kinds import Kind
from moorings_core.registry.schema import prune
from moorings_core.registry.validation import shown_claims, validate_status, validate_update

from .objects import REGISTRY, changed

FOLDER = Path(__file__).with_name("changes")


def rows() -> Iterator[Any]:
    """Every row of every file, with the object that it changes."""
    for file in sorted(FOLDER.glob("*.yaml")):
        for part in yaml.safe_load_all(file.read_text()):
            for row in part["changes"]:
                told = f"without {row['without']}" if "without" in row else str(row["put"])
                yield pytest.param(part, row, id=f"{part['resource']}{'/status' if 'of' in row else ''}: {told}"[:150])


def clean(kind: Kind, body: Object) -> Object:
    """A body as it is understood, with its defaults."""
    assert kind.schema is not None
    obj: Object = copy.deepcopy(prune(copy.deepcopy(body), kind.schema))
    obj["metadata"] |= {"uid": "u"} | ({"namespace": "default"} if kind.resource.namespaced else {})
    defaults.apply(kind.resource, obj)
    return obj


def stored(kind: Kind, body: Object) -> Object:
    """A body as it is stored at its creation."""
    obj = clean(kind, body)
    strategy.prepare_create(kind.resource, obj)
    shape.fill(obj, kind.schema)
    return obj


def refusals(resource: Resource, new: Object, old: Object, subresource: str) -> list[str]:
    """What is wrong with a change, each told once."""
    rule = validate_status if subresource == "status" else validate_update
    return list(dict.fromkeys(str(error) for error in rule(resource, new, old)))


@pytest.mark.parametrize(("part", "row"), list(rows()))
def test_a_change_is_refused_as_upstream_does(part, row):
    plural, _, group = part["resource"].partition(".")
    kind = REGISTRY.lookup(group, part["version"], plural)
    assert kind is not None
    old, subresource = stored(kind, part["body"]), row.get("of", "")
    new = clean(kind, changed(part["body"], {row["without"]: ...} if "without" in row else row["put"]))
    shape.fill(new, kind.schema)
    strategy.prepare_update(kind.resource, new, old, subresource)
    assert refusals(kind.resource, new, old, subresource) == row["causes"]


def test_claims_that_may_not_change_are_shown_as_upstreams_structures():
    claim = {"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}
    claim["status"] = {"conditions": [{"type": "Resizing", "status": "True"}]}
    (shown,) = shown_claims.shown([claim]) or ()
    assert list(shown) == ["name", "Spec", "Status"]
    assert shown["Spec"] == {
        "AccessModes": None,
        "Selector": None,
        "Resources": {"Limits": None, "Requests": {"storage": "1Gi"}},
        "VolumeName": "",
        "StorageClassName": None,
        "VolumeMode": None,
        "DataSource": None,
        "DataSourceRef": None,
        "VolumeAttributesClassName": None,
    }
    times = {"LastProbeTime": None, "LastTransitionTime": None, "Reason": "", "Message": ""}
    assert shown["Status"]["Conditions"] == [{"Type": "Resizing", "Status": "True", **times}]
    assert shown_claims.shown(None) is None
