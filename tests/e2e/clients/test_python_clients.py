"""Clients that nobody here wrote, each at a real job."""

import asyncio
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path

import lightkube
import pytest
from kubernetes import client, config, dynamic, watch
from kubernetes.utils import create_from_dict
from lightkube.core.exceptions import ApiError
from lightkube.models.apps_v1 import DeploymentSpec
from lightkube.models.core_v1 import Container, PodSpec, PodTemplateSpec
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap

DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "greetings.example.org"},
    "spec": {
        "group": "example.org",
        "scope": "Namespaced",
        "names": {"plural": "greetings", "singular": "greeting", "kind": "Greeting", "listKind": "GreetingList"},
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
                            "spec": {"type": "object", "required": ["to"], "properties": {"to": {"type": "string"}}},
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}


def deployment(name: str) -> dict:
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "main", "image": "example.org/app:1"}]}}
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


async def test_the_official_client_creates_pages_watches_patches_and_deletes(api):
    await asyncio.to_thread(_official, api.root / "kubeconfig")


def _official(kubeconfig: Path) -> None:
    with config.new_client_from_config(str(kubeconfig)) as connection:
        core, apps = client.CoreV1Api(connection), client.AppsV1Api(connection)
        create_from_dict(connection, deployment("web"), namespace="default")
        assert apps.read_namespaced_deployment("web", "default").spec.strategy.rolling_update.max_surge == "25%"
        apps.patch_namespaced_deployment_scale("web", "default", {"spec": {"replicas": 5}})
        assert apps.read_namespaced_deployment("web", "default").spec.replicas == 5
        start = core.list_namespaced_config_map("default").metadata.resource_version
        for n in range(7):
            core.create_namespaced_config_map("default", {"metadata": {"name": f"c{n}", "labels": {"n": str(n)}}})
        page = core.list_namespaced_config_map("default", limit=3, label_selector="n")
        names = [item.metadata.name for item in page.items]
        while page.metadata._continue:
            page = core.list_namespaced_config_map("default", limit=3, label_selector="n", _continue=page.metadata._continue)
            names += [item.metadata.name for item in page.items]
        assert names == [f"c{n}" for n in range(7)]
        watcher, seen = watch.Watch(), []
        for event in watcher.stream(
            core.list_namespaced_config_map, "default", resource_version=start, label_selector="n", timeout_seconds=20
        ):
            seen.append((event["type"], event["object"].metadata.name))
            if len(seen) == 7:
                core.delete_collection_namespaced_config_map("default", label_selector="n in (0,1)")
            if len(seen) == 9:
                watcher.stop()
        assert seen == [*(("ADDED", f"c{n}") for n in range(7)), ("DELETED", "c0"), ("DELETED", "c1")]
        with pytest.raises(client.ApiException) as caught:
            core.create_namespaced_config_map("default", {"metadata": {"name": "c3"}})
        assert (caught.value.status, caught.value.reason) == (409, "Conflict")
        _dynamic(connection)


def _dynamic(connection: client.ApiClient) -> None:
    finder = dynamic.DynamicClient(connection)
    finder.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition").create(body=DEFINITION)
    greetings = finder.resources.get(api_version="example.org/v1", kind="Greeting")
    greetings.create(
        body={"apiVersion": "example.org/v1", "kind": "Greeting", "metadata": {"name": "one"}, "spec": {"to": "you"}}, namespace="default"
    )
    applied = {"apiVersion": "example.org/v1", "kind": "Greeting", "metadata": {"name": "one"}, "spec": {"to": "all"}}
    done = greetings.server_side_apply(body=applied, namespace="default", field_manager="tests", force_conflicts=True)
    assert done.spec.to == "all"
    with pytest.raises(dynamic.exceptions.UnprocessibleEntityError):
        greetings.create(
            body={"apiVersion": "example.org/v1", "kind": "Greeting", "metadata": {"name": "two"}, "spec": {}}, namespace="default"
        )


async def test_lightkube_applies_patches_and_watches(api):
    settings = lightkube.KubeConfig.from_file(str(api.root / "kubeconfig"))
    found = lightkube.AsyncClient(config=settings, field_manager="lightkube", namespace="default")
    template = PodTemplateSpec(metadata=ObjectMeta(labels={"app": "a"}), spec=PodSpec(containers=[Container(name="m", image="i")]))
    spec = DeploymentSpec(replicas=1, selector=LabelSelector(matchLabels={"app": "a"}), template=template)
    made = await found.apply(Deployment(metadata=ObjectMeta(name="a"), spec=spec))
    assert made.metadata.managedFields[0].manager == "lightkube"
    assert made.spec.template.spec.containers[0].terminationMessagePath == "/dev/termination-log"
    patched = await found.patch(Deployment, "a", {"spec": {"replicas": 3}})
    assert patched.spec.replicas == 3
    await found.create(ConfigMap(metadata=ObjectMeta(name="seen"), data={"a": "b"}))
    async with aclosing(found.watch(ConfigMap, fields={"metadata.name": "seen"})) as events:
        event, one = await anext(events)
    assert (event, one.data) == ("ADDED", {"a": "b"})
    await found.delete(ConfigMap, "seen")
    with pytest.raises(ApiError) as caught:
        await found.get(ConfigMap, "seen")
    assert caught.value.status.reason == "NotFound"
    assert {one.metadata.name async for one in found.list(Deployment, labels={})} == {"a"}
    await found.close()


async def test_kr8s_finds_kinds_by_itself(api):
    command = [sys.executable, str(Path(__file__).with_name("kr8s_job.py")), str(api.root / "kubeconfig")]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "done\n", done.stderr
