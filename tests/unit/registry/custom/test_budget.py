"""Rules that cost too much are refused when a definition is written."""

import copy

import pytest

from moorings_core.registry.custom import definition, structural
from moorings_core.registry.validation.errors import Path

TEXT = {"type": "string", "maxLength": 20}
NESTED = [{"rule": "self.all(a, self.all(b, a == b))"}]
HINT = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
RULE = "schema.properties[a].x-kubernetes-validations[0].rule"


def check(schema, **options):
    whole = {"type": "object", "properties": {"a": schema}}
    return [(error.field, error.message) for error in structural.check(whole, Path("schema"), **options)]


def listed(most=None):
    limit = {} if most is None else {"maxItems": most}
    return {"type": "array", "items": TEXT, "x-kubernetes-validations": NESTED, **limit}


def test_a_list_with_a_limit_may_be_compared_with_itself():
    assert check(listed(10)) == []


def test_a_list_without_a_limit_may_not_be_compared_with_itself():
    (own, *total) = check(listed())
    assert own == (RULE, f"Forbidden: estimated rule cost exceeds budget by factor of more than 100x {HINT}")
    assert total == [
        (RULE, "Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"),
        (
            "schema",
            "Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of"
            f" more than 100x {HINT}",
        ),
    ]


@pytest.mark.parametrize(("most", "factor"), [(830, ""), (900, "1.053450x"), (2000, "5.2x")])
def test_the_factor_is_told(most, factor):
    found = [message for field, message in check(listed(most)) if field == RULE]
    assert len(found) == bool(factor)
    assert all(f"factor of {factor} (try" in message for message in found)


def test_a_rule_of_items_runs_as_often_as_there_are_items():
    rule = {"x-kubernetes-validations": [{"rule": "self.matches('" + "a" * 300 + "')"}]}
    items = {**TEXT, **rule}
    assert check(items) == []
    assert check({"type": "array", "items": items, "maxItems": 10_000}) == []
    assert check({"type": "array", "items": items})[0][0] == "schema.properties[a].items.x-kubernetes-validations[0].rule"


def test_a_message_that_costs_too_much_is_refused():
    rule = {"rule": "true", "messageExpression": "self.map(a, self.map(b, a + b).join(',')).join(',')"}
    found = check({"type": "array", "items": TEXT, "x-kubernetes-validations": [rule]})
    assert found[0][0].endswith(".messageExpression")
    assert found[0][1].startswith("Forbidden: estimated messageExpression cost exceeds budget")


def test_many_rules_cost_together():
    one = {**TEXT, "x-kubernetes-validations": [{"rule": "self.matches('" + "a" * 1000 + "')"}]}
    many = {"type": "array", "items": one, "maxItems": 4000}
    whole = {"type": "object", "properties": {f"f{i}": many for i in range(15)}}
    found = list(structural.check(whole, Path("schema")))
    assert [error.field for error in found] == [
        *(f"schema.properties[f{i}].items.x-kubernetes-validations[0].rule" for i in range(4)),
        "schema",
    ]


def crd(schema):
    names = {"plural": "things", "kind": "Thing", "singular": "thing", "listKind": "ThingList"}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version], "conversion": {"strategy": "None"}}
    return {"metadata": {"name": "things.example.com"}, "spec": spec, "status": {"storedVersions": ["v1"]}}


def test_a_schema_that_stays_may_keep_a_dear_rule():
    old = crd({"type": "object", "properties": {"a": listed(2000)}})
    assert len(definition.validate_create(old)) == 1
    new = copy.deepcopy(old)
    new["spec"]["names"]["shortNames"] = ["th"]
    assert definition.validate_update(new, old) == []
    new["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["a"]["maxItems"] = 2001
    assert len(definition.validate_update(new, old)) == 1
