"""Which containers run, in which order, and which run again."""

import re

import pytest

from moorings_labs import layout as layouts

from .pods_support import container, pod, room

pytestmark = pytest.mark.lab
HELPER = "trap 'echo helper ends; exit 0' TERM; while :; do sleep 0.1; done"
ONCE_MORE = "[ -e /shared/again ] || { touch /shared/again; sleep 0.5; exit 1; }; exec sleep 3600"
SHARED = {"volumes": [{"name": "shared", "emptyDir": {}}]}
MOUNT = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}


def writer(name, script, **fields):
    """A container that leaves a line with its name in a file that all share."""
    return container(name, f"echo {name} >> /shared/order; {script}", **MOUNT, **fields)


JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "with-sidecar"},
    "spec": {
        "template": {
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 2,
                "initContainers": [container("helper", HELPER, restartPolicy="Always")],
                "containers": [container("work", "sleep 0.3; echo work ends")],
            }
        }
    },
}


@pytest.fixture(scope="module")
def pods(lab):
    with room(lab) as made:
        made.apply(
            pod("crash", container(script="echo run; exit 3")),
            pod("once", container(script="exit 4"), restartPolicy="Never"),
            pod("success", container(script="exit 0"), container("second", "exit 0"), restartPolicy="OnFailure"),
            pod(
                "retry",
                container(script="echo x >> /shared/tries; [ $(wc -l < /shared/tries) -ge 3 ]", **MOUNT),
                restartPolicy="OnFailure",
                **SHARED,
            ),
            pod(
                "ordered",
                writer("main", "exec sleep 3600"),
                initContainers=[
                    writer("first", "sleep 0.3; echo first-ended >> /shared/order"),
                    writer("side", "until [ -e /shared/stop ]; do sleep 0.1; done; rm /shared/stop; exit 5", restartPolicy="Always"),
                    writer("last", "echo last-ended >> /shared/order"),
                ],
                **SHARED,
            ),
            pod("stuck", container(), initContainers=[container("bad", "exit 7")]),
            pod("failed-init", container(), initContainers=[container("bad", "exit 7")], restartPolicy="Never"),
            pod("late", container(), activeDeadlineSeconds=1),
            pod(
                "in-place",
                container(script=ONCE_MORE, **MOUNT),
                **SHARED,
            ),
            pod("no-image", {"name": "main", "image": "127.0.0.1:1/x/y:z"}),
            pod("never-image", {"name": "main", "image": "127.0.0.1:1/x/y:z", "imagePullPolicy": "Never"}),
            JOB,
        )
        yield made


def test_a_crashing_container_is_restarted_later_each_time(pods):
    status = pods.waiting("crash", "CrashLoopBackOff")
    assert status["lastState"]["terminated"]["exitCode"] == 3
    assert status["lastState"]["terminated"]["reason"] == "Error"
    assert "restarting failed container=main" in status["state"]["waiting"]["message"]

    seen = set()

    def doubled():
        """Whether two delays were announced of which one is twice the other; what is waited out quickly may not be seen."""
        text = pods.status("crash")["state"].get("waiting", {}).get("message", "")
        seen.update(map(int, re.findall(r"back-off (\d+)s ", text)))
        return any(2 * delay in seen for delay in seen)

    pods.lab.wait_for("a doubled delay", doubled)
    assert seen <= {1, 2, 4, 8}
    assert pods.status("crash")["restartCount"] >= 2
    assert pods.logs("crash", "--previous") == "run\n"


def test_a_container_is_restarted_in_place(pods):
    pods.ready("in-place")
    pods.lab.wait_for("a restart", lambda: pods.status("in-place")["restartCount"] == 1)
    found = pods.get("in-place")
    pods.ready("in-place")
    assert pods.get("in-place")["status"]["podIP"] == found["status"]["podIP"]
    assert pods.sh("in-place", "ls /shared") == "again"
    assert pods.status("in-place")["lastState"]["terminated"]["exitCode"] == 1
    assert len(pods.events("in-place", "Created")) == 1  # the same words again are counted up


def test_restart_policies_are_kept(pods):
    failed = pods.phase("once", "Failed")
    assert failed["status"]["containerStatuses"][0]["restartCount"] == 0
    assert failed["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 4
    done = pods.phase("success", "Succeeded")
    assert [s["state"]["terminated"]["reason"] for s in done["status"]["containerStatuses"]] == ["Completed", "Completed"]
    assert pods.phase("retry", "Succeeded")["status"]["containerStatuses"][0]["restartCount"] == 2


def test_init_containers_run_in_order_and_sidecars_stay(pods):
    pods.ready("ordered")
    assert pods.sh("ordered", "cat /shared/order").split() == ["first", "first-ended", "side", "last", "last-ended", "main"]
    statuses = {s["name"]: s for s in pods.get("ordered")["status"]["initContainerStatuses"]}
    assert "running" in statuses["side"]["state"]
    assert statuses["first"]["state"]["terminated"]["reason"] == "Completed"


def test_a_sidecar_that_ends_is_restarted_alone(pods):
    pods.ready("ordered")
    pods.sh("ordered", "touch /shared/stop")
    pods.lab.wait_for("the sidecar again", lambda: pods.status("ordered", "side").get("restartCount") == 1)
    pods.ready("ordered")
    assert pods.status("ordered", "side")["lastState"]["terminated"]["exitCode"] == 5
    assert pods.status("ordered", "main")["restartCount"] == 0
    assert pods.sh("ordered", "grep -c first-ended /shared/order") == "1"


def test_a_failing_init_container_is_tried_again_and_nothing_else_runs(pods):
    pods.waiting("stuck", "CrashLoopBackOff", "bad")
    found = pods.get("stuck")
    assert found["status"]["phase"] == "Pending"
    assert found["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "PodInitializing"
    pods.lab.wait_for("the word for it", lambda: "Init:CrashLoopBackOff" in pods.kubectl("get", "pod", "stuck"))
    pods.phase("failed-init", "Failed")
    assert "Init:Error" in pods.kubectl("get", "pod", "failed-init")


def test_a_job_with_a_sidecar_completes(pods):
    pods.kubectl("wait", "--for=condition=Complete", "job/with-sidecar", "--timeout=30s")
    selector = ("-l", "job-name=with-sidecar")
    found = pods.lab.get("pods", "-n", pods.namespace, *selector)["items"]
    assert [p["status"]["phase"] for p in found] == ["Succeeded"]
    assert found[0]["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 0
    assert pods.kubectl("logs", "job/with-sidecar", "-c", "helper") == "helper ends\n"


def test_an_active_deadline_fails_the_pod(pods):
    found = pods.phase("late", "Failed")
    assert found["status"]["reason"] == "DeadlineExceeded"
    assert "terminated" in found["status"]["containerStatuses"][0]["state"]


def test_an_image_that_cannot_be_had_is_told_with_the_registrys_words(pods):
    status = pods.waiting("no-image", "ImagePullBackOff")
    assert 'Back-off pulling image "127.0.0.1:1/x/y:z"' in status["state"]["waiting"]["message"]
    pulls = [m for m in pods.events("no-image", "Failed") if "Failed to pull" in m]
    assert pulls
    assert "connection refused" in pulls[0]
    status = pods.waiting("no-image", "ErrImagePull")
    assert "connection refused" in status["state"]["waiting"]["message"]
    pods.waiting("never-image", "ErrImageNeverPull")


def test_a_deleted_pod_never_comes_back_under_the_same_uid(lab, pods):
    pods.apply(pod("again", container()))
    pods.ready("again")
    first = pods.get("again")["metadata"]["uid"]
    node = pods.get("again")["spec"]["nodeName"]
    pods.kubectl("delete", "pod", "again", "--wait=true", "--timeout=30s")
    pods.apply(pod("again", container(), nodeName=node))
    pods.ready("again")
    second = pods.get("again")["metadata"]["uid"]
    assert first != second
    words = f"ls {layouts.root()}/{lab.name}/nodes/{node}/agent/pods; find /sys/fs/cgroup -maxdepth 6 -name 'pod*'"
    left = lab.node(node, "sh", "-c", words)
    assert second in left
    assert first not in left
