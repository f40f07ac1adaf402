"""Fields of features that are off by default are taken away."""

import pytest

from moorings_core.ports.objects import Resource
from moorings_core.registry import defaults

PODS = Resource("", "v1", "pods", "Pod", True)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        pytest.param({"lifecycle": {"stopSignal": "SIGUSR1"}}, {}, id="nothing is left of the hooks"),
        pytest.param(
            {"lifecycle": {"stopSignal": "SIGUSR1", "preStop": {"exec": {"command": ["x"]}}}},
            {"lifecycle": {"preStop": {"exec": {"command": ["x"]}}}},
            id="a hook stays",
        ),
        pytest.param(
            {"volumeMounts": [{"name": "a", "mountPath": "/a", "bindMountOptions": {}}]},
            {"volumeMounts": [{"name": "a", "mountPath": "/a"}]},
            id="in a list",
        ),
    ],
)
def test_a_container_loses_them(given, kept):
    pod = {"metadata": {}, "spec": {"containers": [{"name": "c", "image": "i:1", **given}]}}
    defaults.apply(PODS, pod)
    container = pod["spec"]["containers"][0]
    assert {name: container[name] for name in ("lifecycle", "volumeMounts") if name in container} == kept


def test_a_probe_keeps_all_but_its_protocol():
    probe = {"httpGet": {"port": 80, "protocol": "H2C"}}
    pod = {"metadata": {}, "spec": {"containers": [{"name": "c", "image": "i:1", "livenessProbe": probe}]}}
    defaults.apply(PODS, pod)
    assert pod["spec"]["containers"][0]["livenessProbe"]["httpGet"] == {"port": 80, "path": "/", "scheme": "HTTP"}


def test_the_users_of_files_go_from_every_source_of_a_volume():
    source = {"secret": {"name": "s", "items": [{"key": "k", "path": "p", "user": 5}]}}
    spec = {"containers": [], "volumes": [{"name": "v", "projected": {"sources": [source], "defaultUser": 5}}]}
    pod = {"metadata": {}, "spec": spec, "status": {"volumeHealth": [{"name": "v"}]}}
    defaults.apply(PODS, pod)
    projected = pod["spec"]["volumes"][0]["projected"]
    assert projected["sources"] == [{"secret": {"name": "s", "items": [{"key": "k", "path": "p"}]}}]
    assert "defaultUser" not in projected and pod["status"] == {}
