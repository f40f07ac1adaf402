"""What is wrong is refused with a Status that says why, and nothing is stored. Raw HTTPS, and kubectl where its words count."""

from __future__ import annotations

import json

import pytest

from .raw_client import JSON, Client

PODS = "/api/v1/namespaces/default/pods"
MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}}


BODIES = [
    ("malformed JSON", "POST", MAPS, b'{"kind":', JSON, 400, "BadRequest"),
    ("no JSON object", "POST", MAPS, b"[]", JSON, 400, "BadRequest"),
    ("an empty body", "POST", MAPS, b"", JSON, 400, "BadRequest"),
    ("malformed YAML", "POST", MAPS, b"a: [", {"Content-Type": "application/yaml"}, 400, "BadRequest"),
    ("YAML with aliases", "POST", MAPS, b"a: &x 1\nb: *x", {"Content-Type": "application/yaml"}, 400, "BadRequest"),
    ("malformed protobuf", "POST", MAPS, b"k8s\0\xff", {"Content-Type": "application/vnd.kubernetes.protobuf"}, 400, "BadRequest"),
    ("an unknown content type", "POST", MAPS, b"x", {"Content-Type": "text/html"}, 415, "UnsupportedMediaType"),
    ("an unknown patch type", "PATCH", f"{MAPS}/kept", b"{}", JSON, 415, "UnsupportedMediaType"),
    ("another kind", "POST", MAPS, POD, JSON, 400, "BadRequest"),
    ("another version", "POST", MAPS, MAP | {"apiVersion": "v2"}, JSON, 400, "BadRequest"),
    ("another namespace", "POST", MAPS, MAP | {"metadata": {"name": "c", "namespace": "kube-system"}}, JSON, 400, "BadRequest"),
    ("a namespace that is not there", "POST", MAPS.replace("default", "absent"), MAP, JSON, 404, "NotFound"),
    ("a version on creation", "POST", MAPS, MAP | {"metadata": {"name": "c", "resourceVersion": "5"}}, JSON, 500, None),
    ("a wrong type", "POST", MAPS, MAP | {"data": {"a": 1}}, JSON, 400, "BadRequest"),
    ("unknown fields, strictly", "POST", f"{MAPS}?fieldValidation=Strict", MAP | {"dat": {}}, JSON, 400, "BadRequest"),
    ("a field twice, strictly", "POST", f"{MAPS}?fieldValidation=Strict", b'{"data":{},"data":{}}', JSON, 400, "BadRequest"),
    ("an unknown validation", "POST", f"{MAPS}?fieldValidation=Lax", MAP, JSON, 400, "BadRequest"),
    ("an unknown dry run", "POST", f"{MAPS}?dryRun=Some", MAP, JSON, 400, "BadRequest"),
    ("a name that differs", "PUT", f"{MAPS}/other", MAP, JSON, 400, "BadRequest"),
    ("an update of nothing", "PUT", f"{MAPS}/c", MAP, JSON, 404, "NotFound"),
    ("an old version", "PUT", f"{MAPS}/kept", MAP | {"metadata": {"name": "kept", "resourceVersion": "1"}}, JSON, 409, "Conflict"),
    ("an invalid object", "POST", PODS, POD | {"spec": {"containers": []}}, JSON, 422, "Invalid"),
    ("a scale below nothing", "PUT", f"{DEPLOYMENTS}/absent/scale", {"spec": {"replicas": 1}}, JSON, 404, "NotFound"),
]
PATHS = [
    ("GET", "/api/v1/nothings", 404, "NotFound"),
    ("GET", "/apis/apps/v1beta1/deployments", 404, "NotFound"),
    ("GET", f"{PODS}/p/nothing", 404, "NotFound"),
    ("GET", f"{PODS}/absent", 404, "NotFound"),
    ("GET", "/api/v1/namespaces/default/nodes", 404, "NotFound"),
    ("POST", f"{PODS}/p", 405, "MethodNotAllowed"),
    ("PUT", PODS, 405, "MethodNotAllowed"),
    ("PATCH", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", 405, "MethodNotAllowed"),
    ("GET", f"{PODS}?labelSelector=a%20in%20(", 400, "BadRequest"),
    ("GET", f"{PODS}?fieldSelector=spec.image=x", 400, "BadRequest"),
    ("GET", f"{PODS}?limit=many", 400, "BadRequest"),
    ("GET", f"{PODS}?continue=nonsense", 400, "BadRequest"),
    ("GET", f"{PODS}?resourceVersion=new", 400, "BadRequest"),
    ("GET", f"{PODS}?watch=true&sendInitialEvents=true", 422, "Invalid"),
    ("DELETE", f"{PODS}/absent", 404, "NotFound"),
]


async def test_wrong_requests_are_answered_with_a_status_and_nothing_is_stored(api):
    await api.kubectl("create", "serviceaccount", "default")
    async with Client(api) as ask:
        assert (await ask("POST", MAPS, MAP | {"metadata": {"name": "kept"}}))[0] == 201
        before = (await ask("GET", MAPS))[1]["items"]
        wrong = []
        for what, method, path, body, headers, code, reason in BODIES:
            got, answer = await ask(method, path, body, headers)
            told = (got, answer.get("reason"), answer.get("kind"), answer.get("code"))
            if told != (code, reason, "Status", code) or not answer["message"]:
                wrong.append((what, got, answer))
        for method, path, code, reason in PATHS:
            got, answer = await ask(method, path)
            if not isinstance(answer, dict) or (got, answer.get("reason"), answer.get("kind")) != (code, reason, "Status"):
                wrong.append((method, path, got, answer))
        assert not wrong, "\n".join(map(str, wrong))
        assert (await ask("GET", MAPS))[1]["items"] == before
        assert (await ask("GET", PODS))[1]["items"] == []


async def test_a_path_that_no_part_of_the_api_serves_is_no_status(api):
    async with Client(api) as ask:
        for path in ("/nowhere", "/apis/no.such.group/v1/things"):
            assert await ask("GET", path) == (404, "404 page not found\n"), path


async def test_bodies_and_headers_have_a_limit(api):
    async with Client(api) as ask:
        code, answer = await ask("POST", MAPS, b'{"data":{"a":"' + b"x" * (3 << 20) + b'"}}')
        assert (code, answer["reason"]) == (413, "RequestEntityTooLarge")
        code, answer = await ask("GET", MAPS, headers={"X-Long": "y" * (70 << 10)})
        assert code == 431
        assert (await ask("GET", "/healthz"))[0] == 200, "the server goes on"


async def test_a_client_that_takes_nothing_we_can_make_is_told(api):
    async with Client(api) as ask:
        code, answer = await ask("GET", MAPS, headers={"Accept": "image/png"})
        assert (code, answer["reason"]) == (406, "NotAcceptable")


async def test_strangers_see_health_and_version_only(api):
    async with Client(api, anonymous=True) as ask:
        for path in ("/healthz", "/livez", "/readyz", "/version"):
            assert (await ask("GET", path))[0] == 200, path
        for method, path in (("GET", PODS), ("POST", MAPS), ("DELETE", PODS), *(("GET", p) for p in ("/apis", "/metrics", "/readyz/ping"))):
            code, answer = await ask(method, path, b"{}" if method == "POST" else None)
            assert (code, answer["reason"]) == (403, "Forbidden"), path
            assert 'User "system:anonymous" cannot' in answer["message"]
        code, answer = await ask("GET", PODS, headers={"Authorization": "Bearer nonsense"})
        assert (code, answer["reason"]) == (401, "Unauthorized")


async def test_a_token_lives_as_long_as_its_account(api):
    await api.kubectl("create", "serviceaccount", "robot")
    token = (await api.kubectl("create", "token", "robot")).stdout.strip()
    bearer = {"Authorization": f"Bearer {token}", **JSON}
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    async with Client(api, anonymous=True) as ask:
        code, answer = await ask("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review, bearer)
        assert code == 201
        assert answer["status"]["userInfo"]["username"] == "system:serviceaccount:default:robot"
        assert "system:serviceaccounts:default" in answer["status"]["userInfo"]["groups"]
        await api.kubectl("delete", "serviceaccount", "robot")
        assert (await ask("GET", PODS, headers=bearer))[0] == 401


@pytest.mark.parametrize(
    ("manifest", "fields"),
    [
        (POD | {"spec": {"containers": [{"name": "A", "image": ""}]}}, ["spec.containers[0].name", "spec.containers[0].image"]),
        ({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 0}]}}, ["spec.ports[0].port"]),
        ({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a.b"}}, ["metadata.name"]),
        (
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": -1, "template": {}}},
            ["spec.replicas", "spec.selector", "spec.template.spec.containers"],
        ),
        (
            {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"template": {"spec": POD["spec"]}}},
            ["spec.template.spec.restartPolicy"],
        ),
        (
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "v"}, "spec": {}},
            ["spec.accessModes", "spec.resources[storage]"],
        ),
    ],
    ids=lambda v: v["kind"] if isinstance(v, dict) else "",
)
async def test_kubectl_shows_every_cause_of_a_refusal(api, manifest, fields):
    await api.kubectl("create", "serviceaccount", "default")
    refused = await api.kubectl("create", "-f", "-", stdin=json.dumps(manifest), check=False)
    assert refused.returncode == 1
    for field in fields:
        assert f"{field}: " in refused.stderr
    gone = await api.kubectl("get", f"{manifest['kind']}/{manifest['metadata']['name']}", check=False)
    assert "NotFound" in gone.stderr
