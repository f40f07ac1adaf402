"""Specs as CRI messages: what must not get lost on the way."""

import pytest

from moorings_core.ports.runtime import ContainerSpec, HostPort, MountSpec, Namespaces, Resources, SandboxSpec, Security
from moorings_core.protos import cri_pb2 as cri
from moorings_core.runtime.messages import container_config, sandbox_config


def sandbox(**fields):
    given = {"name": "p", "namespace": "n", "uid": "u", "attempt": 2, "hostname": "h", "log_directory": "/logs", "dns": ((), (), ())}
    return sandbox_config(SandboxSpec(**{**given, "labels": {}, "annotations": {}, **fields}))


def container(**fields):
    given = {"name": "c", "attempt": 1, "image": "sha256:1", "command": ("run",), "args": (), "working_dir": "", "environment": ()}
    return container_config(ContainerSpec(**{**given, "mounts": (), "labels": {}, "annotations": {}, "log_path": "c/1.log", **fields}))


def test_a_sandbox_has_the_pods_identity_and_what_it_shares():
    found = sandbox(namespaces=Namespaces("node", "pod", "pod"), sysctls={"a": "1"}, cgroup_parent="/x", dns=(("1.1.1.1",), ("s",), ("o",)))
    assert (found.metadata.uid, found.metadata.attempt) == ("u", 2)
    options = found.linux.security_context.namespace_options
    assert (options.network, options.pid, options.ipc) == (cri.NODE, cri.POD, cri.POD)
    assert (dict(found.linux.sysctls), found.linux.cgroup_parent) == ({"a": "1"}, "/x")
    assert (list(found.dns_config.servers), list(found.dns_config.options)) == (["1.1.1.1"], ["o"])


def test_a_sandbox_without_servers_keeps_the_runtimes_own_resolv_conf():
    assert not sandbox().HasField("dns_config")


@pytest.mark.parametrize(("protocol", "number"), [("TCP", cri.TCP), ("UDP", cri.UDP), ("SCTP", cri.SCTP)])
def test_host_ports_keep_their_protocol(protocol, number):
    [port] = sandbox(ports=(HostPort(protocol, 80, 8080, "127.0.0.1"),)).port_mappings
    assert (port.protocol, port.container_port, port.host_port, port.host_ip) == (number, 80, 8080, "127.0.0.1")


def test_user_zero_is_said_and_no_user_is_not():
    said = container(security=Security(user=0, group=0)).linux.security_context
    assert said.HasField("run_as_user")
    assert said.HasField("run_as_group")
    assert not container().linux.security_context.HasField("run_as_user")


@pytest.mark.parametrize(
    ("security", "kind", "path"),
    [
        (Security(seccomp="RuntimeDefault"), cri.SecurityProfile.RuntimeDefault, ""),
        (Security(seccomp="Unconfined"), cri.SecurityProfile.Unconfined, ""),
        (Security(seccomp="/p.json"), cri.SecurityProfile.Localhost, "/p.json"),
        (Security(seccomp="RuntimeDefault", privileged=True), cri.SecurityProfile.Unconfined, ""),
    ],
)
def test_seccomp_profiles(security, kind, path):
    found = container(security=security).linux.security_context.seccomp
    assert (found.profile_type, found.localhost_ref) == (kind, path)


def test_only_a_privileged_container_sees_all_of_proc():
    assert "/proc/kcore" in container().linux.security_context.masked_paths
    assert not container(security=Security(privileged=True)).linux.security_context.masked_paths


def test_limits_mounts_and_targets_arrive():
    found = container(
        resources=Resources(512, 25_000, 100_000, 64 << 20, 7),
        mounts=(MountSpec("/a", "/b", True, "Bidirectional"),),
        namespaces=Namespaces(pid="target", target="other"),
        security=Security(add_capabilities=("NET_ADMIN",), drop_capabilities=("ALL",), no_new_privileges=True, read_only_root=True),
    )
    limits = found.linux.resources
    assert (limits.cpu_shares, limits.cpu_quota, limits.memory_limit_in_bytes, limits.oom_score_adj) == (512, 25_000, 64 << 20, 7)
    [mount] = found.mounts
    assert (mount.host_path, mount.readonly, mount.propagation) == ("/a", True, cri.PROPAGATION_BIDIRECTIONAL)
    context = found.linux.security_context
    assert (context.namespace_options.pid, context.namespace_options.target_id) == (cri.TARGET, "other")
    assert (list(context.capabilities.add_capabilities), list(context.capabilities.drop_capabilities)) == (["NET_ADMIN"], ["ALL"])
    assert context.no_new_privs
    assert context.readonly_rootfs
