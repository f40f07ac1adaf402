"""Aggregation: another API server's group behind ours, by a real HTTPS process."""

import asyncio
import base64
import json
import sys
from pathlib import Path

import pytest

from moorings_core.pki.authority import Authority

GROUP = "meter.example.com"


@pytest.fixture
async def meter(api, tmp_path):
    """An aggregated server that trusts what the cluster says of its front proxy; yields (port, its CA)."""
    known = (await api.get("configmap", "extension-apiserver-authentication", "-n", "kube-system"))["data"]
    (tmp_path / "proxy-ca.crt").write_text(known["requestheader-client-ca-file"])
    authority = Authority.create("meter")
    files = authority.issue("meter", hosts=["meter.default.svc"]).write(tmp_path, "meter")
    program = Path(__file__).with_name("aggregated.py")
    command = [sys.executable, str(program), "0", *map(str, files), str(tmp_path / "proxy-ca.crt")]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    port = int(await asyncio.wait_for(process.stdout.readline(), 20))
    yield port, authority.cert_pem
    if process.returncode is None:
        process.kill()
    await process.communicate()


def service():
    spec = {"type": "ExternalName", "externalName": "localhost"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "meter", "namespace": "default"}, "spec": spec}


def api_service(port, authority):
    spec = {
        "group": GROUP,
        "version": "v1",
        "groupPriorityMinimum": 1000,
        "versionPriority": 10,
        "caBundle": base64.b64encode(authority).decode(),
        "service": {"namespace": "default", "name": "meter", "port": port},
    }
    return {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": f"v1.{GROUP}"}, "spec": spec}


async def available(api, wanted, seconds=30):
    await api.kubectl("wait", f"--for=condition=Available={wanted}", f"apiservice/v1.{GROUP}", f"--timeout={seconds}s")


async def schemas_with(api, name):
    """Wait until the OpenAPI v2 document has a definition and return the document."""
    async with asyncio.timeout(30):
        while True:
            document = json.loads((await api.kubectl("get", "--raw", "/openapi/v2")).stdout)
            if name in document["definitions"]:
                return document
            await asyncio.sleep(0.2)


async def test_every_group_version_of_ours_has_an_available_service(api):
    await api.kubectl("wait", "--for=condition=Available", "apiservice/v1.", "apiservice/v1.apps", "--timeout=20s")
    found = (await api.get("apiservice", "v1.apps"))["spec"]
    assert (found["group"], found["version"]) == ("apps", "v1") and "service" not in found


async def test_a_group_of_another_server_is_served_with_its_user_and_is_unavailable_without_it(api, meter):
    port, authority = meter
    named = service()
    await api.kubectl("apply", "-f", "-", stdin=json.dumps(named))
    await api.kubectl("apply", "-f", "-", stdin=json.dumps(api_service(port, authority)))
    await available(api, "True")
    assert "readings" in (await api.kubectl("api-resources", "--api-group", GROUP)).stdout
    reading = await api.get("rd", "one")
    told = json.loads(reading["metadata"]["annotations"]["told"])
    assert reading["value"] == 7
    assert told["x-remote-user"] == ["admin"]
    assert set(told["x-remote-group"]) == {"system:masters", "system:authenticated"}
    watched = (await api.kubectl("get", "--raw", f"/apis/{GROUP}/v1/readings?watch=true")).stdout
    assert [json.loads(line)["object"]["value"] for line in watched.splitlines()] == [0, 1, 2]
    assert (await api.kubectl("get", "readings", "none", check=False)).stderr.strip().endswith("none here")
    index = json.loads((await api.kubectl("get", "--raw", "/openapi/v3")).stdout)["paths"]
    assert f"apis/{GROUP}/v1" in index
    document = await schemas_with(api, "com.example.meter.v1.Reading")
    assert {"com.example.meter.v1.Unit", "io.k8s.api.core.v1.Pod"} <= document["definitions"].keys()
    assert "com.example.meter.v1.Unused" not in document["definitions"]
    assert list(document["paths"]) == [f"/apis/{GROUP}/v1/readings"]
    other = Authority.create("other").cert_pem
    await api.kubectl("apply", "-f", "-", stdin=json.dumps(api_service(port, other)))
    await available(api, "False")
    refused = await api.kubectl("get", "--raw", f"/apis/{GROUP}/v1/readings", check=False)
    assert "unavailable" in refused.stderr or "unable to handle the request" in refused.stderr, refused.stderr
    conditions = (await api.get("apiservice", f"v1.{GROUP}"))["status"]["conditions"]
    assert conditions[0]["reason"] == "FailedDiscoveryCheck"
    await api.kubectl("delete", "apiservice", f"v1.{GROUP}")
    assert GROUP not in (await api.kubectl("get", "--raw", "/apis")).stdout
    gone = json.loads((await api.kubectl("get", "--raw", "/openapi/v2")).stdout)
    assert "com.example.meter.v1.Reading" not in gone["definitions"]
