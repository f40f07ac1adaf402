"""Server-side apply: ownership, conflicts, removal, lists by key; pure functions on objects."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings_core.api.apply.fields import decode, encode, fields_of
from moorings_core.api.apply.managers import APPLY, LAST_APPLIED, UPDATE, Manager, applied, created, updated
from moorings_core.ports.errors import BadRequest, Conflict
from moorings_core.registry.schema import named

MAP, DEPLOYMENT, POD = (named(f"io.k8s.api.{n}") for n in ("core.v1.ConfigMap", "apps.v1.Deployment", "core.v1.Pod"))
ALICE, BOB = (Manager(n, APPLY, "v1") for n in ("alice", "bob"))
EDITOR = Manager("editor", UPDATE, "v1")
NOW = "2026-01-01T00:00:00Z"


def config(**data):
    return {"metadata": {"name": "c"}, "data": data}


def apply(live, given, manager=ALICE, *, schema=MAP, force=False, now=NOW):
    return applied(live, given, schema, manager, force=force, now=now)


def new(given, manager=ALICE, schema=MAP):
    return apply({"metadata": {}}, given, manager, schema=schema)


def owners(obj):
    return {e["manager"]: e["fieldsV1"] for e in obj["metadata"]["managedFields"]}


def edit(old, schema=MAP, manager=EDITOR, **changes):
    """An ordinary update of some top-level fields."""
    made = {**old, **changes}
    managed = updated(old, made, schema, manager, NOW)
    return {**made, "metadata": {**made["metadata"], "managedFields": managed}}


def test_what_is_applied_is_owned_without_names_and_dates():
    made = new(config(a="1"))
    (entry,) = made["metadata"]["managedFields"]
    assert entry == {
        "manager": "alice",
        "operation": "Apply",
        "apiVersion": "v1",
        "time": NOW,
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {"f:a": {}}},
    }


def test_what_is_no_longer_applied_goes_and_what_others_set_stays():
    made = apply(new(config(a="1", b="2")), config(b="2", c="3"), BOB)
    after = apply(made, config(a="1"))
    assert after["data"] == {"a": "1", "b": "2", "c": "3"}, "b is bob's as well"
    assert apply(after, config(c="3"), BOB)["data"] == {"a": "1", "c": "3"}
    assert owners(after) == {"alice": {"f:data": {"f:a": {}}}, "bob": {"f:data": {"f:b": {}, "f:c": {}}}}


def test_another_s_field_with_another_value_is_a_conflict_and_force_takes_it():
    made = new(config(a="1", b="2"))
    with pytest.raises(Conflict) as caught:
        apply(made, config(a="9", b="9"), BOB)
    assert caught.value.message == 'Apply failed with 2 conflicts: conflicts with "alice":\n- .data.a\n- .data.b'
    assert caught.value.details["causes"][0] == {
        "reason": "FieldManagerConflict",
        "message": 'conflict with "alice"',
        "field": ".data.a",
    }
    forced = apply(made, config(a="9"), BOB, force=True)
    assert forced["data"] == {"a": "9", "b": "2"}
    assert owners(forced) == {"alice": {"f:data": {"f:b": {}}}, "bob": {"f:data": {"f:a": {}}}}


def test_the_same_value_is_shared():
    assert owners(apply(new(config(a="1")), config(a="1"), BOB)) == {"alice": {"f:data": {"f:a": {}}}, "bob": {"f:data": {"f:a": {}}}}


def test_one_s_own_fields_never_conflict_and_applying_twice_changes_nothing():
    made = new(config(a="1"))
    assert apply(made, config(a="2"))["data"] == {"a": "2"}
    assert apply(made, config(a="1"), now="2030-01-01T00:00:00Z") == made


def test_an_update_takes_what_it_changes_and_then_conflicts():
    made = edit(new(config(a="1", b="2")), data={"a": "x", "b": "2"})
    assert owners(made) == {"alice": {"f:data": {"f:b": {}}}, "editor": {"f:data": {"f:a": {}}}}
    with pytest.raises(Conflict, match=r'conflict with "editor" using v1: \.data\.a'):
        apply(made, config(a="1", b="2"))


def test_who_makes_a_map_by_an_update_has_the_map_itself_and_who_applies_it_its_parts_alone():
    made = edit(apply(new({"metadata": {"name": "c"}}), config(a="1")), metadata={"name": "c", "annotations": {"a": "b"}})
    assert owners({"metadata": {"managedFields": made["metadata"]["managedFields"]}})["editor"] == {
        "f:metadata": {"f:annotations": {".": {}, "f:a": {}}}
    }
    assert owners(made)["alice"] == {"f:data": {"f:a": {}}}
    more = edit({**made, "metadata": {**made["metadata"], "annotations": {"a": "b"}}}, data={"a": "1", "c": "1"})
    assert owners(more)["editor"]["f:data"] == {"f:c": {}}


def test_what_an_update_removes_is_nobody_s():
    assert owners(edit(new(config(a="1", b="2")), data={"b": "2"})) == {"alice": {"f:data": {"f:b": {}}}}


def test_managers_are_cleared_on_request():
    made = new(config(a="1"))
    for nothing in ([], [{}]):
        assert updated(made, {**made, "metadata": {**made["metadata"], "managedFields": nothing}}, MAP, EDITOR, NOW) is None


def test_managers_may_not_be_applied():
    with pytest.raises(BadRequest, match="must be nil"):
        new({"metadata": {"name": "c", "managedFields": [{}]}})


def test_what_was_there_before_the_first_apply_belongs_to_its_makers():
    noted = json.dumps({"data": {"a": "1"}})
    live = {"metadata": {"name": "c", "annotations": {LAST_APPLIED: noted}, "labels": {"l": "x"}}, "data": {"a": "1", "b": "2"}}
    found = owners(apply(live, config(c="3")))
    assert found["before-first-apply"] == {"f:data": {"f:b": {}}, "f:metadata": {"f:labels": {"f:l": {}}}}
    assert found["kubectl-client-side-apply"]["f:data"] == {"f:a": {}}
    with pytest.raises(Conflict, match='"before-first-apply" using v1'):
        apply(live, config(b="9"))


def containers(*items):
    return {"metadata": {"name": "p"}, "spec": {"containers": list(items)}}


def test_kubectl_takes_over_what_it_applied_on_the_client_s_side_and_nobody_changed_since():
    noted = {"metadata": {"annotations": {LAST_APPLIED: json.dumps({"data": {"a": "1", "b": "1"}})}}}
    live = {"metadata": {"name": "c", **noted["metadata"]}, "data": {"a": "1", "b": "2"}}
    live["metadata"]["managedFields"] = created(live, {"metadata": {}}, MAP, Manager("kubectl-client-side-apply", UPDATE, "v1"), NOW)
    kubectl = Manager("kubectl", APPLY, "v1")
    assert apply(live, config(a="9"), kubectl)["data"] == {"a": "9", "b": "2"}
    with pytest.raises(Conflict, match=r'conflict with "kubectl-client-side-apply" using v1: \.data\.b'):
        apply(live, config(a="9", b="9"), kubectl)
    with pytest.raises(Conflict, match=r"\.data\.a"):
        apply(live, config(a="9"), ALICE)


def test_lists_merge_by_their_keys_and_items_go_with_their_owner():
    made = new(containers({"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}]}), schema=POD)
    made = apply(made, containers({"name": "b", "image": "b:1"}), BOB, schema=POD)
    assert [c["name"] for c in made["spec"]["containers"]] == ["a", "b"]
    after = apply(made, containers({"name": "a", "image": "a:2"}), schema=POD)
    assert after["spec"]["containers"] == [{"name": "a", "image": "a:2", "env": []}, {"name": "b", "image": "b:1"}]
    gone = apply(after, {"metadata": {"name": "p"}, "spec": {"containers": []}}, BOB, schema=POD)
    assert [c["name"] for c in gone["spec"]["containers"]] == ["a"]


def test_an_item_in_which_another_has_something_stays():
    made = new(containers({"name": "a", "image": "a:1"}), schema=POD)
    made = apply(made, containers({"name": "a", "terminationMessagePath": "/x"}), BOB, schema=POD)
    after = apply(made, {"metadata": {"name": "p"}, "spec": {"hostname": "h"}}, schema=POD)
    assert after["spec"]["containers"] == [{"name": "a", "terminationMessagePath": "/x"}]


def test_ports_of_equal_number_and_other_protocol_are_two():
    def ports(*given):
        return containers({"name": "a", "image": "i", "ports": list(given)})

    made = new(ports({"containerPort": 53}), schema=POD)
    made = apply(made, ports({"containerPort": 53, "protocol": "UDP"}), BOB, schema=POD)
    assert made["spec"]["containers"][0]["ports"] == [{"containerPort": 53}, {"containerPort": 53, "protocol": "UDP"}]
    key = 'k:{"containerPort":53,"protocol":"TCP"}'
    assert key in owners(made)["alice"]["f:spec"]["f:containers"]['k:{"name":"a"}']["f:ports"]


def test_atomic_values_are_owned_whole():
    made = new(containers({"name": "a", "image": "i", "command": ["x", "y"]}), schema=POD)
    with pytest.raises(Conflict, match=r'\.spec\.containers\[name="a"\]\.command'):
        apply(made, containers({"name": "a", "command": ["x", "z"]}), BOB, schema=POD)
    selector = {"spec": {"selector": {"matchLabels": {"a": "b"}}}}
    assert ("f:spec", "f:selector") in fields_of(selector, DEPLOYMENT)


def test_sets_are_owned_by_value():
    def held(*finalizers):
        return {"metadata": {"name": "c", "finalizers": list(finalizers)}}

    made = apply(new(held("a/a")), held("b/b", "a/a"), BOB)
    assert made["metadata"]["finalizers"] == ["a/a", "b/b"]
    assert apply(made, held("a/a"), BOB)["metadata"]["finalizers"] == ["a/a"]


elements = [st.sampled_from(kind) for kind in (["f:a", "f:b"], ['k:{"name":"x"}', "v:1"], ["f:c", "f:d"])]
paths = st.frozensets(st.one_of(st.tuples(*elements[:length]) for length in (1, 2, 3)))


@given(fields=paths)
def test_fields_survive_their_written_form(fields):
    assert decode(json.loads(json.dumps(encode(fields)))) == fields


data = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("12"), max_size=4)


@given(first=data, second=data, third=data)
def test_whatever_is_applied_is_there_and_owned(first, second, third):
    made = apply(new(config(**first)), config(**second), BOB, force=True)
    after = apply(made, config(**third), force=True)
    assert {k: after["data"].get(k) for k in third} == third
    assert fields_of(config(**third), MAP) <= decode(owners(after).get("alice", {}))
    assert set(after["data"]) == {*third, *(k for k in second if k not in third)} if third or second else True
    assert apply(after, config(**third), force=True) == after
