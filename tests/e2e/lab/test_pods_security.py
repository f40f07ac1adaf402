"""What the processes of a container may do."""

import pytest

from .pods_support import container, pod, room

pytestmark = pytest.mark.lab
STATUS = "grep -E '^(NoNewPrivs|Seccomp|CapEff|CapBnd|Uid|Gid|Groups):' /proc/1/status"


def secured(name, *, spec=None, **context):
    return pod(name, container(securityContext=context), **({"securityContext": spec} if spec else {}))


@pytest.fixture(scope="module")
def pods(lab):
    volume = {"volumes": [{"name": "shared", "emptyDir": {}}]}
    group = container(volumeMounts=[{"name": "shared", "mountPath": "/shared"}])
    with room(lab) as made:
        made.apply(
            secured("plain"),
            secured("user", runAsUser=1234, runAsGroup=2345),
            pod("group", group, securityContext={"runAsUser": 1000, "fsGroup": 4321, "supplementalGroups": [555]}, **volume),
            secured("root-refused", runAsNonRoot=True),
            secured("dropped", capabilities={"drop": ["ALL"]}),
            secured("added", capabilities={"add": ["SYS_TIME"], "drop": ["CHOWN"]}),
            secured("read-only", readOnlyRootFilesystem=True),
            secured("no-more", allowPrivilegeEscalation=False),
            secured("privileged", privileged=True),
            secured("confined", seccompProfile={"type": "RuntimeDefault"}),
            secured("unconfined", seccompProfile={"type": "Unconfined"}),
            secured("sysctl", spec={"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "81"}]}),
            pod("users", container(), hostUsers=False),
        )
        made.ready("plain", "user", "group", "dropped", "added", "read-only", "no-more", "privileged", "confined", "unconfined", "sysctl")
        yield made


@pytest.fixture
def status(pods):
    def read(name):
        return {line.split(":")[0]: line.split()[1:] for line in pods.sh(name, STATUS).splitlines()}

    return read


def test_user_and_groups_are_the_ones_that_were_asked_for(pods, status):
    assert pods.sh("user", "id -u; id -g").split() == ["1234", "2345"]
    assert {"4321", "555"} <= set(status("group")["Groups"])
    assert pods.sh("group", "touch /shared/x; stat -c %g /shared/x; stat -c %a /shared").split() == ["4321", "2777"]


def test_run_as_non_root_refuses_an_image_that_runs_as_root(pods):
    found = pods.waiting("root-refused", "CreateContainerConfigError")
    assert "runAsNonRoot and image will run as root" in found["state"]["waiting"]["message"]


def test_capabilities_are_dropped_and_added(pods, status):
    assert status("dropped")["CapEff"] == ["0000000000000000"]
    effective = int(status("added")["CapEff"][0], 16)
    assert effective >> 25 & 1
    assert not effective & 1
    assert not int(status("plain")["CapEff"][0], 16) >> 25 & 1
    assert "not permitted" in pods.sh("dropped", "chown 1 /bin", check=False)


def test_a_read_only_root_cannot_be_written(pods):
    assert "Read-only" in pods.sh("read-only", "touch /x", check=False)


def test_privilege_escalation_can_be_forbidden(pods, status):
    assert status("no-more")["NoNewPrivs"] == ["1"]
    assert status("plain")["NoNewPrivs"] == ["0"]


def test_a_privileged_container_may_what_the_node_may(pods, status):
    assert "permission denied" in pods.sh("plain", "mkdir -p /mnt; mount -t tmpfs none /mnt", check=False)
    assert pods.sh("privileged", "mkdir -p /mnt; mount -t tmpfs none /mnt && echo yes") == "yes"
    assert status("privileged")["Seccomp"] == ["0"]


def test_seccomp_filters_as_the_runtime_does_where_asked(pods, status):
    assert status("confined")["Seccomp"] == ["2"]
    assert status("unconfined")["Seccomp"] == status("plain")["Seccomp"] == ["0"]
    assert "not permitted" in pods.sh("confined", "unshare -U true", check=False)


def test_sysctls_are_set_for_the_pod_alone(pods):
    file = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
    assert pods.sh("sysctl", f"cat {file}") == "81"
    assert pods.sh("plain", f"cat {file}") != "81"


def test_user_namespaces_are_refused_rather_than_ignored(pods):
    text = pods.lab.wait_for("a refusal", lambda: pods.events("users", "FailedCreatePodSandBox"))
    assert "user namespaces" in text[0]
    assert pods.get("users")["status"]["phase"] == "Pending"
