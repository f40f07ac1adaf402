"""What pods may take of a node's disk, and what they take."""

from __future__ import annotations

import os

import pytest

from moorings_core.agent.local_storage import Excess, LocalStorage, Used, disk_usage, excess, is_limited, pod_limit
from moorings_core.ports.runtime import ContainerUsage

MEBIBYTE = 1 << 20


def container(name="main", limit=None, **more):
    return {"name": name, "resources": {"limits": {"ephemeral-storage": limit}} if limit else {}, **more}


def pod(*containers, volumes=(), initial=(), **spec):
    listed = [{"name": name, "emptyDir": options} for name, options in volumes]
    whole = {"containers": list(containers) or [container()], "volumes": listed, "initContainers": list(initial), **spec}
    return {"metadata": {"name": "p", "namespace": "d", "uid": "u"}, "spec": whole}


@pytest.mark.parametrize(
    ("limited", "given"),
    [
        (False, pod()),
        (False, pod(volumes=[("cache", {})])),
        (False, pod(volumes=[("cache", None)])),
        (False, pod(volumes=[("cache", {"sizeLimit": "0"})])),
        (False, pod(volumes=[("cache", {"sizeLimit": "1Mi", "medium": "Memory"})])),
        (True, pod(volumes=[("cache", {"sizeLimit": "1Mi"})])),
        (True, pod(container(limit="1Mi"))),
        (True, pod(initial=[container("first", limit="1Mi")])),
        (False, pod(volumes=[("cache", {"sizeLimit": "1Mi"})], priority=2_000_001_000)),
        (False, pod(volumes=[("cache", {"sizeLimit": "1Mi"})]) | {"status": {"phase": "Failed"}}),
    ],
)
def test_only_pods_with_a_limit_are_watched(limited, given):
    assert is_limited(given) is limited


def test_a_volume_over_its_limit_is_told_in_upstreams_words():
    given = pod(volumes=[("small", {"sizeLimit": "1Mi"}), ("free", {})])
    assert excess(given, Used({"small": MEBIBYTE, "free": 1 << 40})) is None, "at the limit is not over it"
    told = excess(given, Used({"small": MEBIBYTE + 1}))
    assert told == Excess("emptydirfs.limit", 'Usage of EmptyDir volume "small" exceeds the limit "1Mi". ')


def test_a_container_over_its_limit_and_a_pod_over_all_of_them():
    given = pod(container("a", "1Mi"), container("b", "3Mi"), volumes=[("cache", {})])
    assert excess(given, Used({"cache": MEBIBYTE}, {"a": MEBIBYTE, "b": 2 * MEBIBYTE})) is None
    told = excess(given, Used({}, {"a": MEBIBYTE + 1}))
    assert told == Excess("ephemeralcontainerfs.limit", 'Container a exceeded its local ephemeral storage limit "1Mi". ')
    told = excess(given, Used({"cache": 4 * MEBIBYTE}, {"a": 1}))
    assert told == Excess("ephemeralpodfs.limit", "Pod ephemeral local storage usage exceeds the total limit of containers 4Mi. ")


@pytest.mark.parametrize(
    ("limit", "given"),
    [
        (None, pod()),
        (3, pod(container("a", "1"), container("b", "2"))),
        (5, pod(container("a", "1"), initial=[container("first", "5")])),
        (6, pod(container("a", "5"), initial=[container("side", "1", restartPolicy="Always")])),
        (7, pod(container("a", "1"), initial=[container("side", "2", restartPolicy="Always"), container("first", "5")])),
    ],
)
def test_the_limit_of_a_pod_is_what_its_containers_may_take_at_once(limit, given):
    assert pod_limit(given) == limit


def test_what_a_directory_takes_is_its_blocks_and_a_file_of_two_names_counts_once(tmp_path):
    assert disk_usage(tmp_path / "nothing") == 0
    (tmp_path / "below").mkdir()
    empty = disk_usage(tmp_path)
    (tmp_path / "below" / "data").write_bytes(b"x" * 65536)
    os.link(tmp_path / "below" / "data", tmp_path / "again")
    os.truncate(os.open(tmp_path / "hole", os.O_CREAT | os.O_WRONLY), 1 << 30)
    (tmp_path / "link").symlink_to("/")
    assert 65536 <= disk_usage(tmp_path) - empty < 2 * 65536


class Runtime:
    asked = 0

    async def usage(self):
        self.asked += 1
        labels = {
            "io.kubernetes.pod.name": "p",
            "io.kubernetes.pod.namespace": "d",
            "io.kubernetes.container.name": "main",
        }
        return [ContainerUsage("id", "main", labels, 0, 0, 0, 2 * MEBIBYTE)]


async def test_volumes_logs_and_containers_are_measured_and_the_runtime_is_asked_only_for_who_has_such_a_limit(tmp_path):
    runtime, pods = Runtime(), []
    storage = LocalStorage(runtime, lambda: pods, tmp_path, lambda pod: tmp_path / "logs")
    volume = tmp_path / "pods/u/volumes/kubernetes.io~empty-dir/cache"
    volume.mkdir(parents=True)
    (volume / "file").write_bytes(os.urandom(2 * MEBIBYTE))
    pods.append(pod(volumes=[("cache", {"sizeLimit": "1Mi"})]))
    assert [found.signal for _, found in await storage.look()] == ["emptydirfs.limit"]
    assert not runtime.asked
    pods[0] = pod(container(limit="3Mi"), volumes=[("cache", {})])
    assert [found.signal for _, found in await storage.look()] == ["ephemeralpodfs.limit"]
    pods[0] = pod(container(limit="5Mi"), volumes=[("cache", {})])
    assert await storage.look() == []
    (tmp_path / "logs/main").mkdir(parents=True)
    (tmp_path / "logs/main/0.log").write_bytes(os.urandom(2 * MEBIBYTE))
    assert [found.signal for _, found in await storage.look()] == ["ephemeralpodfs.limit"]
