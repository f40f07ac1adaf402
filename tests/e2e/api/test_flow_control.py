"""API Priority and Fairness on the running API."""

import json

LEVEL = {
    "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
    "kind": "PriorityLevelConfiguration",
    "metadata": {"name": "none"},
    "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 0, "limitResponse": {"type": "Reject"}}},
}
SCHEMA = {
    "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
    "kind": "FlowSchema",
    "metadata": {"name": "slow"},
    "spec": {
        "priorityLevelConfiguration": {"name": "none"},
        "matchingPrecedence": 7,
        "rules": [
            {
                "subjects": [{"kind": "Group", "group": {"name": "system:authenticated"}}],
                "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"], "namespaces": ["kube-system"]}],
            }
        ],
    },
}


async def test_a_request_is_told_where_it_belongs_and_refused_where_there_is_no_seat(api):
    await api.kubectl("create", "serviceaccount", "robot")
    token = (await api.kubectl("create", "token", "robot")).stdout.strip()
    rights = ("create", "clusterrolebinding", "robot", "--clusterrole=cluster-admin", "--serviceaccount=default:robot")
    await api.kubectl(*rights)
    schemas = (await api.kubectl("get", "flowschemas")).stdout
    assert "service-accounts" in schemas and "workload-low" in schemas and "9000" in schemas

    server = ("--server", f"https://127.0.0.1:{api.port}", "--certificate-authority", str(api.root / "ca.crt"))
    robot = ("--kubeconfig", "/dev/null", *server, "--token", token)

    async def ask():
        return await api.kubectl(*robot, "get", "cm", "moorings", "-n", "kube-system", "-v=8", check=False)

    uid = (await api.get("flowschema", "service-accounts"))["metadata"]["uid"]
    assert uid in (await ask()).stderr
    await api.kubectl("apply", "-f", "-", stdin=json.dumps(LEVEL))
    await api.kubectl("apply", "-f", "-", stdin=json.dumps(SCHEMA))
    command = (*robot, "get", "--raw", "/api/v1/namespaces/kube-system/configmaps/moorings", "--request-timeout=2s", "-v=6")
    refused = await api.kubectl(*command, check=False)
    assert refused.returncode and "429" in refused.stderr, refused.stderr
    metrics = (await api.kubectl("get", "--raw", "/metrics")).stdout
    rejected = 'apiserver_flowcontrol_rejected_requests_total{flow_schema="slow",priority_level="none",reason="concurrency-limit"}'
    assert rejected in metrics
    await api.kubectl("delete", "flowschema", "slow")
    assert (await ask()).returncode == 0
