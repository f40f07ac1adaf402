"""Webhooks as clients meet them: a real API server asks a real HTTPS server."""

from __future__ import annotations

import asyncio
import json

import pytest

from .raw_client import Client
from .webhook_server import configuration, deny, patch, webhook, webhook_server

MAPS = "/api/v1/namespaces/default/configmaps"
REGISTRATION = "/apis/admissionregistration.k8s.io/v1"


def config_map(name, labels=None, **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels or {}}, "data": data}


@pytest.fixture
async def hooks(tmp_path):
    async with webhook_server(tmp_path) as server:
        yield server


@pytest.fixture
async def ask(api):
    async with Client(api) as client:
        yield client


async def register(ask, kind, name, *webhooks):
    code, answer = await ask("POST", f"{REGISTRATION}/{kind.lower()}webhookconfigurations", configuration(kind, name, *webhooks))
    assert code == 201, answer


async def test_a_webhook_sees_the_whole_request_and_changes_the_object(api, ask, hooks):
    hooks.answers["/add"] = {**patch({"op": "add", "path": "/data/added", "value": "yes"}), "warnings": ["mind the gap"]}
    await register(ask, "Mutating", "add", webhook("add", hooks.client("/add")))
    async with ask.open("POST", f"{MAPS}?fieldManager=me", json.dumps(config_map("a", x="1")).encode()) as answer:
        assert answer.status == 201
        assert (await answer.json())["data"] == {"x": "1", "added": "yes"}
        assert answer.headers.getall("Warning") == ['299 - "mind the gap"']
    (asked,) = hooks.requests("/add")
    assert asked["kind"] == asked["requestKind"] == {"group": "", "version": "v1", "kind": "ConfigMap"}
    assert asked["resource"] == asked["requestResource"] == {"group": "", "version": "v1", "resource": "configmaps"}
    assert (asked["operation"], asked["name"], asked["namespace"], asked["dryRun"]) == ("CREATE", "a", "default", False)
    assert asked["userInfo"]["username"] == "admin"
    assert "system:masters" in asked["userInfo"]["groups"]
    assert asked["object"]["data"] == {"x": "1"}
    assert asked["oldObject"] is None
    assert (asked["options"]["kind"], asked["options"]["fieldManager"]) == ("CreateOptions", "me")
    stored = await api.get("configmap", "a")
    assert stored["data"] == {"x": "1", "added": "yes"}


async def test_what_a_webhook_makes_of_an_object_is_defaulted_and_checked(ask, hooks):
    port = {"op": "add", "path": "/spec/ports/-", "value": {"port": 81, "name": "b"}}
    hooks.answers["/port"] = patch(port)
    await register(ask, "Mutating", "port", webhook("port", hooks.client("/port"), resources=["services"]))
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80, "name": "a"}]}}
    code, answer = await ask("POST", "/api/v1/namespaces/default/services", service)
    assert code == 201
    assert [(p["port"], p["protocol"], p["targetPort"]) for p in answer["spec"]["ports"]] == [(80, "TCP", 80), (81, "TCP", 81)]
    hooks.answers["/port"] = patch({**port, "value": {"port": 0, "name": "b"}})
    code, answer = await ask("POST", "/api/v1/namespaces/default/services", {**service, "metadata": {"name": "t"}})
    assert (code, answer["reason"]) == (422, "Invalid")


async def test_what_a_webhook_adds_that_the_kind_has_not_is_dropped_and_a_wrong_type_refused(ask, hooks):
    hooks.answers["/odd"] = patch({"op": "add", "path": "/nothing", "value": {"a": 1}}, {"op": "add", "path": "/data/y", "value": "2"})
    await register(ask, "Mutating", "odd", webhook("odd", hooks.client("/odd")))
    code, answer = await ask("POST", MAPS, config_map("a", x="1"))
    assert (code, answer["data"], answer.get("nothing")) == (201, {"x": "1", "y": "2"}, None)
    hooks.answers["/odd"] = patch({"op": "add", "path": "/data/y", "value": 2})
    code, answer = await ask("POST", MAPS, config_map("b", x="1"))
    assert (code, answer["reason"]) == (500, "InternalError")


async def test_a_refusal_reaches_the_client_as_it_was_said(api, ask, hooks):
    hooks.answers["/no"] = deny("not today", code=418, reason="Teapot", details={"causes": [{"message": "tea"}]})
    await register(ask, "Validating", "no", webhook("no", hooks.client("/no"), operations=["*"]))
    code, answer = await ask("POST", MAPS, config_map("a"))
    assert (code, answer["reason"]) == (418, "Teapot")
    assert answer["message"] == 'admission webhook "no.example.org" denied the request: not today'
    assert answer["details"]["causes"] == [{"message": "tea"}]
    refused = await api.kubectl("create", "configmap", "b", check=False)
    assert 'admission webhook "no.example.org" denied the request: not today' in refused.stderr
    assert (await ask("GET", MAPS))[1]["items"] == []


async def test_updates_and_deletions_show_what_was_there(ask, hooks):
    await register(ask, "Validating", "see", webhook("see", hooks.client("/see"), operations=["UPDATE", "DELETE"]))
    await ask("POST", MAPS, config_map("a", x="1"))
    merge = {"Content-Type": "application/merge-patch+json"}
    assert (await ask("PATCH", f"{MAPS}/a", {"data": {"x": "2"}}, merge))[0] == 200
    hooks.answers["/see"] = lambda request: deny("keep it") if request["operation"] == "DELETE" else {"allowed": True}
    code, answer = await ask("DELETE", f"{MAPS}/a")
    assert (code, answer["message"]) == (400, 'admission webhook "see.example.org" denied the request: keep it')
    code, answer = await ask("DELETE", MAPS)
    assert code == 400, "a deletion of all asks about each"
    update, *deletions = hooks.requests("/see")
    assert (update["oldObject"]["data"], update["object"]["data"]) == ({"x": "1"}, {"x": "2"})
    assert all(d["oldObject"]["data"] == {"x": "2"} and d["object"] is None for d in deletions)
    assert (await ask("GET", f"{MAPS}/a"))[0] == 200


async def test_the_failure_policy_says_what_a_broken_webhook_means(ask, hooks):
    hooks.answers |= {"/nonsense": b"x", "/error": 500, "/other": {"allowed": True, "uid": "x"}}
    hooks.answers["/patch"] = {"allowed": True, "patchType": "JSONPatch"}
    nowhere = {"url": "https://127.0.0.1:1/x", "caBundle": hooks.bundle}
    for policy, code in (("Fail", 500), ("Ignore", 201)):
        for what, client in {
            "nobody there": nowhere,
            "another's certificate": hooks.client("/ok", bundle=""),
            "nonsense": hooks.client("/nonsense"),
            "an error": hooks.client("/error"),
            "another's answer": hooks.client("/other"),
            "a patch of nothing": hooks.client("/patch"),
        }.items():
            name = f"{what}-{policy}".lower().replace(" ", "-").replace("'", "")
            hooks.answers |= {
                "/nonsense": b"x",
                "/error": 500,
                "/other": {"allowed": True, "uid": "x"},
                "/patch": {"allowed": True, "patchType": "JSONPatch"},
            }
            await register(ask, "Mutating", name, webhook("broken", client, failurePolicy=policy))
            got, answer = await ask("POST", MAPS, config_map(name))
            assert got == code, (what, policy, answer)
            if policy == "Fail":
                assert answer["message"].startswith('Internal error occurred: failed calling webhook "broken.example.org": ')
            assert (await ask("DELETE", f"{REGISTRATION}/mutatingwebhookconfigurations/{name}"))[0] == 200


async def test_a_webhook_that_does_not_answer_in_its_time_has_failed(ask, hooks):
    hooks.hold.clear()
    await register(ask, "Validating", "slow", webhook("slow", hooks.client("/slow"), timeoutSeconds=1))
    code, answer = await ask("POST", MAPS, config_map("a"))
    assert code == 500
    assert "/slow?timeout=1s" in answer["message"]
    assert answer["message"].endswith("context deadline exceeded")
    hooks.hold.set()


async def test_who_is_asked_is_decided_by_rules_selectors_and_conditions(ask, hooks):
    def only(name, **fields):
        return webhook(name, hooks.client(f"/{name}"), **fields)

    wanted = {"matchLabels": {"wanted": "yes"}}
    await register(
        ask,
        "Validating",
        "many",
        only("secrets", resources=["secrets"]),
        only("updates", operations=["UPDATE"]),
        only("everything", resources=["*"], groups=["*"], versions=["*"]),
        only("cluster", resources=["*/*"], groups=["*"], versions=["*"], rules=None) | {"rules": [_all("Cluster")]},
        only("object", objectSelector=wanted),
        only("namespace", namespaceSelector=wanted),
        only("condition", matchConditions=[{"name": "c", "expression": "object.data.x == '1' && request.userInfo.username == 'admin'"}]),
        only("other-condition", matchConditions=[{"name": "c", "expression": "object.data.x == '2'"}]),
    )
    await ask("POST", MAPS, config_map("a", x="1"))
    assert {path for path, _ in hooks.asked} == {"/everything", "/condition"}
    hooks.asked.clear()
    await ask(
        "POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "labels": {"wanted": "yes"}}}
    )
    assert {path for path, _ in hooks.asked} == {"/everything", "/cluster"}
    hooks.asked.clear()
    await ask("POST", MAPS.replace("default", "n"), config_map("a", {"wanted": "yes"}, x="2"))
    assert {path for path, _ in hooks.asked} == {"/everything", "/object", "/namespace", "/other-condition"}


def _all(scope):
    return {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "scope": scope}


async def test_a_condition_without_a_value_fails_as_the_policy_says(ask, hooks):
    wrong = [{"name": "c", "expression": "object.data.nothing == 'x'"}]
    await register(ask, "Validating", "open", webhook("open", hooks.client("/open"), matchConditions=wrong, failurePolicy="Ignore"))
    assert (await ask("POST", MAPS, config_map("a", x="1")))[0] == 201
    await register(ask, "Validating", "closed", webhook("closed", hooks.client("/closed"), matchConditions=wrong))
    code, answer = await ask("POST", MAPS, config_map("b", x="1"))
    assert (code, answer["reason"]) == (403, "Forbidden")
    assert "no such key: nothing" in answer["message"]
    assert hooks.asked == []


async def test_webhooks_are_asked_by_name_and_again_when_another_has_changed_the_object(ask, hooks):
    def count(name):
        def answer(request):
            seen = request["object"]["data"].get("seen", "")
            return patch({"op": "add", "path": "/data/seen", "value": seen + name}) if name not in seen else {"allowed": True}

        return answer

    hooks.answers |= {f"/{name}": count(name) for name in "abc"}
    fields = {"a": {"reinvocationPolicy": "IfNeeded"}, "b": {}, "c": {"reinvocationPolicy": "IfNeeded"}}
    for name in "cba":
        await register(ask, "Mutating", name, webhook(name, hooks.client(f"/{name}"), **fields[name]))
    code, answer = await ask("POST", MAPS, config_map("x", y="1"))
    assert (code, answer["data"]["seen"]) == (201, "abc")
    assert [path for path, _ in hooks.asked] == ["/a", "/b", "/c", "/a"]


async def test_a_dry_run_asks_only_those_that_have_no_side_effects(ask, hooks):
    await register(ask, "Validating", "fine", webhook("fine", hooks.client("/fine"), sideEffects="NoneOnDryRun"))
    assert (await ask("POST", f"{MAPS}?dryRun=All", config_map("a")))[0] == 201
    assert hooks.requests("/fine")[0]["dryRun"] is True
    # the API takes only harmless ones; those of older clients are in stores
    code, answer = await ask("POST", f"{REGISTRATION}/validatingwebhookconfigurations", _harmful(hooks))
    assert (code, answer["reason"]) == (422, "Invalid")


def _harmful(hooks):
    return configuration("Validating", "harmful", webhook("harmful", hooks.client("/harmful"), sideEffects="Some"))


async def test_no_webhook_keeps_itself_from_being_taken_away(ask, hooks):
    everything = {"resources": ["*/*"], "groups": ["*"], "versions": ["*"], "operations": ["*"]}
    hooks.answers["/no"] = deny("never")
    await register(ask, "Validating", "no", webhook("no", hooks.client("/no"), **everything))
    assert (await ask("POST", MAPS, config_map("a")))[0] == 400
    assert (await ask("DELETE", f"{REGISTRATION}/validatingwebhookconfigurations/no"))[0] == 200
    assert (await ask("POST", MAPS, config_map("a")))[0] == 201


async def test_one_version_of_a_resource_is_as_good_as_another(ask, hooks):
    scaler = {"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"}}
    scaler["spec"] = {"maxReplicas": 2, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}
    place = {"resources": ["horizontalpodautoscalers"], "groups": ["autoscaling"], "versions": ["v2"]}
    await register(ask, "Validating", "same", webhook("same", hooks.client("/same"), **place))
    await register(ask, "Validating", "exact", webhook("exact", hooks.client("/exact"), **place, matchPolicy="Exact"))
    assert (await ask("POST", "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers", scaler))[0] == 201
    assert hooks.requests("/exact") == []
    (asked,) = hooks.requests("/same")
    assert (asked["kind"]["version"], asked["requestKind"]["version"], asked["object"]["apiVersion"]) == ("v2", "v1", "autoscaling/v2")


async def test_subresources_and_connections_are_asked_about(ask, hooks):
    await ask("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    spec = {"containers": [{"name": "c", "image": "i"}]}
    await ask("POST", "/api/v1/namespaces/default/pods", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
    below = {"resources": ["pods/*", "deployments/scale"], "groups": ["*"], "operations": ["*"]}
    hooks.answers["/below"] = lambda request: deny("no") if request["operation"] == "CONNECT" else {"allowed": True}
    await register(ask, "Validating", "below", webhook("below", hooks.client("/below"), **below))
    pod = "/api/v1/namespaces/default/pods/p"
    code, answer = await ask("POST", f"{pod}/exec?command=ls&command=-l&stdin=true&container=c")
    assert (code, answer["message"]) == (400, 'admission webhook "below.example.org" denied the request: no')
    assert (await ask("GET", f"{pod}/proxy/x"))[0] == 400
    merge = {"Content-Type": "application/merge-patch+json"}
    assert (await ask("PATCH", f"{pod}/status", {"status": {"phase": "Failed"}}, merge))[0] == 200
    assert (await ask("POST", f"{pod}/eviction", {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}))[0] == 201
    told = [(r["subResource"], r["operation"], r["kind"]["kind"]) for r in hooks.requests("/below")]
    assert told == [
        ("exec", "CONNECT", "PodExecOptions"),
        ("proxy", "CONNECT", "PodProxyOptions"),
        ("status", "UPDATE", "Pod"),
        ("eviction", "CREATE", "Eviction"),
    ]
    assert hooks.requests("/below")[0]["object"]["command"] == ["ls", "-l"]


async def test_tokens_are_asked_about(api, ask, hooks):
    await api.kubectl("create", "serviceaccount", "robot")
    place = {"resources": ["serviceaccounts/token"], "operations": ["CREATE"]}
    asked = {True: deny("too long"), False: {"allowed": True}}
    hooks.answers["/token"] = lambda request: asked[request["object"]["spec"].get("expirationSeconds", 0) > 600]
    await register(ask, "Validating", "token", webhook("token", hooks.client("/token"), **place))
    refused = await api.kubectl("create", "token", "robot", "--duration=1h", check=False)
    assert "denied the request: too long" in refused.stderr
    assert (await api.kubectl("create", "token", "robot", "--duration=10m")).stdout.count(".") == 2
    assert {r["kind"]["kind"] for r in hooks.requests("/token")} == {"TokenRequest"}


async def test_many_writes_share_few_connections(ask, hooks):
    await register(ask, "Validating", "ok", webhook("ok", hooks.client("/ok")))
    answers = await asyncio.gather(*(ask("POST", MAPS, config_map(f"m{i}")) for i in range(40)))
    assert {code for code, _ in answers} == {201}
    assert len(hooks.requests("/ok")) == 40
