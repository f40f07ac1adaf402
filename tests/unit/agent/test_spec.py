"""A pod's objects as the runtime gets them."""

import pytest

from moorings_core.agent.environment import MissingSource
from moorings_core.agent.spec import container_spec, namespaces, resources, sandbox_spec, security
from moorings_core.ports.runtime import ImageInfo, Namespaces

from .builders import container, pod

ROOT_IMAGE = ImageInfo("sha256:1", (), 0, "")
NAMED_IMAGE = ImageInfo("sha256:1", (), None, "web")
DNS = (("10.96.0.10",), (), ())


def secured(of_pod=None, **own):
    return security(pod(securityContext=of_pod or {}), container(securityContext=own), ROOT_IMAGE)


@pytest.mark.parametrize(
    ("requests", "limits", "expected"),
    [
        ({}, {}, (2, 0, 0)),
        ({"cpu": "500m"}, {}, (512, 0, 0)),
        ({}, {"cpu": "250m", "memory": "64Mi"}, (256, 25_000, 64 << 20)),
        ({"cpu": "100m"}, {"cpu": "2"}, (102, 200_000, 0)),
        ({}, {"cpu": "1m"}, (2, 1000, 0)),
    ],
)
def test_shares_come_from_requests_and_quota_from_limits(requests, limits, expected):
    one = container(resources={"requests": requests, "limits": limits})
    found = resources(pod(one), one)
    assert (found.cpu_shares, found.cpu_quota, found.memory) == expected


@pytest.mark.parametrize(("request_", "score"), [("0", 999), ("1Ki", 999), ("256Mi", 750), ("1023Mi", 3), ("2Gi", 3)])
def test_a_burstable_container_is_killed_the_sooner_the_less_it_asked_for(request_, score):
    one = container(resources={"requests": {"memory": request_}, "limits": {"memory": "4Gi"}})
    assert resources(pod(one), one, 1 << 30).oom_score_adj == score


def test_the_kernel_kills_best_effort_pods_first_and_guaranteed_ones_last():
    limits = {"cpu": "1", "memory": "1Gi"}
    guaranteed = container(resources={"requests": limits, "limits": limits})
    assert [resources(pod(one), one, 1 << 30).oom_score_adj for one in (guaranteed, container())] == [-997, 1000]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, Namespaces("pod", "container", "pod")),
        ({"shareProcessNamespace": True}, Namespaces("pod", "pod", "pod")),
        ({"hostNetwork": True, "hostPID": True, "hostIPC": True}, Namespaces("node", "node", "node")),
    ],
)
def test_namespaces_are_the_pods_unless_it_says_otherwise(spec, expected):
    assert namespaces(spec) == expected


def test_the_containers_own_rules_go_before_the_pods():
    found = secured({"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3, "supplementalGroups": [4]}, runAsUser=5)
    assert (found.user, found.group, set(found.groups)) == (5, 2, {3, 4})


def test_seccomp_is_off_unless_asked_for_and_a_local_profile_is_the_nodes():
    """As upstream's kubelet has it; a sandbox always has the runtime's profile, since its process is ours."""
    assert secured().seccomp == "Unconfined"
    assert secured({"seccompProfile": {"type": "RuntimeDefault"}}).seccomp == "RuntimeDefault"
    local = {"type": "Localhost", "localhostProfile": "deep/audit.json"}
    one = container(securityContext={"seccompProfile": local})
    found = security(pod(one, securityContext={"seccompProfile": {"type": "RuntimeDefault"}}), one, ROOT_IMAGE, "/profiles")
    assert found.seccomp == "/profiles/deep/audit.json"
    assert sandbox_spec(pod(), 0, DNS, "/logs", "").security.seccomp == "RuntimeDefault"


def test_privilege_escalation_is_forbidden_only_by_an_explicit_false():
    assert secured(allowPrivilegeEscalation=False).no_new_privileges is True
    assert secured(allowPrivilegeEscalation=True).no_new_privileges is False
    assert secured().no_new_privileges is False


@pytest.mark.parametrize(
    ("own", "image", "refused"),
    [({}, ROOT_IMAGE, True), ({"runAsUser": 0}, NAMED_IMAGE, True), ({"runAsUser": 7}, ROOT_IMAGE, False), ({}, NAMED_IMAGE, True)],
)
def test_run_as_non_root_refuses_root_and_whoever_cannot_be_told(own, image, refused):
    one = container(securityContext={"runAsNonRoot": True, **own})
    if refused:
        with pytest.raises(MissingSource, match="runAsNonRoot"):
            security(pod(one), one, image)
    else:
        assert security(pod(one), one, image).user == 7


def test_a_sandbox_is_privileged_where_any_container_is():
    privileged = container(securityContext={"privileged": True})
    for spec in ({"containers": [privileged]}, {"containers": [container()], "initContainers": [privileged]}):
        assert sandbox_spec({**pod(), "spec": spec}, 0, DNS, "/logs", "").security.privileged
    assert not sandbox_spec(pod(), 0, DNS, "/logs", "").security.privileged


def test_host_ports_of_containers_and_sidecars_are_mapped_but_not_on_the_nodes_network():
    ports = [{"containerPort": 80, "hostPort": 8080}, {"containerPort": 81}]
    found = sandbox_spec(pod(container(ports=ports)), 0, DNS, "/logs", "")
    assert [(p.protocol, p.container_port, p.host_port) for p in found.ports] == [("TCP", 80, 8080)]
    assert sandbox_spec(pod(container(ports=ports), hostNetwork=True), 0, DNS, "/logs", "").ports == ()


def test_command_and_arguments_are_expanded_and_the_image_is_the_one_that_was_found():
    one = container(command=["run", "$(A)"], args=["$$(A)"])
    found = container_spec(pod(one), one, 3, ROOT_IMAGE, {"A": "x"}, [])
    assert (found.command, found.args, found.image, found.log_path) == (("run", "x"), ("$(A)",), "sha256:1", "main/3.log")


def test_an_ephemeral_container_sees_its_targets_processes():
    found = container_spec(pod(), container("debug"), 0, ROOT_IMAGE, {}, [], target="main-0")
    assert (found.namespaces.pid, found.namespaces.target) == ("target", "main-0")
