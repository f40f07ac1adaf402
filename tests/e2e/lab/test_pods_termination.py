"""How containers end: hooks, signals, grace, last words."""

import pytest

from .pods_support import container, pod, room

pytestmark = pytest.mark.lab
VOLUME = {"volumes": [{"name": "shared", "hostPath": {"path": "/run/moorings-test-end", "type": "DirectoryOrCreate"}}]}
MOUNT = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
TRAP = "trap 'echo {name} TERM >> /shared/$POD; exit 0' TERM; while :; do sleep 0.05; done"
HOOK = "echo hook >> /shared/$POD"
POD = {"env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}]}
FALLBACK = {"terminationMessagePolicy": "FallbackToLogsOnError"}
MESSAGE = "echo last words > /dev/termination-log; exit 2"


def trap(name, **fields):
    return container(name, TRAP.format(name=name), **MOUNT, **POD, **fields)


def hook(**handler):
    return {"lifecycle": {"preStop": handler}}


@pytest.fixture(scope="module")
def pods(lab):
    with room(lab) as made:
        web = container("web", "mkdir /w; httpd -p 8080 -h /w; exec sleep 3600")
        made.apply(
            pod(
                "exec",
                trap("main", **hook(exec={"command": ["sh", "-c", "echo hook >> /shared/$POD"]})),
                terminationGracePeriodSeconds=20,
                **VOLUME,
            ),
            pod("http", trap("main", **hook(httpGet={"path": "/nothing", "port": 8080})), web, terminationGracePeriodSeconds=2, **VOLUME),
            pod("sleeps", trap("main", **hook(sleep={"seconds": 2})), terminationGracePeriodSeconds=20, **VOLUME),
            pod("deaf", container(script="trap '' TERM; while :; do sleep 0.05; done")),
            pod("patient", container(script="trap '' TERM; while :; do sleep 0.05; done"), terminationGracePeriodSeconds=600),
            pod(
                "with-sidecar",
                trap("main"),
                initContainers=[trap("side-one", restartPolicy="Always"), trap("side-two", restartPolicy="Always")],
                terminationGracePeriodSeconds=20,
                **VOLUME,
            ),
            pod("words", container(script=MESSAGE), restartPolicy="Never"),
            pod(
                "log-words",
                container(script="echo only log; exit 2", **FALLBACK),
                restartPolicy="Never",
            ),
            pod("path", container(script="echo here > /tmp/words", terminationMessagePath="/tmp/words"), restartPolicy="Never"),
            pod("started", container(lifecycle={"postStart": {"exec": {"command": ["touch", "/tmp/hooked"]}}})),
            pod("bad-start", container(lifecycle={"postStart": {"exec": {"command": ["false"]}}})),
        )
        made.ready("exec", "http", "sleeps", "deaf", "patient", "with-sidecar", "started")
        yield made
        for node in ("node-1", "node-2", "node-3"):
            lab.node(node, "rm", "-rf", "/run/moorings-test-end")


def end(pods, name):
    """Delete a pod, wait until it is gone, and return what its containers wrote meanwhile."""
    found = pods.get(name)
    pods.kubectl("delete", "pod", name, "--wait=true", "--timeout=20s")
    words = pods.lab.node(found["spec"]["nodeName"], "sh", "-c", f"cat /run/moorings-test-end/{found['metadata']['uid']}")
    return words.splitlines()


def test_a_pre_stop_command_runs_before_the_signal(pods):
    assert end(pods, "exec") == ["hook", "main TERM"]


def test_a_failing_pre_stop_request_is_told_and_does_not_hinder_the_end(pods):
    assert end(pods, "http") == ["main TERM"]
    pods.lab.wait_for("its event", lambda: any("404" in m for m in pods.events("http", "FailedPreStopHook")))


def test_a_pre_stop_sleep_delays_the_signal(pods):
    node, uid = pods.get("sleeps")["spec"]["nodeName"], pods.get("sleeps")["metadata"]["uid"]
    pods.kubectl("delete", "pod", "sleeps", "--wait=false")
    pods.lab.wait_for("its end begins", lambda: pods.events("sleeps", "Killing"))
    assert "running" in pods.status("sleeps")["state"]
    pods.kubectl("wait", "--for=delete", "pod/sleeps", "--timeout=20s")
    assert pods.lab.node(node, "cat", f"/run/moorings-test-end/{uid}") == "main TERM\n"


def test_a_container_that_ignores_the_signal_is_killed_after_the_grace_period(pods):
    pods.kubectl("delete", "pod", "deaf", "--wait=true", "--timeout=20s")


def test_a_shorter_grace_period_cuts_an_end_short(pods):
    pods.kubectl("delete", "pod", "patient", "--wait=false")
    pods.lab.wait_for("its end begins", lambda: pods.events("patient", "Killing"))
    assert pods.get("patient")["metadata"]["deletionGracePeriodSeconds"] == 600
    pods.kubectl("delete", "pod", "patient", "--grace-period=1", "--wait=true", "--timeout=20s")


def test_sidecars_end_after_the_other_containers_in_reverse_order(pods):
    assert end(pods, "with-sidecar") == ["main TERM", "side-two TERM", "side-one TERM"]


def test_the_last_words_of_a_container_are_in_its_status(pods):
    def message(name, phase):
        return pods.phase(name, phase)["status"]["containerStatuses"][0]["state"]["terminated"]["message"]

    assert message("words", "Failed") == "last words\n"
    assert message("log-words", "Failed") == "only log\n"
    assert message("path", "Succeeded") == "here\n"


def test_a_post_start_hook_runs_and_its_failure_ends_the_container(pods):
    assert pods.sh("started", "ls /tmp") == "hooked"
    pods.lab.wait_for("the failure", lambda: pods.events("bad-start", "FailedPostStartHook"))
    pods.lab.wait_for("a restart", lambda: pods.status("bad-start").get("restartCount", 0) >= 1)
