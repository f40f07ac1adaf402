"""`kubectl auth`, impersonation, tokens and escalation, by the unmodified kubectl against `moorings server`."""

from __future__ import annotations

import base64
import json
import secrets

import yaml

RBAC = "rbac.authorization.k8s.io/v1"


def role(name, rules, kind="Role", namespace="default"):
    metadata = {"name": name} | ({"namespace": namespace} if kind == "Role" else {})
    return {"apiVersion": RBAC, "kind": kind, "metadata": metadata, "rules": rules}


def binding(name, role_kind, role_name, user, namespace="default"):
    """Return a binding for a user: in a namespace, or for all with namespace ""."""
    kind = "RoleBinding" if namespace else "ClusterRoleBinding"
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role_name}
    return {"apiVersion": RBAC, "kind": kind, "metadata": metadata, "roleRef": reference, "subjects": [{"kind": "User", "name": user}]}


READ_PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}
ALL_ROLES = {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["*"], "verbs": ["get", "list", "create", "update", "patch"]}


def can(server, *words):
    return server.kubectl("auth", "can-i", *words, check=False).stdout.strip()


def test_can_i_and_its_list_say_what_rbac_says(server):
    log = {"apiGroups": [""], "resources": ["pods/log"], "resourceNames": ["web"], "verbs": ["get"]}
    scale = {"apiGroups": ["apps"], "resources": ["*/scale"], "verbs": ["update"]}
    server.apply(role("reader", [READ_PODS, log, scale]), binding("reader", "Role", "reader", "ann"))
    ann = ("--as=ann", "-n", "default")
    assert can(server, "list", "pods", *ann) == "yes"
    assert can(server, "list", "pods", "--as=ann", "-n", "kube-system") == "no"
    assert can(server, "delete", "pods", *ann) == "no"
    assert can(server, "get", "pods/web", "--subresource=log", *ann) == "yes"
    assert can(server, "get", "pods/other", "--subresource=log", *ann) == "no"
    assert can(server, "update", "deployments.apps", "--subresource=scale", *ann) == "yes"
    assert can(server, "get", "/healthz", "--as=ann") == "yes"
    assert can(server, "get", "/metrics", "--as=ann") == "no"
    listed = server.kubectl("auth", "can-i", "--list", *ann).stdout
    assert [line.split() for line in listed.splitlines() if line.startswith("pods ")] == [["pods", "[]", "[]", "[get", "list]"]]
    refused = server.kubectl("delete", "pod", "web", *ann, check=False)
    assert refused.returncode == 1
    text = 'pods "web" is forbidden: User "ann" cannot delete resource "pods" in API group "" in the namespace "default"'
    assert f"Error from server (Forbidden): {text}" in refused.stderr


def test_an_impersonated_user_has_its_own_groups_and_rights_and_not_the_caller_s(server):
    words = ("--as=bob", "--as-group=dev", "--as-group=ops", "--as-uid=u-7", "--as-user-extra=scopes=a", "--as-user-extra=scopes=b")
    user = json.loads(server.kubectl("auth", "whoami", *words, "-o", "json").stdout)["status"]["userInfo"]
    assert user == {"username": "bob", "uid": "u-7", "groups": ["dev", "ops", "system:authenticated"], "extra": {"scopes": ["a", "b"]}}
    account = json.loads(server.kubectl("auth", "whoami", "--as=system:serviceaccount:x:y", "-o", "json").stdout)["status"]["userInfo"]
    assert account["groups"] == ["system:serviceaccounts", "system:serviceaccounts:x", "system:authenticated"]
    assert "forbidden" in server.kubectl("get", "nodes", "--as=bob", check=False).stderr


def test_every_part_of_an_impersonation_must_be_allowed(server):
    users = {"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"], "resourceNames": ["carl"]}
    extra = {"apiGroups": ["authentication.k8s.io"], "resources": ["userextras/scopes"], "verbs": ["impersonate"], "resourceNames": ["a"]}
    server.apply(role("actor", [users, extra], "ClusterRole"), binding("actor", "ClusterRole", "actor", "dora", ""))
    dora = server.with_certificate("dora")
    who = server.kubectl(
        "auth", "whoami", "--as=carl", "--as-user-extra=scopes=a", "-o", "jsonpath={.status.userInfo.username}", config=dora
    )
    assert who.stdout == "carl"
    for words, resource, kind in (
        (["--as=anybody"], "users", 'users "anybody"'),
        (["--as=carl", "--as-group=system:masters"], "groups", 'groups "system:masters"'),
        (["--as=carl", "--as-uid=1"], "uids", 'uids.authentication.k8s.io "1"'),
        (["--as=carl", "--as-user-extra=scopes=b"], "userextras/scopes", 'userextras.authentication.k8s.io "b"'),
    ):
        refused = server.kubectl("get", "pods", *words, config=dora, check=False)
        assert f'{kind} is forbidden: User "dora" cannot impersonate resource "{resource}"' in refused.stderr, words


def test_nobody_gives_away_by_a_role_what_he_does_not_hold(server):
    server.apply(role("maker", [READ_PODS, ALL_ROLES]), binding("maker", "Role", "maker", "eve"))
    eve = server.with_certificate("eve")
    server.kubectl("create", "-f", "-", stdin=yaml.safe_dump(role("same", [READ_PODS])), config=eve)
    more = role("more", [READ_PODS, {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]}])
    refused = server.kubectl("create", "-f", "-", stdin=yaml.safe_dump(more), config=eve, check=False)
    assert 'user "eve" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:' in refused.stderr
    assert '{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}' in refused.stderr
    patch = json.dumps({"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]})
    assert "not currently held" in server.kubectl("patch", "role", "same", "-p", patch, config=eve, check=False).stderr
    server.kubectl("label", "role", "same", "a=b", config=eve)
    escalate = {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["escalate"]}
    server.apply(role("escalate", [escalate]), binding("escalate", "Role", "escalate", "eve"))
    server.kubectl("create", "-f", "-", stdin=yaml.safe_dump(more), config=eve)


def test_nobody_binds_a_role_whose_rights_he_does_not_hold_unless_he_may_bind_it(server):
    server.apply(role("binder", [READ_PODS, ALL_ROLES]), binding("binder", "Role", "binder", "finn"))
    finn = server.with_certificate("finn")

    def bind(name, role_name):
        manifest = yaml.safe_dump(binding(name, "ClusterRole", role_name, "gus"))
        return server.kubectl("create", "-f", "-", stdin=manifest, config=finn, check=False)

    assert "not currently held" in bind("view", "view").stderr
    assert 'rolebindings.rbac.authorization.k8s.io "none" not found' in bind("none", "none").stderr
    allowed = {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "resourceNames": ["view"], "verbs": ["bind"]}
    server.apply(role("bind-view", [allowed]), binding("bind-view", "Role", "bind-view", "finn"))
    assert bind("view", "view").returncode == 0
    assert "not currently held" in bind("edit", "edit").stderr
    assert can(server, "list", "pods", "--as=gus") == "yes"


def test_aggregated_roles_have_the_rules_of_those_they_select(server):
    def rules(name):
        return server.get("clusterrole", name).get("rules") or []

    server.wait_for("view has rules", lambda: rules("view"))
    assert can(server, "get", "nodes", "--as=hal", "--as-group=viewers") == "no"
    server.kubectl("create", "clusterrolebinding", "viewers", "--clusterrole=view", "--group=viewers")
    watchmen = role("watchmen", [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}], "ClusterRole")
    watchmen["metadata"]["labels"] = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
    server.apply(watchmen)
    for name in ("view", "edit", "admin"):
        server.wait_for(f"{name} has the new rule", lambda name=name: watchmen["rules"][0] in rules(name))
    assert can(server, "get", "nodes", "--as=hal", "--as-group=viewers") == "yes"
    server.kubectl("delete", "clusterrole", "watchmen")
    for name in ("view", "edit", "admin"):
        server.wait_for(f"{name} has lost the rule", lambda name=name: watchmen["rules"][0] not in rules(name))


def test_a_token_ends_with_the_pod_that_it_is_bound_to(server):
    server.wait_for("there is a default account", lambda: "default" in server.kubectl("get", "sa", "-o", "name").stdout)
    server.kubectl("create", "serviceaccount", "robot")
    spec = {"serviceAccountName": "robot", "containers": [{"name": "main", "image": "example.org/x"}], "terminationGracePeriodSeconds": 0}
    server.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bound"}, "spec": spec})
    uid = server.get("pod", "bound")["metadata"]["uid"]
    words = ("create", "token", "robot", "--bound-object-kind=Pod", "--bound-object-name=bound")
    robot = server.with_token(server.kubectl(*words, f"--bound-object-uid={uid}", "--duration=20m").stdout.strip())
    user = json.loads(server.kubectl("auth", "whoami", "-o", "json", config=robot).stdout)["status"]["userInfo"]
    assert user["username"] == "system:serviceaccount:default:robot"
    assert user["extra"]["authentication.kubernetes.io/pod-uid"] == [uid]
    assert user["extra"]["authentication.kubernetes.io/credential-id"][0].startswith("JTI=")
    wrong = server.kubectl(*words, "--bound-object-uid=other", check=False)
    assert "the UID in the bound object reference (other) does not match the UID in record" in wrong.stderr
    assert "may not specify a duration less than 10 minutes" in server.kubectl(*words[:3], "--duration=5m", check=False).stderr
    server.kubectl("delete", "pod", "bound")
    assert "Unauthorized" in server.kubectl("auth", "whoami", config=robot, check=False).stderr


def review(server, token, *audiences):
    spec = {"token": token, "audiences": list(audiences)}
    body = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec})
    return json.loads(server.kubectl("create", "-f", "-", "-o", "json", stdin=body).stdout)["status"]


def test_a_review_tells_whose_a_token_is_and_for_whom(server):
    server.kubectl("create", "serviceaccount", "speaker")
    token = server.kubectl("create", "token", "speaker", "--audience=vault", "--audience=other").stdout.strip()
    told = review(server, token, "vault", "nobody")
    assert told["authenticated"] is True
    assert (told["user"]["username"], told["audiences"]) == ("system:serviceaccount:default:speaker", ["vault"])
    for status in (review(server, token), review(server, token[:-6] + "AAAAAA"), review(server, "nonsense")):
        assert not status.get("authenticated")
        assert "invalid" in status["error"]
    assert "Unauthorized" in server.kubectl("get", "pods", config=server.with_token(token), check=False).stderr


def test_a_machine_joins_by_a_bootstrap_token_as_long_as_that_is_good(server):
    identity, secret = secrets.token_hex(3), secrets.token_hex(8)

    def put(**data):
        full = {
            "token-id": identity,
            "token-secret": secret,
            "usage-bootstrap-authentication": "true",
            "auth-extra-groups": "system:bootstrappers:nodes",
            **data,
        }
        encoded = {k: base64.b64encode(v.encode()).decode() for k, v in full.items()}
        metadata = {"name": f"bootstrap-token-{identity}", "namespace": "kube-system"}
        manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "bootstrap.kubernetes.io/token", "data": encoded}
        server.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=yaml.safe_dump(manifest))
        return server.kubectl("auth", "whoami", "-o", "json", config=joining, check=False)

    joining = server.with_token(f"{identity}.{secret}", "joining")
    user = json.loads(put().stdout)["status"]["userInfo"]
    assert user["username"] == f"system:bootstrap:{identity}"
    assert user["groups"] == ["system:bootstrappers", "system:bootstrappers:nodes", "system:authenticated"]
    for wrong in (
        {"expiration": "2020-01-01T00:00:00Z"},
        {"usage-bootstrap-authentication": "false"},
        {"token-secret": "0" * 16},
        {"auth-extra-groups": "system:masters"},
    ):
        assert "Unauthorized" in put(**wrong).stderr, wrong
    assert put(expiration="2099-01-01T00:00:00Z").returncode == 0


def test_reconcile_adds_what_is_missing_to_roles_and_bindings(server):
    server.apply(role("kept", [READ_PODS]))
    wanted = [
        role("kept", [READ_PODS, {"apiGroups": [""], "resources": ["services"], "verbs": ["get"]}]),
        binding("kept", "Role", "kept", "ida"),
    ]
    server.kubectl("auth", "reconcile", "-f", "-", stdin=yaml.safe_dump_all(wanted))
    assert can(server, "get", "services", "--as=ida") == "yes"


def test_what_a_cluster_has_from_birth_is_put_right_at_every_start_but_for_what_is_protected(own_server):
    own_server.start()
    own_server.kubectl("delete", "clusterrole", "system:discovery")
    own_server.kubectl("patch", "clusterrole", "system:basic-user", "-p", json.dumps({"rules": []}))
    added = {"rules": [{"apiGroups": ["example.org"], "resources": ["*"], "verbs": ["get"]}]}
    own_server.kubectl("patch", "clusterrole", "system:node-proxier", "-p", json.dumps(added))
    own_server.kubectl("annotate", "--overwrite", "clusterrole", "system:monitoring", "rbac.authorization.kubernetes.io/autoupdate=false")
    own_server.kubectl("patch", "clusterrole", "system:monitoring", "-p", json.dumps({"rules": []}))
    own_server.stop()
    own_server.start()
    assert own_server.get("clusterrole", "system:discovery")["rules"]
    assert own_server.get("clusterrole", "system:basic-user")["rules"]
    proxier = own_server.get("clusterrole", "system:node-proxier")["rules"]
    assert len(proxier) > 1 and added["rules"][0] in proxier
    assert not own_server.get("clusterrole", "system:monitoring").get("rules")


def test_a_narrow_right_to_act_as_somebody_holds_for_the_named_verbs_alone(server):
    users = {"apiGroups": ["authentication.k8s.io"], "resources": ["users"], "verbs": ["impersonate:user-info"], "resourceNames": ["kim"]}
    on = {"apiGroups": [""], "resources": ["pods"], "verbs": ["impersonate-on:user-info:list"]}
    everything = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "delete"]}
    for name, rules, who in (("narrow", [users, on], "jo"), ("pods", [everything], "kim")):
        server.apply(role(name, rules, "ClusterRole"), binding(name, "ClusterRole", name, who, ""))
    jo = server.with_certificate("jo")
    assert server.kubectl("get", "pods", "--as=kim", config=jo).returncode == 0
    for words, why in (
        (["get", "pods"], 'User "jo" cannot list resource "pods"'),
        (["delete", "pod", "x", "--as=kim"], 'User "jo" cannot impersonate-on:user-info:delete resource "pods"'),
        (["get", "pods", "--as=lee"], 'User "jo" cannot impersonate:user-info resource "users" in API group "authentication.k8s.io"'),
        (["get", "pods", "--as=kim", "--as-group=system:masters"], "impersonating the system:masters group is not allowed"),
    ):
        assert why in server.kubectl(*words, config=jo, check=False).stderr, words


def test_a_secret_that_asks_for_a_token_gets_one_that_is_the_account_until_the_secret_goes(server):
    server.kubectl("create", "serviceaccount", "keeper")
    annotations = {"kubernetes.io/service-account.name": "keeper"}
    metadata = {"name": "keeper-token", "namespace": "default", "annotations": annotations}
    server.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "kubernetes.io/service-account-token"})
    words = ("secret", "keeper-token", "-o", "jsonpath={.data.token}")
    server.wait_for("the secret has a token", lambda: server.kubectl("get", *words).stdout)
    data = server.get("secret", "keeper-token")["data"]
    assert base64.b64decode(data["ca.crt"]).startswith(b"-----BEGIN CERTIFICATE") and base64.b64decode(data["namespace"]) == b"default"
    whoever = server.with_token(base64.b64decode(data["token"]).decode(), "keeper")
    user = json.loads(server.kubectl("auth", "whoami", "-o", "json", config=whoever).stdout)["status"]["userInfo"]
    assert user["username"] == "system:serviceaccount:default:keeper"
    server.kubectl("delete", "secret", "keeper-token")
    refused = server.kubectl("auth", "whoami", config=whoever, check=False)
    assert refused.returncode == 1 and "Unauthorized" in refused.stderr
