"""What a cluster has from birth, and how it is put right later."""

from __future__ import annotations

import copy

from hypothesis import given
from hypothesis import strategies as st

from moorings_core.api.access import born
from moorings_core.ports.client import Create, Delete, Update
from moorings_core.ports.objects import key_of

BORN = list(born.objects())


def looking(things):
    return lambda resource, namespace, name: things.get((resource.plural, namespace, name))


def done(things, writes):
    """Return the state after writes."""
    after = dict(things)
    for write in writes:
        if isinstance(write, Delete):
            del after[write.resource.plural, write.namespace, write.name]
        else:
            after[(write.resource.plural, *key_of(write.object))] = write.object
    return after


def complete():
    return done({}, born.plan(looking({})))


def test_a_new_cluster_gets_everything_roles_before_their_bindings():
    writes = born.plan(looking({}))
    assert all(isinstance(write, Create) for write in writes)
    assert len(writes) == len(BORN) > 140
    names = [f"{w.object['kind']}/{w.object['metadata']['name']}" for w in writes]
    for binding in (w.object for w in writes if "roleRef" in w.object):
        role = f"{binding['roleRef']['kind']}/{binding['roleRef']['name']}"
        assert names.index(role) < names.index(f"{binding['kind']}/{binding['metadata']['name']}")


def test_what_is_as_it_should_be_is_left_alone():
    assert born.plan(looking(complete())) == []


@given(st.sampled_from(BORN), st.sampled_from(["delete", "rules", "subjects", "labels", "another role"]))
def test_what_has_been_taken_away_comes_back(entry, damage):
    things = complete()
    place = (entry[0].plural, *key_of(entry[1]))
    broken = copy.deepcopy(things[place])
    if damage == "delete":
        del things[place]
    else:
        if damage == "another role" and "roleRef" in broken:
            broken["roleRef"]["name"] = "another"
            broken["metadata"]["uid"] = "u"
        elif damage == "labels":
            broken["metadata"].pop("labels")
        else:
            broken.pop(damage, None)
        things[place] = broken
    after = done(things, born.plan(looking(things)))
    assert after[place].keys() >= {part for part, value in entry[1].items() if value is not None}
    assert born.plan(looking(after)) == []


def test_what_somebody_added_stays_and_what_is_protected_is_not_touched():
    things = complete()
    extra = {"verbs": ["get"], "apiGroups": ["example.org"], "resources": ["anchors"]}
    view = things["clusterroles", "", "system:discovery"]
    things["clusterroles", "", "system:discovery"] = {**view, "rules": [extra]}
    (write,) = born.plan(looking(things))
    assert isinstance(write, Update)
    assert extra in write.object["rules"] and len(write.object["rules"]) > 1
    metadata = {**view["metadata"], "annotations": {born.AUTOUPDATE: "false"}}
    things["clusterroles", "", "system:discovery"] = {**view, "rules": [], "metadata": metadata}
    assert born.plan(looking(things)) == []


def test_only_nodes_have_our_role():
    names = {
        obj["metadata"]["name"]: obj.get("subjects") for _, obj in BORN if obj["metadata"]["name"] == born.NODE_ROLE and "roleRef" in obj
    }
    assert names == {born.NODE_ROLE: [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:nodes"}]}
