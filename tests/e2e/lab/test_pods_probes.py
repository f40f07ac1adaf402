"""Probes decide whether a pod gets traffic, is restarted, or is left alone while it starts."""

import pytest

from .pods_support import container, pod, room

pytestmark = pytest.mark.lab
QUICK = {"periodSeconds": 1, "failureThreshold": 1}
SERVE = "mkdir /www; echo ok > /www/health; httpd -p 8080 -h /www; exec sleep 3600"
PORTS = [{"name": "web", "containerPort": 8080}]


def check(path):
    return {"exec": {"command": ["test", "-e", path]}, **QUICK}


@pytest.fixture(scope="module")
def pods(lab):
    http = {"httpGet": {"path": "/health", "port": "web", "httpHeaders": [{"name": "X-Probe", "value": "1"}]}, **QUICK}
    with room(lab) as made:
        made.apply(
            pod("ready", container(readinessProbe=check("/tmp/ready"))),
            pod("alive", container(script="touch /tmp/alive; exec sleep 3600", livenessProbe=check("/tmp/alive"))),
            pod("http", container(script=SERVE, ports=PORTS, readinessProbe=http)),
            pod("tcp", container(script=SERVE, readinessProbe={"tcpSocket": {"port": 8080}, **QUICK})),
            pod("no-tcp", container(readinessProbe={"tcpSocket": {"port": 8080}, **QUICK})),
            pod(
                "slow",
                container(
                    startupProbe={**check("/tmp/up"), "failureThreshold": 60},
                    livenessProbe=check("/tmp/alive"),
                    readinessProbe=check("/tmp/up"),
                ),
            ),
            pod("never-up", container(startupProbe={**check("/tmp/up"), "failureThreshold": 2})),
            pod("hang", container(readinessProbe={"exec": {"command": ["sleep", "60"]}, "timeoutSeconds": 1, **QUICK})),
            pod("no-grpc", container(script=SERVE, readinessProbe={"grpc": {"port": 8080}, **QUICK})),
            pod("gated", container(), readinessGates=[{"conditionType": "example.com/open"}]),
        )
        yield made


def test_readiness_follows_its_probe_both_ways_and_restarts_nothing(pods):
    pods.lab.wait_for("a failed probe", lambda: pods.events("ready", "Unhealthy"))
    found = pods.status("ready")
    assert (found["ready"], found["started"]) == (False, True)
    pods.sh("ready", "touch /tmp/ready")
    pods.ready("ready")
    pods.sh("ready", "rm /tmp/ready")
    pods.kubectl("wait", "--for=condition=Ready=false", "pod/ready", "--timeout=10s")
    assert pods.status("ready")["restartCount"] == 0


def test_a_failed_liveness_probe_restarts_the_container(pods):
    pods.ready("alive")
    pods.sh("alive", "rm /tmp/alive")
    pods.lab.wait_for("a restart", lambda: pods.status("alive").get("restartCount") == 1)
    assert any("failed liveness probe, will be restarted" in m for m in pods.events("alive", "Killing"))
    pods.ready("alive")


def test_http_and_tcp_probes_reach_the_pod(pods):
    pods.ready("http", "tcp")
    pods.lab.wait_for("a refused connection", lambda: any("refused" in m for m in pods.events("no-tcp", "Unhealthy")))
    assert pods.status("no-tcp")["ready"] is False
    pods.sh("http", "rm /www/health")
    pods.kubectl("wait", "--for=condition=Ready=false", "pod/http", "--timeout=10s")
    assert "Readiness probe failed: HTTP probe failed with statuscode: 404" in pods.events("http", "Unhealthy")


def test_liveness_and_readiness_wait_for_the_startup_probe(pods):
    pods.lab.wait_for("startup fails", lambda: any("Startup" in m for m in pods.events("slow", "Unhealthy")))
    assert pods.status("slow")["started"] is False
    assert pods.status("slow")["restartCount"] == 0
    pods.sh("slow", "touch /tmp/alive /tmp/up")
    pods.ready("slow")
    assert {m.split()[0] for m in pods.events("slow", "Unhealthy")} == {"Startup"}
    assert pods.status("slow")["restartCount"] == 0


def test_a_container_that_does_not_start_in_time_is_restarted(pods):
    pods.lab.wait_for("a restart", lambda: pods.status("never-up").get("restartCount", 0) >= 1)
    assert any("failed startup probe, will be restarted" in m for m in pods.events("never-up", "Killing"))


def test_a_probe_that_takes_too_long_has_failed(pods):
    pods.lab.wait_for("a timeout", lambda: any("timed out after 1s" in m for m in pods.events("hang", "Unhealthy")))
    assert pods.status("hang")["ready"] is False


def test_a_port_that_does_not_speak_grpc_fails_a_grpc_probe(pods):
    pods.lab.wait_for("a failure", lambda: pods.events("no-grpc", "Unhealthy"))
    assert pods.status("no-grpc")["ready"] is False


def test_a_readiness_gate_holds_the_pod_back_until_somebody_opens_it(pods):
    pods.kubectl("wait", "--for=condition=ContainersReady", "pod/gated", "--timeout=20s")
    conditions = {c["type"]: c for c in pods.get("gated")["status"]["conditions"]}
    assert conditions["Ready"]["reason"] == "ReadinessGatesNotReady"
    patch = '{"status": {"conditions": [{"type": "example.com/open", "status": "True"}]}}'
    pods.kubectl("patch", "pod", "gated", "--subresource=status", "--type=strategic", "-p", patch)
    pods.ready("gated")
    assert "example.com/open" in {c["type"] for c in pods.get("gated")["status"]["conditions"]}
