"""Schemas of custom kinds: what is kept, filled in, refused; what of an update is judged again."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings_core.registry.custom import columns, shape, values
from moorings_core.registry.custom.kind import sorted_versions
from moorings_core.registry.custom.rule_checks import check
from moorings_core.registry.custom.rules import Outcome, RuleNode
from moorings_core.registry.validation.errors import Path

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "x"},
        "count": {"type": "integer", "minimum": 0},
        "maybe": {"type": "string", "nullable": True},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "map": {"type": "object", "additionalProperties": {"type": "integer"}},
        "list": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["key"],
            "items": {
                "type": "object",
                "properties": {"key": {"type": "string"}, "size": {"type": "integer", "default": 1, "maximum": 9}},
            },
        },
    },
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("abc", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "count", "maybe", "open", "map", "list", "key", "size", "other"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from([*SCHEMA["properties"], "other"]), JSON, max_size=5))
def test_what_was_pruned_and_filled_once_stays_as_it_is(value):
    shape.prune(value, SCHEMA)
    shape.fill(value, SCHEMA)
    again = copy.deepcopy(value)
    assert shape.prune(again, SCHEMA) == []
    shape.fill(again, SCHEMA)
    assert again == value
    assert set(value) <= set(SCHEMA["properties"])


@given(st.dictionaries(st.sampled_from(list(SCHEMA["properties"])), JSON, max_size=5))
def test_an_update_that_changes_nothing_is_never_refused(value):
    assert values.validate(copy.deepcopy(value), SCHEMA, "", value) == []


def test_only_what_an_update_changes_is_judged_again():
    old = {"count": -1, "list": [{"key": "a", "size": 50}, {"key": "b", "size": 2}]}
    new = {"count": -1, "list": [{"key": "b", "size": 60}, {"key": "a", "size": 50}]}
    assert [e.field for e in values.validate(new, SCHEMA, "", old)] == ["list[0].size"]
    assert [e.field for e in values.validate(new, SCHEMA)] == ["count", "list[0].size", "list[1].size"]


def test_unknown_fields_are_named_by_their_paths():
    value = {"other": 1, "open": {"free": 1}, "list": [{"key": "a", "more": 1}], "map": {"any": 1}}
    assert shape.prune(value, SCHEMA) == ["other", "list[0].more"]
    assert value == {"open": {"free": 1}, "list": [{"key": "a"}], "map": {"any": 1}}


RULES = {
    "type": "object",
    "x-kubernetes-validations": [{"rule": "self.low <= self.high", "messageExpression": "'low is ' + string(self.low)"}],
    "properties": {
        "low": {"type": "integer"},
        "high": {"type": "integer"},
        "fixed": {
            "type": "string",
            "x-kubernetes-validations": [
                {"rule": "self == oldSelf", "message": "it is fixed"},
                {"rule": "!oldSelf.hasValue() || oldSelf.value() != 'gone'", "optionalOldSelf": True, "message": "gone is gone"},
            ],
        },
    },
}


def judged(new, old=values.ABSENT):
    outcome = Outcome()
    RuleNode(RULES).run(new, old, "spec", outcome)
    return [str(e) for e in outcome.errors], outcome.warnings


def test_rules_judge_values_transitions_and_only_warn_of_what_was_wrong_before():
    wrong = {"low": 3, "high": 2}
    assert judged({"low": 1, "high": 2, "fixed": "a"}) == ([], [])
    assert judged(wrong) == (["spec: Invalid value: low is 3"], [])
    assert judged(wrong, wrong) == ([], ["spec: Invalid value: low is 3"])
    assert judged({"low": 1, "high": 2, "fixed": "b"}, {"fixed": "a"}) == (['spec.fixed: Invalid value: "b": it is fixed'], [])
    assert judged({"fixed": "gone", "low": 1, "high": 1}, {"fixed": "gone"}) == (['spec.fixed: Invalid value: "gone": gone is gone'], [])
    assert judged({"low": 1}) == (['spec: Invalid value: "object": no such key: high evaluating rule: self.low <= self.high'], [])


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".a.b", [1]),
        (".a['c.d']", [2]),
        (".a.c\\.d", [2]),
        (".list[0].n", ["x"]),
        (".list[-1].n", ["y"]),
        (".list[*].n", ["x", "y"]),
        ('.list[?(@.n=="y")].v', [4]),
        (".list[?(@.v>3)].n", ["y"]),
        (".nothing.here", []),
    ],
)
def test_a_json_path_finds_what_kubectl_finds(path, found):
    obj = {"a": {"b": 1, "c.d": 2}, "list": [{"n": "x", "v": 3}, {"n": "y", "v": 4}]}
    assert columns.path(path)(obj) == found


def test_versions_are_ordered_by_their_age():
    given = ["v1beta1", "foo", "v10", "v2", "v1alpha3", "v2beta2", "bar", "v1beta2"]
    assert sorted_versions(given) == ("v10", "v2", "v2beta2", "v1beta2", "v1beta1", "v1alpha3", "bar", "foo")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}}}},
        {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
        {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "string"}}}},
    ],
)
def test_a_rule_may_compare_structures_with_what_they_were(schema):
    assert list(check({**schema, "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}, Path("schema"))) == []
