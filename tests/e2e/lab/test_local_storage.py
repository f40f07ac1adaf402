"""Pods that take more of a node's disk than they may are failed, and only they."""

from __future__ import annotations

import pytest

from .test_volumes import apply, events, pod

pytestmark = pytest.mark.lab
WRITE = ["sh", "-c", "dd if=/dev/urandom of={file} bs=1M count=4; exec sleep 3600"]


def writer(name, file, volumes=(), limits=None):
    made = pod(name, *volumes, restartPolicy="Never")
    made["spec"]["containers"][0] |= {
        "command": [word.format(file=file) for word in WRITE],
        "resources": {"limits": limits} if limits else {},
    }
    return made


def test_a_pod_over_a_limit_of_local_storage_is_evicted(lab, namespace):
    cache, roomy = {"name": "cache", "emptyDir": {"sizeLimit": "2Mi"}}, {"name": "cache", "emptyDir": {"sizeLimit": "64Mi"}}
    apply(
        lab,
        namespace,
        writer("greedy", "/cache/file", [cache]),
        writer("own", "/file", limits={"ephemeral-storage": "2Mi"}),
        writer("fine", "/cache/file", [roomy], {"ephemeral-storage": "64Mi"}),
    )

    def status(name):
        return lab.get("pod", name, "-n", namespace)["status"]

    for name in ("greedy", "own"):
        lab.wait_for(f"{name} to be evicted", lambda name=name: status(name)["phase"] == "Failed", timeout=60)
        assert status(name)["reason"] == "Evicted"
    assert status("greedy")["message"] == 'Usage of EmptyDir volume "cache" exceeds the limit "2Mi". '
    assert "exceed" in status("own")["message"]
    assert "exceeds the limit" in events(lab, namespace, "greedy")
    assert status("fine")["phase"] == "Running"
    assert lab.exec("fine", "stat", "-c", "%s", "/cache/file", namespace=namespace).stdout.strip() == str(4 << 20)
