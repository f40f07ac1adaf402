"""Columns of nodes, services, storage, settings and events."""

from __future__ import annotations

import datetime

from moorings_core.ports.objects import Object

from .column import AGE, NAME, NONE, UNKNOWN, UNSET, Column, age, field, labels, selector

ROLE = "node-role.kubernetes.io/"
SHORT_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def _node_status(node: Object, _: datetime.datetime) -> str:
    ready = next((c["status"] for c in node.get("status", {}).get("conditions") or () if c["type"] == "Ready"), None)
    word = "Unknown" if ready is None else "Ready" if ready == "True" else "NotReady"
    return word + (",SchedulingDisabled" if node.get("spec", {}).get("unschedulable") else "")


def _kernel(node: Object, _: datetime.datetime) -> str:
    about = (node.get("status") or {}).get("nodeInfo") or {}
    return (about.get("kernelVersion") or UNKNOWN) + (f" ({about['architecture']})" if about.get("architecture") else "")


def _roles(node: Object, _: datetime.datetime) -> str:
    return ",".join(sorted(k.removeprefix(ROLE) for k in node["metadata"].get("labels", {}) if k.startswith(ROLE))) or NONE


def _node_address(kind: str) -> Column:
    def read(node: Object, _: datetime.datetime) -> str:
        return next((a["address"] for a in node.get("status", {}).get("addresses", ()) if a["type"] == kind), NONE)

    return Column("Internal-IP" if kind == "InternalIP" else "External-IP", read, priority=1)


def _external(service: Object, _: datetime.datetime) -> str:
    spec = service["spec"]
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName", NONE))
    ingress = [i.get("ip") or i.get("hostname", "") for i in service.get("status", {}).get("loadBalancer", {}).get("ingress", ())]
    listed = [*(ingress if spec.get("type") == "LoadBalancer" else ()), *(spec.get("externalIPs") or ())]
    if not listed and spec.get("type") == "LoadBalancer":
        return "<pending>"
    return ",".join(listed) or NONE


def _service_ports(service: Object, _: datetime.datetime) -> str:
    ports = service["spec"].get("ports", ())
    listed = [f"{p['port']}{':' + str(p['nodePort']) if p.get('nodePort') else ''}/{p.get('protocol', 'TCP')}" for p in ports]
    return ",".join(listed) or NONE


def _endpoints(endpoints: Object, _: datetime.datetime) -> str:
    listed = [f"{a['ip']}:{p['port']}" for s in endpoints.get("subsets") or () for p in s.get("ports", ()) for a in s.get("addresses", ())]
    return _first(listed, 3)


def _slice_addresses(obj: Object, _: datetime.datetime) -> str:
    return _first([a for e in obj.get("endpoints") or () for a in e.get("addresses", ())], 3)


def _slice_ports(obj: Object, _: datetime.datetime) -> str:
    return _first([str(p.get("port", "*")) for p in obj.get("ports") or ()], 3) if obj.get("ports") else UNSET


def _first(listed: list[str], most: int) -> str:
    more = f" + {len(listed) - most} more..." if len(listed) > most else ""
    return (",".join(listed[:most]) or NONE) + more


def _modes(path: str) -> Column:
    read = field("", path, ()).cell
    return Column("Access Modes", lambda o, now: ",".join(SHORT_MODES.get(m, m) for m in read(o, now)))


def _claim_word(claim: Object, _: datetime.datetime) -> str:
    return "Terminating" if "deletionTimestamp" in claim["metadata"] else claim.get("status", {}).get("phase", "Pending")


def _claim_capacity(claim: Object, _: datetime.datetime) -> str:
    if not claim["spec"].get("volumeName"):
        return ""
    return str(((claim.get("status") or {}).get("capacity") or {}).get("storage", "0"))


def _owner_claim(volume: Object, _: datetime.datetime) -> str:
    reference = volume["spec"].get("claimRef")
    return f"{reference['namespace']}/{reference['name']}" if reference else ""


def _default_class(obj: Object, _: datetime.datetime) -> str:
    default = obj["metadata"].get("annotations", {}).get("storageclass.kubernetes.io/is-default-class") == "true"
    return f"{obj['metadata']['name']} (default)" if default else str(obj["metadata"]["name"])


def _event_object(event: Object, _: datetime.datetime) -> str:
    about = event.get("involvedObject") or {}
    return "/".join(filter(None, (about.get("kind", "").lower(), about.get("name"))))


def _first_seen(event: Object, now: datetime.datetime) -> str:
    return age(event.get("firstTimestamp") or event.get("eventTime"), now)


def _last_seen(event: Object, now: datetime.datetime) -> str:
    if event.get("series") is not None:
        return age(event["series"].get("lastObservedTime"), now)
    return age(event["lastTimestamp"], now) if event.get("lastTimestamp") else _first_seen(event, now)


def _seen(event: Object, _: datetime.datetime) -> int:
    series = event.get("series")
    return int(series.get("count", 0)) if series is not None else int(event.get("count") or 1)


def _event_source(event: Object, _: datetime.datetime) -> str:
    source = event.get("source") or {}
    component = source.get("component") or event.get("reportingComponent") or ""
    instance = source.get("host") or event.get("reportingInstance")
    return f"{component}, {instance}" if instance else component


def _count(name: str, *paths: str, kind: str = "string") -> Column:
    readers = [field("", path, ()).cell for path in paths]
    return Column(name, lambda o, now: sum(len(r(o, now)) for r in readers), type=kind)


def _parent(reference: Object) -> str:
    kind = f"{reference['resource']}.{reference['group']}" if reference.get("group") else str(reference.get("resource", ""))
    return "/".join(filter(None, (kind.lower(), reference.get("namespace"), reference.get("name")))) or "<none>"


def _subjects(name: str, kind: str) -> Column:
    def read(binding: Object, _: datetime.datetime) -> str:
        found = (s for s in binding.get("subjects") or () if s.get("kind") == kind)
        return ", ".join(f"{s.get('namespace', '')}/{s['name']}" if kind == "ServiceAccount" else s["name"] for s in found)

    return Column(name, read, priority=1)


_RBAC = "rbac.authorization.k8s.io"
_CREATED = Column("Created At", lambda o, _: o["metadata"].get("creationTimestamp") or UNKNOWN, type="date")
_ROLE_REF = Column("Role", lambda o, _: f"{o['roleRef']['kind']}/{o['roleRef']['name']}")
_SUBJECTS = (_subjects("Users", "User"), _subjects("Groups", "Group"), _subjects("ServiceAccounts", "ServiceAccount"))
COLUMNS = {
    ("", "nodes"): (
        NAME,
        Column("Status", _node_status),
        Column("Roles", _roles),
        AGE,
        field("Version", "status.nodeInfo.kubeletVersion", ""),
        _node_address("InternalIP"),
        _node_address("ExternalIP"),
        field("OS-Image", "status.nodeInfo.osImage", UNKNOWN, priority=1),
        Column("Kernel-Version", _kernel, priority=1),
        field("Container-Runtime", "status.nodeInfo.containerRuntimeVersion", UNKNOWN, priority=1),
    ),
    ("", "namespaces"): (NAME, field("Status", "status.phase"), AGE),
    ("", "services"): (
        NAME,
        field("Type", "spec.type"),
        field("Cluster-IP", "spec.clusterIP"),
        Column("External-IP", _external),
        Column("Port(s)", _service_ports),
        AGE,
        Column("Selector", lambda o, _: labels(o["spec"].get("selector")), priority=1),
    ),
    ("", "endpoints"): (NAME, Column("Endpoints", _endpoints), AGE),
    ("discovery.k8s.io", "endpointslices"): (
        NAME,
        field("AddressType", "addressType"),
        Column("Ports", _slice_ports),
        Column("Endpoints", _slice_addresses),
        AGE,
    ),
    ("", "configmaps"): (NAME, _count("Data", "data", "binaryData"), AGE),
    ("", "secrets"): (NAME, field("Type", "type"), _count("Data", "data"), AGE),
    ("", "serviceaccounts"): (NAME, AGE),
    ("", "persistentvolumeclaims"): (
        NAME,
        Column("Status", _claim_word),
        field("Volume", "spec.volumeName", ""),
        Column("Capacity", _claim_capacity),
        _modes("status.accessModes"),
        field("StorageClass", "spec.storageClassName", ""),
        field("VolumeAttributesClass", "spec.volumeAttributesClassName", UNSET),
        AGE,
        field("VolumeMode", "spec.volumeMode", UNSET, priority=1),
    ),
    ("", "persistentvolumes"): (
        NAME,
        field("Capacity", "spec.capacity.storage", ""),
        _modes("spec.accessModes"),
        field("Reclaim Policy", "spec.persistentVolumeReclaimPolicy", ""),
        Column("Status", _claim_word),
        Column("Claim", _owner_claim),
        field("StorageClass", "spec.storageClassName", ""),
        field("VolumeAttributesClass", "spec.volumeAttributesClassName", UNSET),
        field("Reason", "status.reason", ""),
        AGE,
        field("VolumeMode", "spec.volumeMode", UNSET, priority=1),
    ),
    ("storage.k8s.io", "storageclasses"): (
        Column("Name", _default_class, format="name"),
        field("Provisioner", "provisioner"),
        field("ReclaimPolicy", "reclaimPolicy"),
        field("VolumeBindingMode", "volumeBindingMode"),
        Column("AllowVolumeExpansion", lambda o, _: bool(o.get("allowVolumeExpansion"))),
        AGE,
    ),
    ("storage.k8s.io", "csinodes"): (NAME, _count("Drivers", "spec.drivers", kind="integer"), AGE),
    ("storage.k8s.io", "volumeattachments"): (
        NAME,
        field("Attacher", "spec.attacher", format="name"),
        field("PV", "spec.source.persistentVolumeName", ""),
        field("Node", "spec.nodeName"),
        field("Attached", "status.attached", False, type="boolean"),
        AGE,
    ),
    ("", "events"): (
        Column("Last Seen", _last_seen),
        field("Type", "type", ""),
        field("Reason", "reason", ""),
        Column("Object", _event_object),
        field("Subobject", "involvedObject.fieldPath", "", priority=1),
        Column("Source", _event_source, priority=1),
        Column("Message", lambda o, _: (o.get("message") or "").strip()),
        Column("First Seen", _first_seen, priority=1),
        Column("Count", _seen, priority=1),
        Column("Name", lambda o, _: o["metadata"]["name"], priority=1, format="name"),
    ),
    ("coordination.k8s.io", "leases"): (NAME, field("Holder", "spec.holderIdentity", ""), AGE),
    ("networking.k8s.io", "networkpolicies"): (
        NAME,
        Column("Pod-Selector", lambda o, _: selector(o["spec"].get("podSelector"))),
        AGE,
    ),
    ("networking.k8s.io", "servicecidrs"): (NAME, Column("CIDRs", lambda o, _: ",".join(o["spec"].get("cidrs") or ())), AGE),
    ("networking.k8s.io", "ipaddresses"): (NAME, Column("ParentRef", lambda o, _: _parent(o["spec"].get("parentRef") or {})), AGE),
    ("policy", "poddisruptionbudgets"): (
        NAME,
        Column("Min Available", lambda o, _: str(o["spec"].get("minAvailable", "N/A"))),
        Column("Max Unavailable", lambda o, _: str(o["spec"].get("maxUnavailable", "N/A"))),
        field("Allowed Disruptions", "status.disruptionsAllowed", 0, type="integer"),
        AGE,
    ),
    ("scheduling.k8s.io", "priorityclasses"): (
        NAME,
        field("Value", "value", 0, type="integer"),
        Column("Global-Default", lambda o, _: bool(o.get("globalDefault")), type="boolean"),
        AGE,
        field("PreemptionPolicy", "preemptionPolicy"),
    ),
    (_RBAC, "roles"): (NAME, _CREATED),
    (_RBAC, "clusterroles"): (NAME, _CREATED),
    (_RBAC, "rolebindings"): (NAME, _ROLE_REF, AGE, *_SUBJECTS),
    (_RBAC, "clusterrolebindings"): (NAME, _ROLE_REF, AGE, *_SUBJECTS),
}
COLUMNS["events.k8s.io", "events"] = COLUMNS["", "events"]
