"""A kopf operator, which nobody here wrote, does a real job on a custom kind: a Greeting becomes a ConfigMap."""

import asyncio
import json
import os
import sys

import pytest

OPERATOR = """
import kopf
import requests_free as api

@kopf.on.create("example.com", "v1", "greetings")
@kopf.on.update("example.com", "v1", "greetings")
async def write(spec, name, namespace, patch, logger, **_):
    await api.put(namespace, name, spec["words"])
    patch.status["written"] = spec["words"]

@kopf.on.delete("example.com", "v1", "greetings")
async def remove(name, namespace, **_):
    await api.delete(namespace, name)
"""
CLIENT = """
import asyncio, json, os

async def kubectl(*arguments, stdin=""):
    process = await asyncio.create_subprocess_exec(os.environ["KUBECTL"], *arguments, stdin=asyncio.subprocess.PIPE)
    await process.communicate(stdin.encode())

async def put(namespace, name, words):
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": {"words": words}}
    await kubectl("apply", "-f", "-", stdin=json.dumps(body))

async def delete(namespace, name):
    await kubectl("delete", "configmap", name, "-n", namespace)
"""
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "greetings.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "greetings", "kind": "Greeting"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "properties": {"words": {"type": "string"}}},
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}


def greeting(words):
    return {"apiVersion": "example.com/v1", "kind": "Greeting", "metadata": {"name": "hello"}, "spec": {"words": words}}


@pytest.fixture
async def operator(api, tmp_path):
    from .api_process import kubectl_path

    (tmp_path / "greeter.py").write_text(OPERATOR)
    (tmp_path / "requests_free.py").write_text(CLIENT)
    await api.kubectl("apply", "-f", "-", stdin=json.dumps(DEFINITION))
    environment = {**os.environ, "KUBECONFIG": str(api.root / "kubeconfig"), "KUBECTL": kubectl_path(), "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "kopf", "run", "--standalone", "-n", "default", str(tmp_path / "greeter.py")]
    with (tmp_path / "operator.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=log, stderr=log)
    yield tmp_path / "operator.log"
    if process.returncode is None:
        process.terminate()
    await process.wait()


async def test_an_operator_keeps_a_configmap_for_a_custom_object_through_its_life(api, operator):
    async def wait(*arguments):
        done = await api.kubectl("wait", *arguments, "--timeout=40s", check=False)
        assert done.returncode == 0, done.stderr + operator.read_text()[-4000:]

    await api.kubectl("apply", "-f", "-", stdin=json.dumps(greeting("good morning")))
    await wait("--for=jsonpath={.status.written}=good morning", "greeting/hello")
    assert (await api.get("configmap", "hello"))["data"] == {"words": "good morning"}
    held = await api.get("greeting", "hello")
    assert held["metadata"]["finalizers"] == ["kopf.zalando.org/KopfFinalizerMarker"]
    await api.kubectl("apply", "-f", "-", stdin=json.dumps(greeting("good night")))
    await wait("--for=jsonpath={.data.words}=good night", "configmap/hello")
    await api.kubectl("delete", "greeting", "hello", "--wait=false")
    await wait("--for=delete", "greeting/hello")
    assert (await api.kubectl("get", "configmap", "hello", check=False)).returncode != 0
