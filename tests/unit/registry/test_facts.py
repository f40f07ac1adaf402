"""The generated facts against upstream's own documents."""

import json
import re

import pytest

from moorings_core.registry import protobuf
from moorings_core.registry.discovery import Discovery
from moorings_core.registry.kinds import built_in
from moorings_core.registry.openapi import OpenApi

from .module_cache import module


@pytest.fixture(scope="module")
def registry():
    return built_in()


def test_every_stable_kind_is_there(registry):
    for group, version, plural in [
        ("", "v1", "pods"),
        ("apps", "v1", "deployments"),
        ("autoscaling", "v2", "horizontalpodautoscalers"),
    ]:
        assert registry.lookup(group, version, plural).schema is not None
    assert registry.lookup("apps", "v1beta1", "deployments") is None
    assert registry.by_kind("batch", "v1", "Job").resource.plural == "jobs"


def test_aggregated_discovery_is_upstream_s(registry):
    upstream = json.loads((module("k8s.io/kubernetes@v1.37.2") / "api/discovery/aggregated_v2.json").read_text())
    ours = {g["metadata"]["name"]: g for g in json.loads(Discovery(registry).apis(aggregated=True).body)["items"]}
    compared = 0
    for group in upstream["items"]:
        for version in group["versions"]:
            if not re.fullmatch(r"v\d+", version["version"]):
                continue
            mine = next(v for v in ours[group["metadata"]["name"]]["versions"] if v["version"] == version["version"])
            assert mine["resources"] == version["resources"]
            compared += 1
    assert compared >= 20


def test_protobuf_bodies_of_upstream_decode_to_its_json():
    folder = module("k8s.io/api@v0.37.2") / "testdata/HEAD"
    files = [f for f in folder.glob("*.pb") if re.search(r"\.v\d+\.\w+\.pb$", f.name) and "WatchEvent" not in f.name]
    assert len(files) > 90
    for file in files:
        assert protobuf.decode(file.read_bytes()) == json.loads(file.with_suffix(".json").read_text()), file.name


def test_a_protobuf_body_written_by_hand_decodes():
    def field(number: int, value: bytes) -> bytes:
        return bytes([number << 3 | 2, len(value)]) + value

    metadata = field(1, b"settings") + field(2, b"") + field(8, b"")
    entry = field(1, b"key") + field(2, b"value")
    config_map = field(1, metadata) + field(2, entry)
    body = protobuf.MAGIC + field(1, field(1, b"v1") + field(2, b"ConfigMap")) + field(2, config_map)
    expected = {"metadata": {"name": "settings"}, "data": {"key": "value"}}
    assert protobuf.decode(body) == {"apiVersion": "v1", "kind": "ConfigMap", **expected}


def body_of(kind, *messages, version="v1"):
    """A protobuf body: nested (field number, bytes or number) pairs."""

    def varint(value):
        return bytes([value & 0x7F | 0x80]) + varint(value >> 7) if value > 0x7F else bytes([value])

    def write(fields):
        out = b""
        for number, value in fields:
            if isinstance(value, int):
                out += varint(number << 3) + varint(value)
            else:
                inner = write(value) if isinstance(value, list) else value
                out += varint(number << 3 | 2) + varint(len(inner)) + inner
        return out

    types = [(1, version.encode()), (2, kind.encode())]
    return protobuf.MAGIC + write([(1, types), (2, list(messages))])


def test_nothing_that_go_writes_is_dropped_and_a_pointer_to_nothing_is_kept():
    """Go writes a plain field even when it is empty, a pointer only when it is set: kubectl sends hostPort 0, and means replicas 0."""
    port = [(1, b""), (2, 0), (3, 80), (4, b"TCP"), (5, b"")]
    pod = body_of("Pod", (2, [(2, [(1, b"c"), (6, port)])]))
    assert protobuf.decode(pod)["spec"]["containers"] == [{"name": "c", "ports": [{"containerPort": 80, "protocol": "TCP"}]}]
    claim = protobuf.decode(body_of("PersistentVolumeClaim", (2, [(3, b""), (5, b"")])))
    assert claim["spec"] == {"storageClassName": ""}
    deployment = protobuf.decode(body_of("Deployment", (2, [(1, 0), (5, 0), (7, 0)]), version="apps/v1"))
    assert deployment["spec"] == {"replicas": 0}


def test_a_plain_field_whose_tag_calls_it_repeated_is_a_plain_field_all_the_same():
    """An update of a typed client carries every projected token's empty audience, which must not look like a change of the pod."""
    volume = [(1, b"token"), (2, [(26, [(1, [(4, [(1, b""), (2, 3607), (3, b"token")])])])])]
    pod = protobuf.decode(body_of("Pod", (2, [(1, volume)])))
    token = {"expirationSeconds": 3607, "path": "token"}
    assert pod["spec"]["volumes"] == [{"name": "token", "projected": {"sources": [{"serviceAccountToken": token}]}}]


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", protobuf.MAGIC, protobuf.MAGIC + b"\x0a\xff", protobuf.MAGIC + b"\x0a\x04\x0a\x02v1", b"k8s\0" + b"\xff" * 40],
)
def test_a_malformed_protobuf_body_is_refused(body):
    with pytest.raises(protobuf.ProtobufError):
        protobuf.decode(body)


def test_openapi_tells_kubectl_what_it_looks_for(registry):
    documents = OpenApi(registry)
    index = json.loads(documents.index().body)["paths"]
    assert index["apis/apps/v1"]["serverRelativeURL"].startswith("/openapi/v3/apis/apps/v1?hash=")
    document = json.loads(documents.document("apps", "v1").body)
    patch = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert "fieldValidation" in {p["name"] for p in patch["parameters"]}
    assert "application/strategic-merge-patch+json" in patch["requestBody"]["content"]
    containers = document["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert (containers["x-kubernetes-patch-merge-key"], containers["x-kubernetes-patch-strategy"]) == ("name", "merge")


def test_every_reference_in_a_document_is_defined(registry):
    documents = OpenApi(registry)
    for group, versions in [("", ("v1",)), *registry.groups]:
        for version in versions:
            text = documents.document(group, version).body.decode()
            defined = json.loads(text)["components"]["schemas"]
            assert set(re.findall(r'"#/components/schemas/([^"]+)"', text)) <= set(defined)


def test_documents_hold_what_openapi_has_in_each_place(registry):
    """A client that parses them falls back to checks of its own where one value is of a wrong type."""
    kinds = {"enum": list, "required": list, "format": str, "type": str, "properties": dict, "x-kubernetes-list-map-keys": list}
    document, wrong = OpenApi(registry), []

    def look(schema, where):
        if isinstance(schema, list):
            return [look(item, where) for item in schema]
        if not isinstance(schema, dict):
            return None
        fields = schema.get("properties") if isinstance(schema.get("properties"), dict) else {}
        wrong.extend(f"{where}.{key}" for key, kind in kinds.items() if key in schema and not isinstance(schema[key], kind))
        return [look(child, f"{where}.{name}") for name, child in fields.items()] + [
            look(schema.get(key), where) for key in ("items", "additionalProperties", "allOf", "oneOf")
        ]

    for group, version in (("", "v1"), ("apps", "v1"), ("batch", "v1"), ("admissionregistration.k8s.io", "v1")):
        for name, schema in json.loads(document.document(group, version).body)["components"]["schemas"].items():
            look(schema, name)
    assert wrong == []
