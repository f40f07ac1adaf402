"""The audit log of `moorings server`: who did what, never a secret's content; files turn over, and a full disk stops no request."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
import yaml

CLEAR = "harbour-lights-at-dusk"


def events(server, directory=None):
    path = (directory or server.data / "audit") / "audit.log"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def about(server, **wanted):
    """Return the events whose objectRef holds this."""
    return [e for e in events(server) if wanted.items() <= e.get("objectRef", {}).items()]


def policy(server, *rules, **more):
    path = server.root / "policy.yaml"
    path.write_text(yaml.safe_dump({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": list(rules), **more}))
    return {"policy": str(path)}


def test_by_default_it_says_who_did_what_and_whether_he_was_let(own_server):
    own_server.start()
    own_server.kubectl("create", "configmap", "map", "--from-literal=word=x")
    own_server.kubectl("get", "secrets", "-n", "kube-system", "--as=ann", "--as-group=dev", check=False)
    own_server.kubectl("get", "pods", config=own_server.with_token("nonsense"), check=False)
    (made,) = own_server.wait_for("the creation is recorded", lambda: about(own_server, resource="configmaps", name="map"))
    assert (made["kind"], made["apiVersion"], made["level"], made["stage"]) == ("Event", "audit.k8s.io/v1", "Metadata", "ResponseComplete")
    assert made["user"] == {"username": "admin", "groups": ["system:masters", "system:authenticated"]}
    assert (made["verb"], made["responseStatus"]["code"], made["sourceIPs"]) == ("create", 201, ["127.0.0.1"])
    assert made["userAgent"].startswith("kubectl/") and made["requestURI"].startswith("/api/v1/namespaces/default/configmaps?")
    assert made["annotations"]["authorization.k8s.io/decision"] == "allow"
    assert made["requestReceivedTimestamp"] <= made["stageTimestamp"]
    (refused,) = own_server.wait_for("the refusal is recorded", lambda: about(own_server, resource="secrets", namespace="kube-system"))
    assert refused["user"]["username"] == "admin"
    assert refused["impersonatedUser"] == {"username": "ann", "groups": ["dev", "system:authenticated"]}
    assert refused["annotations"]["authorization.k8s.io/decision"] == "forbid"
    assert (refused["responseStatus"]["code"], refused["responseStatus"]["reason"]) == (403, "Forbidden")
    unknown = own_server.wait_for("the stranger is recorded", lambda: [e for e in events(own_server) if e["responseStatus"]["code"] == 401])
    assert unknown[0]["user"] == {"username": ""}
    assert not [e for e in events(own_server) if e["requestURI"].startswith(("/readyz", "/apis?", "/openapi"))]


def test_levels_and_stages_are_the_policy_s_and_no_content_of_secrets_is_recorded_under_any(own_server):
    everything = {"level": "RequestResponse"}
    leases = {"level": "None", "resources": [{"group": "", "resources": ["endpoints"]}]}
    services = {"level": "Request", "resources": [{"group": "", "resources": ["services"]}], "omitStages": ["RequestReceived"]}
    own_server.start(audit=policy(own_server, leases, services, everything))
    own_server.kubectl("create", "secret", "generic", "word", f"--from-literal=word={CLEAR}")
    own_server.kubectl("create", "configmap", "map", f"--from-literal=word={CLEAR}")
    own_server.kubectl("create", "serviceaccount", "robot")
    token = own_server.kubectl("create", "token", "robot").stdout.strip()
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    own_server.kubectl("create", "-f", "-", stdin=json.dumps(review))
    own_server.kubectl("create", "service", "clusterip", "web", "--tcp=80")
    own_server.kubectl("get", "endpoints")
    own_server.kubectl("label", "serviceaccount", "robot", "a=b")
    own_server.kubectl("get", "secrets,configmaps", "-o", "yaml")
    own_server.kubectl("create", "namespace", "last")
    own_server.wait_for("the last is recorded", lambda: about(own_server, resource="namespaces", name="last"))
    found = {resource: about(own_server, resource=resource) for resource in ("secrets", "configmaps", "tokenreviews", "serviceaccounts")}
    assert all(found.values())
    assert {e["level"] for resource in ("secrets", "configmaps", "tokenreviews") for e in found[resource]} == {"Metadata"}
    accounts = [e for e in found["serviceaccounts"] if e["stage"] == "ResponseComplete"]
    created = next(e for e in accounts if e["verb"] == "create" and "subresource" not in e["objectRef"])
    assert created["requestObject"]["metadata"]["name"] == created["responseObject"]["metadata"]["name"] == "robot"
    patched = next(e for e in accounts if e["verb"] == "patch")
    assert patched["requestObject"] == {"metadata": {"labels": {"a": "b"}}}
    assert {e["stage"] for e in found["secrets"]} == {"RequestReceived", "ResponseComplete"}
    (service,) = about(own_server, resource="services", name="web")
    assert "requestObject" in service and "responseObject" not in service
    assert about(own_server, resource="endpoints") == []
    text = (own_server.data / "audit/audit.log").read_text()
    for word in (CLEAR, token.split(".")[2]):
        assert word not in text


def test_a_watch_is_recorded_when_it_begins_and_when_it_ends(own_server):
    own_server.start()
    own_server.kubectl("get", "configmaps", "--watch-only", "--request-timeout=1s", check=False)

    def stages():
        return [e["stage"] for e in about(own_server, resource="configmaps") if e["verb"] == "watch"]

    own_server.wait_for("both are recorded", lambda: stages() == ["ResponseStarted", "ResponseComplete"])


def test_a_file_that_has_grown_is_put_aside_and_the_oldest_go(own_server):
    own_server.start(audit={"maxSize": "20Ki", "keep": 2})

    def files():
        return sorted(p.name for p in (own_server.data / "audit").iterdir())

    for number in range(20):
        own_server.kubectl("get", "--raw", f"/api/v1/namespaces/default/configmaps?{'a' * 4000}={number}")
    own_server.wait_for("three files are there", lambda: len(files()) == 3)
    newest = own_server.wait_for("the last is recorded", lambda: [e for e in events(own_server) if e["requestURI"].endswith("=19")])
    assert newest
    assert all(path.stat().st_size <= 20 << 10 for path in (own_server.data / "audit").iterdir())


def test_a_wrong_policy_is_refused_with_its_line(own_server):
    own_server.launch(audit=policy(own_server, {"level": "Everything"}))
    assert own_server.ended() == 2
    assert "policy.yaml:4: rules[0].level: expected one of None, Metadata, Request, RequestResponse, got 'Everything'" in own_server.log
    own_server.launch(audit={"policy": "/no/such/policy"})
    assert own_server.ended() == 2
    assert "server.audit.policy: /no/such/policy: No such file or directory" in own_server.log


@pytest.fixture
def small_disk(tmp_path):
    """A filesystem of 64 KiB."""
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", f"audit-{os.getpid()}", str(path)], check=True)
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_a_full_disk_loses_events_and_no_request_and_is_told(own_server, small_disk):
    filler = small_disk / "filler"
    own_server.start(audit={"directory": str(small_disk)})
    filler.write_bytes(b"x" * (40 << 10))
    long = "a" * 3000
    for _ in range(12):
        own_server.kubectl("get", "--raw", f"/api/v1/namespaces/default/configmaps?{long}")
    own_server.wait_for("the loss is told", lambda: "audit events are being lost" in own_server.log)
    lost = [
        line
        for line in own_server.kubectl("get", "--raw", "/metrics").stdout.splitlines()
        if line.startswith("apiserver_audit_error_total{")
    ]
    assert float(lost[0].split()[1]) > 0
    own_server.kubectl("create", "configmap", "map")
    filler.unlink()
    own_server.kubectl("create", "configmap", "after")
    own_server.wait_for("it is written again", lambda: "audit events are written again lost=" in own_server.log)

    def after():
        return [e for e in events(own_server, small_disk) if e.get("objectRef", {}).get("name") == "after"]

    own_server.wait_for("what came after is there, and every line is whole", after)
    own_server.stop()


def test_it_says_what_admission_had_to_say_of_a_request(own_server):
    own_server.start()
    own_server.kubectl("label", "namespace", "default", "pod-security.kubernetes.io/enforce=privileged")
    own_server.kubectl("create", "serviceaccount", "default", check=False)
    own_server.kubectl("run", "one", "--image=example.org/x")
    (made,) = own_server.wait_for("the pod is recorded", lambda: about(own_server, resource="pods", name="one"))
    assert made["annotations"]["pod-security.kubernetes.io/enforce-policy"] == "privileged:latest"
