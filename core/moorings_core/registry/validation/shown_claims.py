"""Claims as upstream shows them where an answer is about all of a workload's: as its own structures, whose fields have no names in JSON.

Source: kubernetes pkg/apis/core/types.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moorings_core.ports.objects import Object

_TEXT, _NONE = "", None
_REFERENCE: Mapping[str, Any] = {"apiGroup": _NONE, "kind": _TEXT, "name": _TEXT}
_TIMES: Mapping[str, Any] = {"lastProbeTime": _NONE, "lastTransitionTime": _NONE, "reason": _TEXT, "message": _TEXT}
_FIELDS: Mapping[str, Mapping[str, Any]] = {
    "spec": {
        "accessModes": _NONE, "selector": _NONE, "resources": {}, "volumeName": _TEXT, "storageClassName": _NONE, "volumeMode": _NONE,
        "dataSource": _NONE, "dataSourceRef": _NONE, "volumeAttributesClassName": _NONE,
    },
    "status": {
        "phase": _TEXT, "accessModes": _NONE, "capacity": _NONE, "conditions": _NONE, "allocatedResources": _NONE,
        "allocatedResourceStatuses": _NONE, "currentVolumeAttributesClassName": _NONE, "modifyVolumeStatus": _NONE, "healthStatus": _NONE,
    },
    "resources": {"limits": _NONE, "requests": _NONE},
    "dataSource": _REFERENCE,
    "dataSourceRef": {**_REFERENCE, "namespace": _NONE},
    "conditions": {"type": _TEXT, "status": _TEXT, **_TIMES},
    "modifyVolumeStatus": {"targetVolumeAttributesClassName": _TEXT, "status": _TEXT},
    "healthStatus": {"healthConditions": _NONE, "lastTransitionTime": _NONE},
    "healthConditions": {"status": _TEXT, "reason": _TEXT, "message": _TEXT},
}  # fmt: skip
"""Fields of each structure, by the field that it stands in, with what they are when nobody sets them"""


def shown(claims: Sequence[Object] | None) -> list[Object] | None:
    """Return claims as upstream shows them."""
    if claims is None:
        return None
    return [
        (claim.get("metadata") or {}) | {_go(part): _structure(part, claim.get(part) or {}) for part in ("spec", "status")}
        for claim in claims
    ]


def _structure(name: str, given: Object) -> Object:
    return {_go(field): _value(field, given.get(field, empty)) for field, empty in _FIELDS[name].items()}


def _value(field: str, value: Any) -> Any:
    if field in _FIELDS and isinstance(value, dict):
        return _structure(field, value)
    return [_structure(field, item) for item in value] if field in _FIELDS and isinstance(value, list) else value


def _go(field: str) -> str:
    return "APIGroup" if field == "apiGroup" else field[:1].upper() + field[1:]
