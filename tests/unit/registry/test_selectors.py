"""Selector strings and objects."""

import pytest

from moorings_core.client.resources import EVENTS, NODES, PODS
from moorings_core.registry.selectors import check_fields, field_values, from_label_selector, parse_fields, parse_labels

LABELS = {"app": "web", "tier": "front", "rank": "7"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app=web", True),
        ("app==web,tier!=db", True),
        ("app!=web", False),
        ("missing!=x", True),
        ("app in (api, web)", True),
        ("app notin (api,web)", False),
        ("app", True),
        ("!app", False),
        ("!missing", True),
        ("rank>5", True),
        ("rank<5", False),
        ("app=", False),
        ("in=x", False),
        ("example.com/role=x", False),
    ],
)
def test_label_strings(text, matches):
    assert parse_labels(text).matches(LABELS) is matches


@pytest.mark.parametrize("text", ["app=web,", "app in web", "a b", "=x", "rank>x", "app in (a", "!", "-a=b"])
def test_a_malformed_label_string_is_refused(text):
    with pytest.raises(ValueError, match=r"parse|invalid|integer"):
        parse_labels(text)


def test_label_selector_objects():
    assert not from_label_selector(None).matches(LABELS)
    assert from_label_selector({}).matches(LABELS)
    expression = {"key": "tier", "operator": "NotIn", "values": ["db"]}
    assert from_label_selector({"matchLabels": {"app": "web"}, "matchExpressions": [expression]}).matches(LABELS)


def test_fields():
    pod = {"metadata": {"name": "a", "namespace": "b"}, "spec": {"nodeName": "n"}, "status": {"phase": "Running"}}
    selector = parse_fields("spec.nodeName=n,status.phase!=Failed")
    assert selector.matches(field_values(PODS, pod))
    assert selector.requires("spec.nodeName") == "n"
    assert not parse_fields("metadata.name=other").matches(field_values(PODS, pod))
    assert field_values(NODES, {"metadata": {"name": "n"}})["spec.unschedulable"] == "false"


def test_an_unsupported_field_is_named():
    check_fields(EVENTS, parse_fields("involvedObject.uid=1"))
    with pytest.raises(ValueError, match=r"field label not supported: spec\.foo"):
        check_fields(PODS, parse_fields("spec.foo=1"))
