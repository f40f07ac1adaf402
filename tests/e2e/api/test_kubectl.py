"""The unmodified kubectl against the API alone: no controllers, no nodes."""

import asyncio

import pytest

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: main, image: "example/web:1", ports: [{containerPort: 80}], env: [{name: A, value: "1"}]}
"""


async def test_a_namespace_is_created_by_protobuf_and_described(api):
    await api.kubectl("create", "namespace", "team")
    namespace = await api.get("namespace", "team")
    assert namespace["metadata"]["labels"] == {"kubernetes.io/metadata.name": "team"}
    assert namespace["status"]["phase"] == "Active"
    assert "Active" in (await api.kubectl("describe", "namespace", "team")).stdout


async def test_typed_creations_arrive_whole(api):
    await api.kubectl("create", "configmap", "settings", "--from-literal=a=1", "--from-literal=b=two")
    await api.kubectl("create", "secret", "generic", "hidden", "--from-literal=password=s3cret")
    await api.kubectl("create", "deployment", "web", "--image=example/web:1", "--replicas=3", "--port=80")
    await api.kubectl("create", "serviceaccount", "robot")
    await api.kubectl("create", "job", "once", "--image=example/job:1")
    await api.kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods")
    assert (await api.get("configmap", "settings"))["data"] == {"a": "1", "b": "two"}
    assert (await api.get("secret", "hidden"))["data"] == {"password": "czNjcmV0"}
    spec = (await api.get("deployment", "web"))["spec"]
    assert (spec["replicas"], spec["strategy"]["rollingUpdate"]) == (3, {"maxSurge": "25%", "maxUnavailable": "25%"})
    assert spec["template"]["spec"]["containers"][0]["imagePullPolicy"] == "IfNotPresent"


async def test_apply_edits_only_what_changed(api):
    await api.kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    await api.kubectl("scale", "deployment", "web", "--replicas=5")
    changed = DEPLOYMENT.replace("replicas: 2\n", "replicas: 5\n").replace('value: "1"', 'value: "2"')
    difference = await api.kubectl("diff", "-f", "-", stdin=changed, check=False)
    assert difference.returncode == 1, difference.stderr
    assert "+        - name: A" in difference.stdout or 'value: "2"' in difference.stdout
    await api.kubectl("apply", "-f", "-", stdin=changed)
    deployment = await api.get("deployment", "web")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "A", "value": "2"}]
    assert deployment["metadata"]["generation"] == 3
    again = await api.kubectl("apply", "-f", "-", stdin=changed)
    assert "unchanged" in again.stdout
    assert (await api.get("deployment", "web"))["metadata"]["resourceVersion"] == deployment["metadata"]["resourceVersion"]


async def test_tables_show_upstream_s_columns(api):
    await api.kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    await api.kubectl("expose", "deployment", "web", "--port=80")
    header, row = (await api.kubectl("get", "deployments")).stdout.splitlines()
    assert header.split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert row.split()[:4] == ["web", "0/2", "0", "0"]
    wide = (await api.kubectl("get", "services", "-o", "wide")).stdout.splitlines()
    assert wide[0].split() == ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE", "SELECTOR"]
    assert any(line.split()[0] == "kubernetes" and line.split()[2] == "10.96.0.1" for line in wide)


async def test_patches_of_three_kinds(api):
    await api.kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    await api.kubectl("patch", "deployment", "web", "--type=json", "-p", '[{"op":"replace","path":"/spec/replicas","value":7}]')
    await api.kubectl("patch", "deployment", "web", "--type=merge", "-p", '{"metadata":{"annotations":{"a":"b"}}}')
    container = '{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"example/side:1"}]}}}}'
    await api.kubectl("patch", "deployment", "web", "-p", container)
    deployment = await api.get("deployment", "web")
    assert deployment["spec"]["replicas"] == 7
    assert deployment["metadata"]["annotations"]["a"] == "b"
    assert {c["name"] for c in deployment["spec"]["template"]["spec"]["containers"]} == {"main", "side"}
    await api.kubectl("set", "image", "deployment/web", "side=example/side:2")
    await api.kubectl("label", "deployment", "web", "tier=front")
    await api.kubectl("annotate", "deployment", "web", "note=x")
    assert (await api.get("deployment", "web"))["metadata"]["labels"] == {"app": "web", "tier": "front"}


async def test_an_invalid_object_is_refused_with_its_causes_and_not_stored(api):
    wrong = DEPLOYMENT.replace("containerPort: 80", "containerPort: 80000").replace("app: web}}\n  template", "app: other}}\n  template")
    refused = await api.kubectl("create", "-f", "-", stdin=wrong, check=False)
    assert refused.returncode == 1
    assert "spec.template.spec.containers[0].ports[0].containerPort: Invalid value: 80000" in refused.stderr
    assert "`selector` does not match template `labels`" in refused.stderr
    assert (await api.get("deployments"))["items"] == []


async def test_unknown_fields_are_all_named(api):
    wrong = DEPLOYMENT.replace("replicas: 2", "replicas: 2\n  replica: 3").replace("name: main,", "name: main, imag: x,")
    refused = await api.kubectl("create", "-f", "-", stdin=wrong, check=False)
    assert 'unknown field "spec.replica"' in refused.stderr
    assert 'unknown field "spec.template.spec.containers[0].imag"' in refused.stderr


async def test_wait_and_watch_see_changes(api):
    await api.kubectl("create", "configmap", "late")
    deleting = asyncio.create_task(api.kubectl("wait", "--for=delete", "configmap/late", "--timeout=30s"))
    await api.kubectl("delete", "configmap", "late", "--wait=false")
    await deleting
    await api.kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    waiting = asyncio.create_task(api.kubectl("wait", "deployment/web", "--for=jsonpath={.spec.replicas}=4", "--timeout=30s"))
    await api.kubectl("scale", "deployment/web", "--replicas=4")
    await waiting


async def test_discovery_explain_and_access(api):
    assert "deployments" in (await api.kubectl("api-resources", "--api-group=apps")).stdout
    explained = (await api.kubectl("explain", "deployment.spec.strategy")).stdout
    assert "rollingUpdate" in explained
    assert "containers" in (await api.kubectl("explain", "pods", "--recursive")).stdout
    assert (await api.kubectl("auth", "can-i", "create", "pods")).stdout.strip() == "yes"
    assert "admin" in (await api.kubectl("auth", "whoami")).stdout
    await api.kubectl("create", "serviceaccount", "robot")
    token = (await api.kubectl("create", "token", "robot")).stdout
    assert token.count(".") == 2


async def test_events_label_selectors_and_paging(api):
    for number in range(7):
        await api.kubectl("create", "configmap", f"c{number}")
    await api.kubectl("label", "configmap", "c3", "pick=me")
    assert [i["metadata"]["name"] for i in (await api.get("configmaps", "-l", "pick=me"))["items"]] == ["c3"]
    named = await api.get("configmaps", "--field-selector", "metadata.name=c5")
    assert [i["metadata"]["name"] for i in named["items"]] == ["c5"]
    paged = (await api.kubectl("get", "configmaps", "--chunk-size=2", "-o", "name")).stdout.split()
    assert paged == [f"configmap/c{n}" for n in range(7)]


@pytest.mark.parametrize("path", ["/healthz", "/readyz?verbose", "/livez", "/version", "/metrics", "/openapi/v3"])
async def test_plain_paths(api, path):
    assert (await api.kubectl("get", "--raw", path)).stdout


async def test_killed_and_started_again_nothing_is_lost(api):
    await api.kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    before = await api.get("deployment", "web")
    await api.kill()
    await api.start()
    assert await api.get("deployment", "web") == before


async def test_server_side_edit_of_a_dry_run_stores_nothing(api):
    made = await api.kubectl("create", "configmap", "x", "--dry-run=server", "-o", "name")
    assert made.stdout.strip() == "configmap/x"
    assert (await api.get("configmaps"))["items"] == []
