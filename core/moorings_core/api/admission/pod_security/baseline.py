"""What the level baseline forbids. Each check returns (reason, detail), or None where it finds nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from moorings_core.ports.objects import Object

from .words import containers, counted, quoted, setters

Finding = tuple[str, str] | None
Check = Callable[[Object, Object], Finding]
APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
SECCOMP_POD, SECCOMP = "seccomp.security.alpha.kubernetes.io/pod", "container.seccomp.security.alpha.kubernetes.io/"
NOTED = (APPARMOR, SECCOMP_POD, SECCOMP)
SUSPICIOUS = frozenset({"securityContext", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle"})
CAPABILITIES = frozenset(
    {
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE"),
        *("SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    }
)
_SYSCTLS = [
    (0, "kernel.shm_rmid_forced net.ipv4.ip_local_port_range net.ipv4.tcp_syncookies"),
    (0, "net.ipv4.ping_group_range net.ipv4.ip_unprivileged_port_start"),
    (27, "net.ipv4.ip_local_reserved_ports"),
    (29, "net.ipv4.tcp_keepalive_time net.ipv4.tcp_fin_timeout net.ipv4.tcp_keepalive_intvl net.ipv4.tcp_keepalive_probes"),
    (32, "net.ipv4.tcp_rmem net.ipv4.tcp_wmem"),
    (37, "net.ipv4.tcp_slow_start_after_idle net.ipv4.tcp_notsent_lowat"),
]
OLD_PROFILES = ("runtime/default", "docker/default")
SELINUX = frozenset({"", "container_t", "container_init_t", "container_kvm_t"})


def all_containers(spec: Object) -> Iterator[Object]:
    """Yield the containers of every kind."""
    for field in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(field) or ()


def security(holder: Object) -> Object:
    """Return the securityContext of a pod's spec or a container."""
    return holder.get("securityContext") or {}


def is_plain(metadata: Object, spec: Object) -> bool:
    """Whether a pod has none of the fields that any check of this level looks at, as most pods: twenty times as quick as the checks."""
    if spec.get("hostNetwork") or spec.get("hostPID") or spec.get("hostIPC") or spec.get("securityContext"):
        return False
    if metadata.get("annotations") and any(k.startswith(NOTED) for k in metadata["annotations"]):
        return False
    if any("hostPath" in volume for volume in spec.get("volumes") or ()):
        return False
    for container in all_containers(spec):
        if not SUSPICIOUS.isdisjoint(container) or any(port.get("hostPort") for port in container.get("ports") or ()):
            return False
    return True


def app_armor(metadata: Object, spec: Object) -> Finding:
    """Other AppArmor profiles than the runtime's or the node's."""
    values: set[str] = set()

    def wrong(holder: Object) -> bool:
        profile = security(holder).get("appArmorProfile")
        if profile is None or profile.get("type") in ("RuntimeDefault", "Localhost"):
            return False
        values.add(profile.get("type", ""))
        return True

    pod, names = wrong(spec), [c["name"] for c in all_containers(spec) if wrong(c)]
    annotations = sorted(
        f"{k}={json.dumps(v)}"
        for k, v in (metadata.get("annotations") or {}).items()
        if k.startswith(APPARMOR) and v not in ("", "runtime/default") and not v.startswith("localhost/")
    )
    if not (pod or names or annotations):
        return None
    bad = [*sorted(values), *annotations]
    who = [*filter(None, [setters(pod, names)]), *([counted("annotation", annotations)] if annotations else [])]
    return counted("forbidden AppArmor profile", bad), f"{' and '.join(who)} must not set AppArmor profile type to {quoted(bad)}"


def capabilities(metadata: Object, spec: Object) -> Finding:
    """Capabilities beyond those that a container has by itself."""
    added = {c["name"]: set((security(c).get("capabilities") or {}).get("add") or ()) - CAPABILITIES for c in all_containers(spec)}
    names = [name for name, extra in added.items() if extra]
    if not names:
        return None
    what = quoted(sorted(set().union(*added.values())))
    return "non-default capabilities", f"{containers(names)} must not include {what} in securityContext.capabilities.add"


def host_namespaces(metadata: Object, spec: Object) -> Finding:
    """The node's own namespaces."""
    found = [f"{field}=true" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    return ("host namespaces", ", ".join(found)) if found else None


def host_paths(metadata: Object, spec: Object) -> Finding:
    """Volumes that are directories of the node."""
    names = [v["name"] for v in spec.get("volumes") or () if v.get("hostPath") is not None]
    return ("hostPath volumes", f"{counted('volume', names)} {quoted(names)}") if names else None


def host_ports(metadata: Object, spec: Object) -> Finding:
    """Ports of the node."""
    ports = {c["name"]: {str(p["hostPort"]) for p in c.get("ports") or () if p.get("hostPort")} for c in all_containers(spec)}
    names = [name for name, found in ports.items() if found]
    if not names:
        return None
    listed = sorted(set().union(*ports.values()))
    use = "uses" if len(names) == 1 else "use"
    return "hostPort", f"{containers(names)} {use} {counted('hostPort', listed)} {', '.join(listed)}"


def probe_hosts(metadata: Object, spec: Object) -> Finding:
    """Probes and hooks that make the node ask another host."""
    hosts: dict[str, set[str]] = {}
    for container in all_containers(spec):
        handlers = [container.get(f) for f in ("livenessProbe", "readinessProbe", "startupProbe")]
        handlers += [(container.get("lifecycle") or {}).get(f) for f in ("postStart", "preStop")]
        found = {(h.get(how) or {}).get("host") or "" for h in handlers if h for how in ("httpGet", "tcpSocket")} - {""}
        if found:
            hosts.setdefault(container["name"], set()).update(found)
    if not hosts:
        return None
    listed, use = sorted(set().union(*hosts.values())), "uses" if len(hosts) == 1 else "use"
    return "probe or lifecycle host", f"{containers(sorted(hosts))} {use} {counted('probe or lifecycle host', listed)} {quoted(listed)}"


def privileged(metadata: Object, spec: Object) -> Finding:
    """Containers that may do everything."""
    names = [c["name"] for c in all_containers(spec) if security(c).get("privileged")]
    return ("privileged", f"{containers(names)} must not set securityContext.privileged=true") if names else None


def proc_mount(metadata: Object, spec: Object) -> Finding:
    """A /proc without its masks."""
    given = {c["name"]: security(c).get("procMount") for c in all_containers(spec)}
    bad = {name: kind for name, kind in given.items() if kind not in (None, "Default")}
    if not bad:
        return None
    text = f"{containers(list(bad))} must not set securityContext.procMount to {quoted(sorted({str(k) for k in bad.values()}))}"
    return "procMount", text


def in_user_namespace(check: Check) -> Check:
    """Return a check that lets pods pass whose root is nobody on the node."""
    return lambda metadata, spec: None if spec.get("hostUsers") is False else check(metadata, spec)


def seccomp_annotations(metadata: Object, spec: Object) -> Finding:
    """Seccomp profiles as they were asked for up to 1.18."""
    given = metadata.get("annotations") or {}
    keys = [SECCOMP_POD, *(SECCOMP + c["name"] for c in all_containers(spec))]
    asked = {k: given[k] for k in keys if k in given}
    bad = sorted(f"{k}={json.dumps(v)}" for k, v in asked.items() if v not in OLD_PROFILES and not v.startswith("localhost/"))
    return ("seccompProfile", f"forbidden {counted('annotation', bad)} {', '.join(bad)}") if bad else None


def seccomp(metadata: Object, spec: Object) -> Finding:
    """Seccomp profiles other than the runtime's and the node's."""
    kinds: set[str] = set()

    def wrong(holder: Object) -> bool:
        profile = security(holder).get("seccompProfile")
        if profile is None or profile.get("type") in ("RuntimeDefault", "Localhost"):
            return False
        kinds.add(profile.get("type", ""))
        return True

    pod, names = wrong(spec), [c["name"] for c in all_containers(spec) if wrong(c)]
    if not (pod or names):
        return None
    return "seccompProfile", f"{setters(pod, names)} must not set securityContext.seccompProfile.type to {quoted(sorted(kinds))}"


def selinux(*extra: str) -> Check:
    """Return the check of SELinux options that allows extra types."""
    allowed = SELINUX | set(extra)

    def check(metadata: Object, spec: Object) -> Finding:
        types: set[str] = set()
        words: set[str] = set()

        def wrong(holder: Object) -> bool:
            options = security(holder).get("seLinuxOptions") or {}
            types.update({options.get("type", "")} - allowed)
            words.update(word for word in ("user", "role") if options.get(word))
            return options.get("type", "") not in allowed or bool(options.get("user") or options.get("role"))

        pod, names = wrong(spec), [c["name"] for c in all_containers(spec) if wrong(c)]
        if not (pod or names):
            return None
        data = [f"{counted('type', types)} {quoted(sorted(types))}"] if types else []
        data += [f"{word} may not be set" for word in ("user", "role") if word in words]
        return "seLinuxOptions", f"{setters(pod, names)} set forbidden securityContext.seLinuxOptions: {'; '.join(data)}"

    return check


def sysctls(minor: int) -> Check:
    """Return the check of kernel settings of a version."""
    allowed = frozenset(name for since, names in _SYSCTLS if since <= minor for name in names.split())

    def check(metadata: Object, spec: Object) -> Finding:
        bad = [s["name"] for s in security(spec).get("sysctls") or () if s["name"] not in allowed]
        return ("forbidden sysctls", ", ".join(bad)) if bad else None

    return check


def host_process(metadata: Object, spec: Object) -> Finding:
    """Windows containers that are processes of the node."""
    pod = bool((security(spec).get("windowsOptions") or {}).get("hostProcess"))
    names = [c["name"] for c in all_containers(spec) if (security(c).get("windowsOptions") or {}).get("hostProcess")]
    if not (pod or names):
        return None
    return "hostProcess", f"{setters(pod, names)} must not set securityContext.windowsOptions.hostProcess=true"
