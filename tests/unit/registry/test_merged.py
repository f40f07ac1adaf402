"""Parts of other servers' OpenAPI v2 documents in ours."""

import pytest

from moorings_core.registry.kinds import built_in
from moorings_core.registry.merged import GVK, REFERENCE, Part, merge, part_of
from moorings_core.registry.openapi_v2 import OpenApiV2

META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


def kind(group, name, **properties):
    return {"type": "object", "properties": properties, GVK: [{"group": group, "version": "v1", "kind": name}]}


def to(name):
    return {"$ref": REFERENCE + name}


DOCUMENT = {
    "paths": {"/apis/a.example/v1/as": {"get": {"schema": to("A")}}, "/apis/a.example/v1beta1/as": {}, "/apis/b.example/v1/bs": {}},
    "definitions": {
        "A": kind("a.example", "A", metadata=to(META), more={"type": "array", "items": to("More")}),
        "B": kind("b.example", "B"),
        "More": {"type": "object", "properties": {"again": to("More")}},
        META: {"type": "object"},
    },
}


def test_a_part_is_what_a_group_version_reaches_without_upstream_s_own():
    part = part_of(DOCUMENT, "a.example", "v1")
    assert list(part.paths) == ["/apis/a.example/v1/as"]
    assert part.definitions.keys() == {"A", "More"}


@pytest.mark.parametrize("document", [None, [], {}, {"paths": 3, "definitions": []}, {"definitions": {"A": None, "B": {GVK: "x"}}}])
def test_a_document_that_is_none_has_no_part(document):
    assert part_of(document, "a.example", "v1") == Part()


def test_a_name_that_is_taken_is_given_anew_with_all_that_refer_to_it():
    parts = {("a", "v1"): Part({"/a": to("X")}, {"X": {"type": "string"}}), ("b", "v1"): Part({"/b": to("X")}, {"X": {"type": "integer"}})}
    whole = merge({"Own": {"type": "object"}}, parts)
    assert whole.definitions == {"Own": {"type": "object"}, "X": {"type": "string"}, "X_v2": {"type": "integer"}}
    assert whole.paths == {"/a": to("X"), "/b": to("X_v2")}


def test_the_same_definition_of_two_servers_is_one():
    part = Part({}, {"X": {"type": "string"}})
    assert merge({}, {("a", "v1"): part, ("b", "v1"): part}).definitions == part.definitions


def test_the_document_has_what_other_servers_serve_in_both_forms():
    registry = built_in()
    registry.remote_schemas["a.example", "v1"] = part_of(DOCUMENT, "a.example", "v1")
    document = OpenApiV2(registry)
    assert b'"/apis/a.example/v1/as"' in document.document(protobuf=False).body
    assert b"a.example" in document.document(protobuf=True).body
    assert b"a.example" not in OpenApiV2(built_in()).document(protobuf=True).body
