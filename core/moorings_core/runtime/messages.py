"""Specs of `ports.runtime` as CRI messages."""

from __future__ import annotations

from moorings_core.ports.runtime import ContainerSpec, Namespaces, Resources, SandboxSpec, Security
from moorings_core.protos import cri_pb2 as cri

MODES = {"pod": cri.POD, "container": cri.CONTAINER, "node": cri.NODE, "target": cri.TARGET}
PROTOCOLS = {"TCP": cri.TCP, "UDP": cri.UDP, "SCTP": cri.SCTP}
PROPAGATIONS = {
    "": cri.PROPAGATION_PRIVATE,
    "None": cri.PROPAGATION_PRIVATE,
    "HostToContainer": cri.PROPAGATION_HOST_TO_CONTAINER,
    "Bidirectional": cri.PROPAGATION_BIDIRECTIONAL,
}
MASKED = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def sandbox_config(spec: SandboxSpec) -> cri.PodSandboxConfig:
    """Return a sandbox's configuration."""
    servers, searches, options = spec.dns
    context = cri.LinuxSandboxSecurityContext(
        namespace_options=_namespaces(spec.namespaces),
        privileged=spec.security.privileged,
        seccomp=_seccomp(spec.security),
        supplemental_groups=spec.security.groups,
    )
    ports = [
        cri.PortMapping(protocol=PROTOCOLS[p.protocol], container_port=p.container_port, host_port=p.host_port, host_ip=p.host_ip)
        for p in spec.ports
    ]
    return cri.PodSandboxConfig(
        metadata=cri.PodSandboxMetadata(name=spec.name, uid=spec.uid, namespace=spec.namespace, attempt=spec.attempt),
        hostname=spec.hostname,
        log_directory=spec.log_directory,
        dns_config=cri.DNSConfig(servers=servers, searches=searches, options=options) if servers or searches else None,
        port_mappings=ports,
        labels=spec.labels,
        annotations=spec.annotations,
        linux=cri.LinuxPodSandboxConfig(cgroup_parent=spec.cgroup_parent, security_context=context, sysctls=spec.sysctls),
    )


def container_config(spec: ContainerSpec) -> cri.ContainerConfig:
    """Return a container's configuration."""
    mounts = [
        cri.Mount(container_path=m.container, host_path=m.host, readonly=m.read_only, propagation=PROPAGATIONS[m.propagation])
        for m in spec.mounts
    ]
    devices = [cri.Device(host_path=host, container_path=inside, permissions="mrw") for host, inside in spec.devices]
    return cri.ContainerConfig(
        metadata=cri.ContainerMetadata(name=spec.name, attempt=spec.attempt),
        image=cri.ImageSpec(image=spec.image),
        command=spec.command,
        args=spec.args,
        working_dir=spec.working_dir,
        envs=[cri.KeyValue(key=k, value=v) for k, v in spec.environment],
        mounts=mounts,
        devices=devices,
        labels=spec.labels,
        annotations=spec.annotations,
        log_path=spec.log_path,
        stdin=spec.stdin,
        stdin_once=spec.stdin_once,
        tty=spec.tty,
        linux=cri.LinuxContainerConfig(resources=container_resources(spec.resources), security_context=_security(spec)),
    )


def container_resources(limits: Resources) -> cri.LinuxContainerResources:
    """Return the limits of a container's cgroup."""
    return cri.LinuxContainerResources(
        cpu_period=limits.cpu_period,
        cpu_quota=limits.cpu_quota,
        cpu_shares=limits.cpu_shares,
        memory_limit_in_bytes=limits.memory,
        oom_score_adj=limits.oom_score_adj,
    )


def _security(spec: ContainerSpec) -> cri.LinuxContainerSecurityContext:
    given = spec.security
    context = cri.LinuxContainerSecurityContext(
        capabilities=cri.Capability(add_capabilities=given.add_capabilities, drop_capabilities=given.drop_capabilities),
        privileged=given.privileged,
        namespace_options=_namespaces(spec.namespaces),
        readonly_rootfs=given.read_only_root,
        supplemental_groups=given.groups,
        no_new_privs=given.no_new_privileges,
        masked_paths=() if given.privileged else MASKED,
        readonly_paths=() if given.privileged else READ_ONLY,
        seccomp=_seccomp(given),
    )
    if given.user is not None:
        context.run_as_user.value = given.user
    if given.group is not None:
        context.run_as_group.value = given.group
    return context


def _seccomp(given: Security) -> cri.SecurityProfile:
    kinds = cri.SecurityProfile
    if given.privileged or given.seccomp == "Unconfined":
        return cri.SecurityProfile(profile_type=kinds.Unconfined)
    if given.seccomp == "RuntimeDefault":
        return cri.SecurityProfile(profile_type=kinds.RuntimeDefault)
    return cri.SecurityProfile(profile_type=kinds.Localhost, localhost_ref=given.seccomp)


def _namespaces(given: Namespaces) -> cri.NamespaceOption:
    return cri.NamespaceOption(network=MODES[given.network], pid=MODES[given.pid], ipc=MODES[given.ipc], target_id=given.target)
