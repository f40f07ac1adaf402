"""Bodies in and lists out, in upstream's words and form."""

from __future__ import annotations

import orjson
import pytest

from moorings_core.api import cache, codec
from moorings_core.api.context import Context, WriteOptions
from moorings_core.api.http.message import Request
from moorings_core.api.listing import list_errors, watch_errors
from moorings_core.ports.errors import BadRequest, UnsupportedMediaType
from moorings_core.ports.objects import Resource

MAPS = Resource("", "v1", "configmaps", "ConfigMap", True)


def request(body, kind="application/json"):
    return Request("POST", "/", {"content-type": kind}, body, {})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "must be of type ConfigMap): couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)"),
        (b"{", "unexpected end of JSON input ({)"),
        (b"[1", "unexpected end of JSON input (5b31)"),
        (b'{"data": ' + b"x" * 60, '({"data": xxxxxxxxxxxxxxxxxxxxx ...)'),
    ],
)
def test_a_body_that_is_no_json_is_answered_with_its_beginning(body, said):
    with pytest.raises(BadRequest) as refused:
        codec.decode(request(body), Context(), "ConfigMap")
    assert said in str(refused.value)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "text/html"])
def test_a_body_of_another_type_is_refused_with_the_types_that_are_taken(kind):
    with pytest.raises(UnsupportedMediaType, match=r"application/json, application/yaml, application/vnd\.kubernetes\.protobuf"):
        codec.decode(request(b"{}", kind), Context())


def test_keys_that_stand_twice_are_kept_with_their_paths_for_the_answer_or_warned_about():
    body = b'{"kind":"Deployment","spec":{"a":1,"a":2,"b":[{"c":1,"c":2}]},"spec":{}}'
    found = ['duplicate field "spec.a"', 'duplicate field "spec.b[0].c"', 'duplicate field "spec"']
    for level, kept, warned in (("Strict", found, []), ("Warn", [], found), ("Ignore", [], [])):
        context = Context(options=WriteOptions(field_validation=level))
        codec.decode(request(body), context)
        assert (context.duplicates, context.warnings) == (kept, warned)


def test_keys_that_stand_twice_in_yaml_are_named_by_their_lines():
    strict = Context(options=WriteOptions(field_validation="Strict"))
    with pytest.raises(BadRequest, match='line 3: key "a" already set in map'):
        codec.decode(request(b"kind: X\na: 1\na: 2\n", "application/yaml"), strict)


@pytest.mark.parametrize(
    "obj",
    [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}},
        {"metadata": {"name": "c"}, "kind": "ConfigMap", "apiVersion": "v1"},
        {"metadata": {"name": "c"}, "data": {"kind": "ConfigMap"}, "kind": "Other", "apiVersion": "v9"},
    ],
)
def test_an_item_of_a_list_is_the_object_without_its_kind(obj):
    stored = cache.stored(cache.encode(obj), 7)
    whole, item = orjson.loads(stored.body), orjson.loads(stored.item(cache.tail(MAPS)))
    assert whole == {**obj, "metadata": {"name": "c", "resourceVersion": "7"}}
    assert item == {k: v for k, v in whole.items() if k not in ("apiVersion", "kind")}


def test_an_item_that_an_earlier_release_stored_loses_its_kind_as_well():
    stored = cache.stored(b'{"metadata":{"name":"c"},"apiVersion":"v1","kind":"ConfigMap","data":{"a":"1"}}', 7)
    assert orjson.loads(stored.item(cache.tail(MAPS))) == {"metadata": {"name": "c", "resourceVersion": "7"}, "data": {"a": "1"}}


MATCH = "resourceVersionMatch"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({}, []),
        ({MATCH: "Exact", "resourceVersion": "5"}, []),
        ({MATCH: "Exact"}, ["is forbidden unless resourceVersion is provided"]),
        ({MATCH: "Exact", "resourceVersion": "0"}, ['"exact" is forbidden for resourceVersion "0"']),
        ({MATCH: "Exact", "resourceVersion": "5", "continue": "x"}, ["is forbidden when continue is provided"]),
        ({MATCH: "Nearly", "resourceVersion": "5"}, ['Unsupported value: "Nearly"']),
        ({"sendInitialEvents": "true"}, ["sendInitialEvents is forbidden for list"]),
    ],
    ids=str,
)
def test_the_options_of_a_list_go_together_or_are_refused(query, said):
    found = [e.message for e in list_errors(query)]
    assert len(found) == len(said)
    assert all(text in message for text, message in zip(said, found, strict=True))


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({}, []),
        ({MATCH: "NotOlderThan", "sendInitialEvents": "true"}, []),
        ({"sendInitialEvents": "true"}, ["sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"]),
        ({MATCH: "NotOlderThan"}, ["is forbidden for watch unless sendInitialEvents is provided"]),
    ],
    ids=str,
)
def test_the_options_of_a_watch_go_together_or_are_refused(query, said):
    found = [e.message for e in watch_errors(query)]
    assert len(found) == len(said)
    assert all(text in message for text, message in zip(said, found, strict=True))
