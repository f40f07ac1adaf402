"""Environment variables of containers, and the limits that their cgroups keep."""

from pathlib import Path

import pytest

from .pods_support import config_map, container, pod, room, secret

pytestmark = pytest.mark.lab
RESOURCES = {"requests": {"cpu": "100m", "memory": "32Mi"}, "limits": {"cpu": "250m", "memory": "64Mi"}}


def field(name, path):
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def resource(name, what, divisor=None):
    return {"name": name, "valueFrom": {"resourceFieldRef": {"resource": what} | ({"divisor": divisor} if divisor else {})}}


def key(name, kind, source, entry, optional=False):
    return {"name": name, "valueFrom": {f"{kind}KeyRef": {"name": source, "key": entry, "optional": optional}}}


ENV = [
    {"name": "PLAIN", "value": "word"},
    {"name": "EXPANDED", "value": "$(PLAIN)-$(COLOUR)-$$(PLAIN)-$(MISSING)"},
    key("FROM_MAP", "configMap", "settings", "COLOUR"),
    key("FROM_SECRET", "secret", "hidden", "PASSWORD"),
    key("ABSENT", "configMap", "settings", "nothing", optional=True),
    key("ABSENT_TOO", "secret", "no-such-secret", "nothing", optional=True),
    field("NAME", "metadata.name"),
    field("UID_", "metadata.uid"),
    field("LABEL", "metadata.labels['app']"),
    field("NODE", "spec.nodeName"),
    field("ACCOUNT", "spec.serviceAccountName"),
    field("IP", "status.podIP"),
    field("HOST", "status.hostIP"),
    resource("CPU", "limits.cpu", "1m"),
    resource("CPU_CORES", "limits.cpu"),
    resource("MEMORY", "requests.memory", "1Mi"),
]
FROM = [
    {"configMapRef": {"name": "settings"}},
    {"prefix": "S_", "secretRef": {"name": "hidden"}},
    {"configMapRef": {"name": "no-such-map", "optional": True}},
]
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "back-end"},
    "spec": {"selector": {"app": "none"}, "ports": [{"name": "web", "port": 81}]},
}


@pytest.fixture(scope="module")
def pods(lab):
    with room(lab) as made:
        made.apply(SERVICE, config_map("settings", COLOUR="green"), secret("hidden", PASSWORD="s3cret"))
        eater = "exec tail -n 1 /dev/zero"
        greeting = [{"name": "GREETING", "value": "hi"}]
        missing = [key("X", "configMap", "comes-later", "a")]
        made.apply(
            pod("env", container(env=ENV, envFrom=FROM, args=["ignored"], resources=RESOURCES), labels={"app": "web"}),
            pod("args", {**container(env=greeting), "command": ["echo"], "args": ["$(GREETING)", "$$(GREETING)"]}, restartPolicy="Never"),
            pod("no-links", container(), enableServiceLinks=False),
            pod("missing", container(env=missing)),
            pod("eater", container(script=eater, resources={"limits": {"memory": "32Mi"}}), restartPolicy="Never"),
            pod("guaranteed", container(resources={"limits": {"cpu": "100m", "memory": "32Mi"}})),
        )
        yield made


@pytest.fixture(scope="module")
def variables(pods):
    pods.ready("env")
    return dict(line.split("=", 1) for line in pods.sh("env", "env").splitlines())


def test_variables_come_from_values_maps_and_secrets(variables):
    assert variables["PLAIN"] == "word"
    assert variables["EXPANDED"] == "word-green-$(PLAIN)-$(MISSING)"
    assert (variables["FROM_MAP"], variables["FROM_SECRET"]) == ("green", "s3cret")
    assert (variables["COLOUR"], variables["S_PASSWORD"]) == ("green", "s3cret")
    assert not {"ABSENT", "ABSENT_TOO"} & variables.keys()


def test_variables_tell_a_container_of_its_pod_and_its_limits(pods, variables):
    found = pods.get("env")
    told = [variables[name] for name in ("NAME", "UID_", "LABEL", "NODE", "ACCOUNT", "IP", "HOST")]
    metadata, spec, status = found["metadata"], found["spec"], found["status"]
    assert told == [metadata["name"], metadata["uid"], "web", spec["nodeName"], "default", status["podIP"], status["hostIP"]]
    assert (variables["CPU"], variables["CPU_CORES"], variables["MEMORY"]) == ("250", "1", "32")


def test_variables_tell_of_services_unless_the_pod_does_not_want_them(pods, variables):
    address = pods.get("back-end", "service")["spec"]["clusterIP"]
    assert variables["BACK_END_SERVICE_HOST"] == address
    assert variables["BACK_END_PORT_81_TCP"] == f"tcp://{address}:81"
    assert "KUBERNETES_SERVICE_HOST" in variables
    pods.ready("no-links")
    plain = pods.sh("no-links", "env")
    assert "BACK_END" not in plain
    assert "KUBERNETES_SERVICE_HOST" in plain


def test_arguments_are_expanded(pods):
    pods.phase("args", "Succeeded")
    assert pods.logs("args") == "hi $(GREETING)\n"


def test_a_pod_waits_for_a_config_map_that_comes_later(pods):
    status = pods.waiting("missing", "CreateContainerConfigError")
    assert status["state"]["waiting"]["message"] == 'configmap "comes-later" not found'
    pods.apply(config_map("comes-later", a="here"))
    pods.ready("missing")
    assert pods.sh("missing", "echo $X") == "here"


def test_a_container_over_its_memory_limit_is_killed_and_says_so(pods):
    found = pods.phase("eater", "Failed")
    ended = found["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


def test_limits_are_in_the_containers_cgroup(pods):
    pods.ready("env", "guaranteed")
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        assert pods.sh("env", "cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/memory.max").split() == ["25000", "100000", str(64 << 20)]
        return
    files = ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us", "cpu/cpu.shares", "memory/memory.limit_in_bytes")
    words = pods.sh("env", " ".join(["cat", *(f"/sys/fs/cgroup/{f}" for f in files)])).split()
    assert words == ["25000", "100000", "102", str(64 << 20)]


def test_quality_of_service_is_told_and_orders_the_cgroups(pods):
    pods.ready("guaranteed", "no-links", "env")
    names = ("guaranteed", "env", "no-links")
    assert [pods.get(n)["status"]["qosClass"] for n in names] == ["Guaranteed", "Burstable", "BestEffort"]
    for name, part in zip(names, ("kubepods/pod", "kubepods/burstable/pod", "kubepods/besteffort/pod"), strict=True):
        found = pods.get(name)
        words = f"find /sys/fs/cgroup -maxdepth 7 -name 'pod{found['metadata']['uid']}'"
        assert part in pods.lab.node(found["spec"]["nodeName"], "sh", "-c", words)
