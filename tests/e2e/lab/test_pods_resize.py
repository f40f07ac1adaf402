"""Pods get more or less cpu and memory while they run: what their cgroups say, what their status says, what waits for room."""

import json

import pytest

from . import places
from .pods_support import container, pod, room

pytestmark = pytest.mark.lab
AMOUNTS = {"requests": {"cpu": "20m", "memory": "16Mi"}, "limits": {"cpu": "100m", "memory": "32Mi"}}
RESTART = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
LIMITS = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.shares 2>/dev/null" \
    " || cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max"  # fmt: skip


@pytest.fixture(scope="module")
def resizable(lab):
    with room(lab) as made:
        made.apply(
            pod("live", container(resources=AMOUNTS), container("other", resources=AMOUNTS)),
            pod("restarts", container(resources=AMOUNTS, resizePolicy=RESTART)),
            pod("greedy", container(resources=AMOUNTS)),
            pod(
                "full",
                container(script="dd if=/dev/zero of=/dev/shm/fill bs=1M count=30 2>/dev/null; exec sleep 3600", resources=_memory("48Mi")),
            ),
        )
        made.ready("live", "restarts", "greedy", "full")
        yield made


def _memory(limit):
    return {"requests": {"memory": "8Mi"}, "limits": {"memory": limit}}


def resize(room_, name, resources, container_="main"):
    patch = {"spec": {"containers": [{"name": container_, "resources": resources}]}}
    room_.kubectl("patch", "pod", name, "--subresource", "resize", "-p", json.dumps(patch))


def condition(room_, name, kind):
    found = room_.get(name)["status"].get("conditions", ())
    return next((c for c in found if c["type"] == kind), None)


def resized(room_, name, container_="main"):
    """Wait until a pod's container has what its spec asks for, and return its status."""

    def look():
        found = room_.get(name)
        wanted = next(c["resources"] for c in found["spec"]["containers"] if c["name"] == container_)
        status = room_.status(name, container_)
        kinds = {c["type"] for c in found["status"]["conditions"]}
        done = found["status"]["observedGeneration"] == found["metadata"]["generation"] and "PodResizeInProgress" not in kinds
        return status if done and status.get("resources") == wanted and status["allocatedResources"] == wanted["requests"] else None

    return room_.lab.wait_for(f"{name} resized", look)


def test_a_running_pod_says_what_it_has(resizable):
    status = resizable.status("live")
    assert status["resources"] == AMOUNTS and status["allocatedResources"] == AMOUNTS["requests"]


def test_a_resize_changes_the_cgroup_of_the_running_container_and_no_other(resizable):
    before = resizable.status("live")
    resize(resizable, "live", {"requests": {"cpu": "40m"}, "limits": {"cpu": "200m", "memory": "64Mi"}})
    status = resized(resizable, "live")
    assert (status["containerID"], status["restartCount"]) == (before["containerID"], 0)
    assert resizable.sh("live", LIMITS).split() in ([str(64 << 20), "20000", "40"], [str(64 << 20), "20000", "100000"])
    assert str(32 << 20) in resizable.sh("live", LIMITS, "other").split()
    assert resizable.events("live", "ResizeCompleted")
    resize(resizable, "live", AMOUNTS)
    resized(resizable, "live")
    assert str(32 << 20) in resizable.sh("live", LIMITS).split()


def test_a_container_whose_policy_says_so_starts_again_with_the_new_limits(resizable):
    resize(resizable, "restarts", {"limits": {"cpu": "200m"}})
    assert resized(resizable, "restarts")["restartCount"] == 0
    resize(resizable, "restarts", {"limits": {"memory": "64Mi"}})
    assert resized(resizable, "restarts")["restartCount"] == 1
    resizable.ready("restarts")
    assert str(64 << 20) in resizable.sh("restarts", LIMITS).split()


def test_what_the_node_has_no_room_for_waits_and_the_pod_runs_on(resizable):
    resize(resizable, "greedy", {"requests": {"cpu": "900"}, "limits": {"cpu": "900"}})
    waits = resizable.lab.wait_for("the resize to wait", lambda: condition(resizable, "greedy", "PodResizePending"))
    assert waits["reason"] == "Deferred" and waits["message"].startswith("Node didn't have enough resource: cpu, requested: 900000, used: ")
    status = resizable.status("greedy")
    assert status["resources"] == AMOUNTS and status["restartCount"] == 0
    node = resizable.get("greedy")["spec"]["nodeName"]
    places.kill_agent(resizable.lab, node)
    resizable.lab.wait_for("the agent to be back", lambda: resizable.sh("greedy", "echo back", check=False) == "back")
    assert resizable.status("greedy")["resources"] == AMOUNTS
    resize(resizable, "greedy", AMOUNTS)
    resized(resizable, "greedy")
    resizable.lab.wait_for("the condition to go", lambda: condition(resizable, "greedy", "PodResizePending") is None)


def test_less_memory_than_is_used_is_not_forced(resizable):
    used = "awk '/^(shmem|total_shmem) /{print $2; exit}' /sys/fs/cgroup/memory/memory.stat /sys/fs/cgroup/memory.stat 2>/dev/null"
    resizable.lab.wait_for("memory in use", lambda: int(resizable.sh("full", used) or 0) > 20 << 20)
    resize(resizable, "full", _memory("12Mi"))
    stuck = resizable.lab.wait_for("the resize to say why", lambda: _failed(condition(resizable, "full", "PodResizeInProgress")))
    assert "below current usage" in stuck["message"]
    assert str(48 << 20) in resizable.sh("full", LIMITS).split()
    resize(resizable, "full", _memory("64Mi"))
    resized(resizable, "full")


def _failed(found):
    return found if found and found.get("reason") == "Error" else None
