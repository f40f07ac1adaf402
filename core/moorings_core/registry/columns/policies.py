"""Columns of what steers others: autoscalers, quotas, ingresses, classes and drivers."""

from __future__ import annotations

import datetime

from moorings_core.ports.objects import Object

from .column import AGE, NAME, NONE, UNKNOWN, UNSET, Column, field, labels

_SOURCES = {"Resource": "resource", "ContainerResource": "containerResource", "Pods": "pods", "Object": "object", "External": "external"}
_SHOWN_METRICS = 2


def _targets(autoscaler: Object, _: datetime.datetime) -> str:
    """Current and wanted value of the first metrics; the version 1 form knows only one."""
    specs = autoscaler["spec"].get("metrics") or _version_1(autoscaler["spec"])
    statuses = autoscaler.get("status", {}).get("currentMetrics") or []
    shown = [_metric(spec, statuses[i] if i < len(statuses) else {}) for i, spec in enumerate(specs)]
    more = f" + {len(shown) - _SHOWN_METRICS} more..." if len(shown) > _SHOWN_METRICS else ""
    return (", ".join(shown[:_SHOWN_METRICS]) + more) or NONE


def _version_1(spec: Object) -> list[Object]:
    wanted = spec.get("targetCPUUtilizationPercentage")
    if wanted is None:
        return []
    return [{"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": wanted}}}]


def _metric(spec: Object, status: Object) -> str:
    source = _SOURCES.get(spec.get("type", ""), "")
    given, current = spec.get(source) or {}, (status.get(source) or {}).get("current") or {}
    target, name = given.get("target") or {}, f"{given['name']}: " if "name" in given else ""
    average = " (avg)" if source in ("object", "external") else ""
    if "averageValue" in target:
        return f"{name}{current.get('averageValue', UNKNOWN)}/{target['averageValue']}{average}"
    if "value" in target:
        return f"{name}{current.get('value', UNKNOWN)}/{target['value']}"
    now = f"{current['averageUtilization']}%" if "averageUtilization" in current else UNKNOWN
    return f"{name}{now}/{target['averageUtilization']}%" if "averageUtilization" in target else f"{name}{now}/<auto>"


def _reference(autoscaler: Object, _: datetime.datetime) -> str:
    target = autoscaler["spec"].get("scaleTargetRef") or {}
    return f"{target.get('kind', '')}/{target.get('name', '')}"


def _quota(limits: bool) -> Column:
    def read(quota: Object, _: datetime.datetime) -> str:
        status = quota.get("status") or {}
        hard = {k: v for k, v in sorted((status.get("hard") or {}).items()) if k.startswith("limits.") is limits}
        return ", ".join(f"{k}: {(status.get('used') or {}).get(k, '0')}/{v}" for k, v in hard.items())

    return Column("Limit" if limits else "Request", read)


def _hosts(ingress: Object, _: datetime.datetime) -> str:
    hosts = list(dict.fromkeys(rule["host"] for rule in ingress["spec"].get("rules") or () if rule.get("host")))
    more = f" + {len(hosts) - 3} more..." if len(hosts) > 3 else ""
    return (",".join(hosts[:3]) + more) or "*"


def _balancer(ingress: Object, _: datetime.datetime) -> str:
    given = ((ingress.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return ",".join(filter(None, (i.get("ip") or i.get("hostname", "") for i in given)))


def _parameters(ingress_class: Object, _: datetime.datetime) -> str:
    given = (ingress_class.get("spec") or {}).get("parameters")
    if not given:
        return NONE
    return f"{given['kind']}.{given['apiGroup']}/{given['name']}" if given.get("apiGroup") else f"{given['kind']}/{given['name']}"


def _condition(request: Object, _: datetime.datetime) -> str:
    types = [c["type"] for c in (request.get("status") or {}).get("conditions") or ()]
    decided = "Denied" if "Denied" in types else "Approved" if "Approved" in types else "Pending"
    issued = ",Issued" if (request.get("status") or {}).get("certificate") else ""
    return decided + (",Failed" if "Failed" in types else "") + issued


def _flag(name: str, path: str) -> Column:
    return field(name, path, False, type="boolean")


_AUTOSCALER = (
    NAME,
    Column("Reference", _reference),
    Column("Targets", _targets),
    Column("MinPods", lambda o, _: str(o["spec"].get("minReplicas", UNSET))),
    field("MaxPods", "spec.maxReplicas", 0),
    field("Replicas", "status.currentReplicas", 0),
    AGE,
)
COLUMNS = {
    ("autoscaling", "horizontalpodautoscalers"): _AUTOSCALER,
    ("", "resourcequotas"): (NAME, _quota(limits=False), _quota(limits=True), AGE),
    ("networking.k8s.io", "ingresses"): (
        NAME,
        field("Class", "spec.ingressClassName"),
        Column("Hosts", _hosts),
        Column("Address", _balancer),
        Column("Ports", lambda o, _: "80, 443" if o["spec"].get("tls") else "80"),
        AGE,
    ),
    ("networking.k8s.io", "ingressclasses"): (NAME, field("Controller", "spec.controller"), Column("Parameters", _parameters), AGE),
    ("node.k8s.io", "runtimeclasses"): (NAME, field("Handler", "handler"), AGE),
    ("certificates.k8s.io", "certificatesigningrequests"): (
        NAME,
        AGE,
        field("SignerName", "spec.signerName"),
        field("Requestor", "spec.username"),
        field("RequestedDuration", "spec.expirationSeconds"),
        Column("Condition", _condition),
    ),
    ("storage.k8s.io", "csidrivers"): (
        NAME,
        _flag("AttachRequired", "spec.attachRequired"),
        _flag("PodInfoOnMount", "spec.podInfoOnMount"),
        _flag("StorageCapacity", "spec.storageCapacity"),
        Column("TokenRequests", lambda o, _: ",".join(t.get("audience", "") for t in o["spec"].get("tokenRequests") or ()) or UNSET),
        _flag("RequiresRepublish", "spec.requiresRepublish"),
        Column("Modes", lambda o, _: ",".join(o["spec"].get("volumeLifecycleModes") or ()) or NONE),
        AGE,
    ),
    ("", "podtemplates"): (
        NAME,
        Column("Containers", lambda o, _: ",".join(c["name"] for c in o["template"]["spec"].get("containers") or ())),
        Column("Images", lambda o, _: ",".join(c.get("image", "") for c in o["template"]["spec"].get("containers") or ())),
        Column("Pod Labels", lambda o, _: labels((o["template"].get("metadata") or {}).get("labels"))),
    ),
}
