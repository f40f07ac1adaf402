"""Columns of what extends the API, of admission's configuration, and of devices."""

from __future__ import annotations

import datetime

from moorings_core.ports.objects import Object

from .column import AGE, NAME, NONE, UNKNOWN, UNSET, Column, field, selector

_ADMISSION, _RESOURCE = "admissionregistration.k8s.io", "resource.k8s.io"


def _number(name: str, path: str) -> Column:
    read = field("", path, ()).cell
    return Column(name, lambda o, now: len(read(o, now)), type="integer")


def _parameter_kind(policy: Object, _: datetime.datetime) -> str:
    kind = (policy.get("spec") or {}).get("paramKind")
    return UNSET if kind is None else f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}"


def _parameter(binding: Object, _: datetime.datetime) -> str:
    reference = (binding.get("spec") or {}).get("paramRef")
    if reference is None:
        return UNSET
    if reference.get("name"):
        return f"{reference.get('namespace') or '*'}/{reference['name']}"
    return UNSET if reference.get("selector") is None else selector(reference["selector"])


def _claim_state(claim: Object, _: datetime.datetime) -> str:
    status, gone = claim.get("status") or {}, "deletionTimestamp" in claim["metadata"]
    words = ["deleted"] if gone else []
    if not status.get("allocation"):
        return ",".join(words or ["pending"])
    return ",".join([*words, "allocated", *(["reserved"] if status.get("reservedFor") else [])])


def _condition(obj: Object, name: str) -> Object | None:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c.get("type") == name), None)


def _versions(definition: Object, _: datetime.datetime) -> str:
    served = (v for v in definition["spec"].get("versions") or () if v.get("served"))
    return ",".join(sorted(v["name"] + ("(storage)" if v.get("storage") else "") for v in served))


def _established(definition: Object, _: datetime.datetime) -> bool:
    return (_condition(definition, "Established") or {}).get("status") == "True"


def _service(api: Object, _: datetime.datetime) -> str:
    service = (api.get("spec") or {}).get("service")
    return "Local" if not service else f"{service.get('namespace', '')}/{service.get('name', '')}"


def _available(api: Object, _: datetime.datetime) -> str:
    condition = _condition(api, "Available")
    if condition is None:
        return "Unknown"
    plain = condition["status"] == "True" or not condition.get("reason")
    return str(condition["status"]) if plain else f"{condition['status']} ({condition['reason']})"


_POLICY = Column("ParamKind", _parameter_kind)
_BINDING = (NAME, field("PolicyName", "spec.policyName", ""), Column("ParamRef", _parameter), AGE)
_HOOKS = (NAME, _number("Webhooks", "webhooks"), AGE)
COLUMNS = {
    (_ADMISSION, "validatingwebhookconfigurations"): _HOOKS,
    (_ADMISSION, "mutatingwebhookconfigurations"): _HOOKS,
    (_ADMISSION, "validatingadmissionpolicies"): (NAME, _number("Validations", "spec.validations"), _POLICY, AGE),
    (_ADMISSION, "mutatingadmissionpolicies"): (NAME, _number("Mutations", "spec.mutations"), _POLICY, AGE),
    (_ADMISSION, "validatingadmissionpolicybindings"): _BINDING,
    (_ADMISSION, "mutatingadmissionpolicybindings"): _BINDING,
    (_RESOURCE, "deviceclasses"): (NAME, AGE),
    (_RESOURCE, "resourceclaims"): (NAME, Column("State", _claim_state), AGE),
    (_RESOURCE, "resourceclaimtemplates"): (NAME, AGE),
    (_RESOURCE, "resourceslices"): (
        NAME,
        field("Node", "spec.nodeName", ""),
        field("Driver", "spec.driver", ""),
        field("Pool", "spec.pool.name", ""),
        AGE,
    ),
    ("certificates.k8s.io", "clustertrustbundles"): (NAME, field("SignerName", "spec.signerName", NONE)),
    ("storage.k8s.io", "volumeattributesclasses"): (NAME, field("DriverName", "driverName", ""), AGE),
    ("apiregistration.k8s.io", "apiservices"): (NAME, Column("Service", _service), Column("Available", _available), AGE),
    ("apiextensions.k8s.io", "customresourcedefinitions"): (
        NAME,
        field("Scope", "spec.scope", ""),
        Column("Versions", _versions),
        Column("Created At", lambda o, _: o["metadata"].get("creationTimestamp") or UNKNOWN, type="date"),
        field("Group", "spec.group", "", priority=1),
        field("Kind", "spec.names.kind", "", priority=1),
        Column("ShortNames", lambda o, _: ",".join(o["spec"]["names"].get("shortNames") or ()), priority=1),
        Column("Established", _established, type="boolean", priority=1),
    ),
}
