"""Pod Security: levels, versions, and that the quick look never lets in what the checks would refuse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings_core.api.admission.pod_security import checks
from moorings_core.api.admission.pod_security.baseline import is_plain
from moorings_core.api.admission.pod_security.levels import Level, Policy, policy_of
from moorings_core.client.resources import DEPLOYMENTS, NAMESPACES, SERVICE_ACCOUNTS
from moorings_core.ports.errors import Forbidden, Invalid

PREFIX = "pod-security.kubernetes.io/"
OPEN = Policy(*(Level("privileged"),) * 3)
CONTAINER = {"name": "c", "image": "i"}
RESERVED = {"name": "net.ipv4.ip_local_reserved_ports", "value": "1"}
SECURE = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def found(level, spec, minor=-1, **metadata):
    return checks.evaluate(Level(level, minor), metadata, {"containers": [CONTAINER], **spec}).reason


@pytest.mark.parametrize(
    ("labels", "policy", "wrong"),
    [
        ({}, "privileged:latest privileged:latest privileged:latest", 0),
        ({"enforce": "baseline"}, "baseline:latest privileged:latest baseline:latest", 0),
        ({"enforce": "baseline", "warn": "privileged"}, "baseline:latest privileged:latest privileged:latest", 0),
        ({"enforce": "restricted", "enforce-version": "v1.24"}, "restricted:v1.24 privileged:latest restricted:v1.24", 0),
        ({"enforce": "strict"}, "restricted:latest privileged:latest privileged:latest", 1),
        ({"audit": "strict", "warn": "x", "warn-version": "1"}, "privileged:latest privileged:latest privileged:latest", 3),
    ],
    ids=str,
)
def test_labels_say_levels(labels, policy, wrong):
    got, errors = policy_of({PREFIX + k: v for k, v in labels.items()}, OPEN)
    assert (f"{got.enforce} {got.audit} {got.warn}", len(errors)) == (policy, wrong)


@pytest.mark.parametrize(
    ("level", "minor", "spec", "reason"),
    [
        ("baseline", -1, {}, ""),
        ("baseline", -1, {"hostNetwork": True}, "host namespaces"),
        (
            "baseline",
            26,
            {"securityContext": {"sysctls": [{"name": "net.ipv4.ip_local_reserved_ports", "value": "1"}]}},
            "forbidden sysctls",
        ),
        ("baseline", 27, {"securityContext": {"sysctls": [{"name": "net.ipv4.ip_local_reserved_ports", "value": "1"}]}}, ""),
        ("baseline", 30, {"securityContext": {"seLinuxOptions": {"type": "container_engine_t"}}}, "seLinuxOptions"),
        ("baseline", 31, {"securityContext": {"seLinuxOptions": {"type": "container_engine_t"}}}, ""),
        ("baseline", 33, {"containers": [{**CONTAINER, "livenessProbe": {"httpGet": {"host": "a"}}}]}, ""),
        ("baseline", 34, {"containers": [{**CONTAINER, "livenessProbe": {"httpGet": {"host": "a"}}}]}, "probe or lifecycle host"),
        ("baseline", -1, {"initContainers": [{**CONTAINER, "securityContext": {"privileged": True}}]}, "privileged"),
        ("baseline", -1, {"ephemeralContainers": [{**CONTAINER, "securityContext": {"privileged": True}}]}, "privileged"),
        ("restricted", -1, {"containers": [{**CONTAINER, "securityContext": SECURE}]}, ""),
        (
            "restricted",
            -1,
            {},
            "allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile",
        ),
        ("restricted", 7, {}, "runAsNonRoot != true"),
        (
            "restricted",
            34,
            {"hostUsers": False, "containers": [{**CONTAINER, "securityContext": {**SECURE, "runAsUser": 0}}]},
            "runAsUser=0",
        ),
        ("restricted", 35, {"hostUsers": False, "containers": [{**CONTAINER, "securityContext": {**SECURE, "runAsUser": 0}}]}, ""),
        (
            "restricted",
            -1,
            {"containers": [{**CONTAINER, "securityContext": SECURE}], "volumes": [{"name": "v", "hostPath": {"path": "/"}}]},
            "restricted volume types",
        ),
        ("restricted", -1, {"os": {"name": "windows"}, "securityContext": {"runAsNonRoot": True}}, ""),
    ],
    ids=str,
)
def test_what_a_level_forbids_at_a_version(level, minor, spec, reason):
    assert found(level, spec, minor) == reason


def test_old_annotations_are_looked_at():
    assert (
        found("baseline", {}, annotations={"container.apparmor.security.beta.kubernetes.io/c": "unconfined"})
        == "forbidden AppArmor profile"
    )
    seccomp = {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}
    assert (found("baseline", {}, 18, annotations=seccomp), found("baseline", {}, 19, annotations=seccomp)) == ("seccompProfile", "")


def optional(**fields):
    return st.fixed_dictionaries({}, optional=fields)


HANDLER = optional(httpGet=optional(host=st.sampled_from(["", "a"])), tcpSocket=optional(host=st.just("b")))
SECURITY = optional(
    privileged=st.booleans(),
    procMount=st.sampled_from(["Default", "Unmasked"]),
    capabilities=optional(add=st.lists(st.sampled_from(["CHOWN", "SYS_TIME"]))),
    seccompProfile=optional(type=st.sampled_from(["Unconfined", "Localhost"])),
    appArmorProfile=optional(type=st.sampled_from(["Unconfined", "Localhost"])),
    seLinuxOptions=optional(type=st.just("spc_t"), user=st.just("u")),
    windowsOptions=optional(hostProcess=st.booleans()),
)
CONTAINERS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from("abc")},
        optional={
            "securityContext": SECURITY,
            "livenessProbe": HANDLER,
            "lifecycle": optional(preStop=HANDLER),
            "ports": st.lists(optional(hostPort=st.sampled_from([0, 80]))),
        },
    ),
    max_size=2,
)
SPECS = optional(
    hostNetwork=st.booleans(),
    hostPID=st.booleans(),
    hostIPC=st.booleans(),
    hostUsers=st.booleans(),
    containers=CONTAINERS,
    initContainers=CONTAINERS,
    ephemeralContainers=CONTAINERS,
    securityContext=optional(
        sysctls=st.lists(st.just({"name": "kernel.msgmax", "value": "1"})), seccompProfile=optional(type=st.just("Unconfined"))
    ),
    volumes=st.lists(st.sampled_from([{"name": "v", "hostPath": {"path": "/"}}, {"name": "v", "emptyDir": {}}])),
)
KEYS = st.sampled_from(["container.apparmor.security.beta.kubernetes.io/a", "seccomp.security.alpha.kubernetes.io/pod", "other"])
METADATA = optional(annotations=st.dictionaries(KEYS, st.sampled_from(["unconfined", "runtime/default"])))


@given(METADATA, SPECS, st.sampled_from([0, 18, 24, 34, 37]))
def test_the_quick_look_lets_in_only_what_every_check_does(metadata, spec, minor):
    if is_plain(metadata, spec):
        assert not [finding for check in checks._checks("baseline", minor) if (finding := check(metadata, spec))]


async def test_namespaces_decide_and_warn(api):
    await api.create(NAMESPACES, "strict", metadata={"labels": {PREFIX + "enforce": "restricted"}})
    await api.create(SERVICE_ACCOUNTS, "default", "strict")
    with pytest.raises(Forbidden, match='violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false'):
        await api.pod("p", "strict")
    await api.pod("p", "strict", containers=[{**CONTAINER, "securityContext": SECURE}])
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [CONTAINER]}}
    await api.create(DEPLOYMENTS, "w", "strict", spec={"selector": {"matchLabels": {"a": "b"}}, "template": template})
    with pytest.raises(Invalid, match="must be one of privileged, baseline, restricted"):
        await api.patch(NAMESPACES, "strict", {"metadata": {"labels": {PREFIX + "enforce": "stern"}}})


async def test_namespaces_without_labels_are_as_the_cluster_file_says_and_some_are_exempt(api):
    with pytest.raises(Forbidden, match="host namespaces"):
        await api.pod("p", hostNetwork=True)
    await api.create(NAMESPACES, "kube-system")
    await api.create(SERVICE_ACCOUNTS, "default", "kube-system")
    await api.pod("p", "kube-system", hostNetwork=True)
