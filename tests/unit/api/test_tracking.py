"""Who manages what after ordinary writes, held against a slow model on sets of paths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from moorings_core.api.apply.fields import Path, children, decode, is_granular
from moorings_core.api.apply.managers import UPDATE, Manager, created, updated
from moorings_core.api.apply.tracking import METADATA, content
from moorings_core.registry.custom.schema import ANYTHING
from moorings_core.registry.schema import Schema, named
from moorings_core.registry.shape import filled

POD, DEPLOYMENT, SERVICE = (named(f"io.k8s.api.{n}") for n in ("core.v1.Pod", "apps.v1.Deployment", "core.v1.Service"))
ONE, TWO = (Manager(name, UPDATE, "v1") for name in ("one", "two"))
EMPTY = {"metadata": {}}
HOLDS = "holds"
NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:00:05Z"


def fields(value: Any, schema: Schema | None, path: Path = (), *, within: bool = False) -> Iterator[tuple[Path, Any]]:
    """Yield every field with its value, HOLDS for what has parts."""
    parts = list(children(value, schema))
    granular = is_granular(schema) and isinstance(value, dict | list)
    itself = granular or (path and path[-1].startswith("k:")) or (schema is ANYTHING and within)
    if path and (not parts or (itself and path != (METADATA,))):
        yield path, value if not parts and value not in ({}, []) else HOLDS
    for element, child, node in parts:
        yield from fields(child, node, (*path, element), within=node is ANYTHING)


def model(old, new, schema, entries, manager):
    """Return what each manager has after a write, on whole sets."""
    before, after = (dict(fields(content(obj), schema)) for obj in (old, new))
    changed = frozenset(path for path, value in after.items() if path not in before or before[path] != value)
    touched = changed | (before.keys() - after.keys())
    left = {name: fields - touched for name, fields in entries.items()}
    left[manager] = (entries.get(manager, frozenset()) & after.keys()) | changed
    return {name: fields for name, fields in left.items() if fields}


def held(entries):
    return {Manager(e["manager"], e["operation"], e["apiVersion"]): decode(e["fieldsV1"]) for e in entries}


words = st.sampled_from("abc")
maps = st.dictionaries(words, words, max_size=3)
port = st.fixed_dictionaries({"containerPort": st.integers(1, 3)}, optional={"name": words, "protocol": st.sampled_from(["TCP", "UDP"])})
ports = st.lists(port, max_size=2, unique_by=lambda p: p["containerPort"])
variable = st.fixed_dictionaries({"name": words}, optional={"value": words})
environment = st.lists(variable, max_size=2, unique_by=lambda e: e["name"])
arguments = st.lists(words, max_size=2)
container = st.fixed_dictionaries(
    {"name": words}, optional={"image": words, "args": arguments, "ports": ports, "resources": st.just({}), "env": environment}
)
metadata = st.fixed_dictionaries(
    {"name": st.just("x")}, optional={"labels": maps, "annotations": maps, "finalizers": st.lists(words, max_size=2, unique=True)}
)
spec = st.fixed_dictionaries(
    {"containers": st.lists(container, min_size=1, max_size=2, unique_by=lambda c: c["name"])},
    optional={
        "nodeSelector": maps,
        "hostNetwork": st.booleans(),
        "securityContext": st.dictionaries(st.just("runAsUser"), st.integers(0, 2)),
    },
)
pods = st.fixed_dictionaries(
    {"metadata": metadata, "spec": spec}, optional={"status": st.fixed_dictionaries({}, optional={"podIP": words})}
)


@given(pods, st.lists(st.tuples(pods, st.sampled_from([ONE, TWO])), max_size=4))
def test_managers_have_what_whole_sets_of_paths_say(first, writes):
    entries = created(first, EMPTY, POD, ONE, NOW)
    assert all(e["time"] == NOW for e in entries)
    expected, live = model(EMPTY, first, POD, {}, ONE), {**first, "metadata": {**first["metadata"], "managedFields": entries}}
    for body, manager in writes:
        entries = updated(live, body, POD, manager, NOW)
        expected = model(live, body, POD, expected, manager)
        live = {**body, "metadata": {**body["metadata"], "managedFields": entries}}
        assert held(entries) == expected


def test_who_creates_has_all_that_the_object_says_and_the_maps_themselves():
    obj = {"metadata": {"name": "x", "uid": "1", "labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i", "args": []}]}}
    (entry,) = created(obj, filled(EMPTY, POD), POD, ONE, NOW)
    container = {".": {}, "f:args": {}, "f:image": {}, "f:name": {}}
    assert entry["fieldsV1"] == {
        "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
        "f:spec": {"f:containers": {'k:{"name":"c"}': container}},
    }
    assert (entry["manager"], entry["operation"], entry["time"]) == ("one", "Update", NOW)


def test_a_write_that_changes_what_one_has_already_makes_it_later_and_nothing_else():
    live = {"metadata": {"name": "x"}, "spec": {"replicas": 1}}
    live["metadata"]["managedFields"] = created(live, EMPTY, DEPLOYMENT, ONE, NOW)
    (entry,) = updated(live, {**live, "spec": {"replicas": 2}}, DEPLOYMENT, ONE, LATER)
    assert entry == {**live["metadata"]["managedFields"][0], "time": LATER}
    assert updated(live, {**live}, DEPLOYMENT, TWO, LATER) == live["metadata"]["managedFields"]


def test_what_is_written_is_never_changed_in_place():
    live = {"metadata": {"name": "x", "labels": {"a": "1", "b": "2"}}}
    live["metadata"]["managedFields"] = created(live, EMPTY, SERVICE, ONE, NOW)
    before = repr(live)
    updated(live, {"metadata": {"name": "x", "labels": {"b": "3", "c": "4"}}}, SERVICE, TWO, LATER)
    assert repr(live) == before


def test_entries_that_cannot_be_read_are_taken_as_not_sent():
    live = {"metadata": {"name": "x", "labels": {"a": "1"}}}
    live["metadata"]["managedFields"] = created(live, EMPTY, SERVICE, ONE, NOW)
    sound = live["metadata"]["managedFields"][0]
    for bad in ({"operation": "Own"}, {"fieldsV1": {"labels": {}}}, {"fieldsType": "V2"}, {"apiVersion": ""}):
        body = {"metadata": {"name": "x", "labels": {"a": "2"}, "managedFields": [{**sound, **bad}]}}
        assert [e["manager"] for e in updated(live, body, SERVICE, TWO, LATER)] == ["one", "two"]
        assert created(body, EMPTY, SERVICE, TWO, LATER)[0]["manager"] == "two"
    taken = {"metadata": {"name": "x", "labels": {"a": "1"}, "managedFields": [{**sound, "manager": "renamed"}]}}
    assert updated(live, taken, SERVICE, TWO, LATER)[0]["manager"] == "renamed"
    by_status = updated(live, taken, SERVICE, Manager("two", UPDATE, "v1", "status"), LATER)
    assert by_status[0]["manager"] == "one", "a subresource cannot change who manages what"


def test_of_too_many_updates_the_oldest_become_one():
    live = {"metadata": {"name": "x", "labels": {}}}
    live["metadata"]["managedFields"] = created(live, EMPTY, SERVICE, ONE, NOW)
    for number in range(12):
        body = {"metadata": {**live["metadata"], "labels": {**live["metadata"]["labels"], f"l{number:02}": "x"}}}
        body["metadata"]["managedFields"] = updated(
            live, body, SERVICE, Manager(f"m{number:02}", UPDATE, "v1"), f"2026-01-01T00:01:{number:02}Z"
        )
        live = body
    entries = live["metadata"]["managedFields"]
    assert [e["manager"] for e in entries] == ["ancient-changes", *(f"m{n:02}" for n in range(3, 12))]
    assert set(entries[0]["fieldsV1"]["f:metadata"]["f:labels"]) == {".", "f:l00", "f:l01", "f:l02"}


def test_who_says_nothing_has_nothing():
    assert created({"metadata": {"name": "x"}}, EMPTY, POD, ONE, NOW) == []


def test_what_an_empty_object_of_the_kind_has_as_well_is_nobody_s():
    role = named("io.k8s.api.rbac.v1.ClusterRole")
    empty = filled({"metadata": {}}, role)
    assert created(filled({"metadata": {"name": "x"}}, role), empty, role, ONE, NOW) == []
    (entry,) = created({"metadata": {"name": "x"}, "rules": []}, empty, role, ONE, NOW)
    assert entry["fieldsV1"] == {"f:rules": {}}
