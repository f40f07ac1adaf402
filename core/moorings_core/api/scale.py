"""The scale subresource: any workload with replicas as an autoscaling/v1 Scale."""

from __future__ import annotations

from moorings_core.ports.errors import ApiError, BadRequest
from moorings_core.ports.objects import Object, Resource
from moorings_core.registry.columns.column import NONE, selector
from moorings_core.registry.custom import served
from moorings_core.registry.custom.columns import path
from moorings_core.registry.custom.kind import CustomVersion
from moorings_core.registry.validation import to_invalid
from moorings_core.registry.validation.errors import invalid

from .cache import copied

SCALES = Resource("autoscaling", "v1", "scales", "Scale", True)


def scale_of(resource: Resource, obj: Object) -> Object:
    """Return the scale of a workload."""
    names = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    metadata = {k: obj["metadata"][k] for k in names if k in obj["metadata"]}
    custom = served.of(resource)
    if custom is not None and custom.scale is not None:
        return _custom(custom.scale, obj, metadata)
    given = obj["spec"].get("selector")
    wanted = {"matchLabels": given} if resource.plural == "replicationcontrollers" else given
    text = selector(wanted)
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": obj["spec"].get("replicas", 0)},
        "status": {"replicas": obj.get("status", {}).get("replicas", 0), "selector": "" if text == NONE else text},
    }


def _custom(places: Object, obj: Object, metadata: Object) -> Object:
    """Return the scale of an object of a custom kind, whose definition says where its numbers stand. Raises Invalid."""
    replicas, ready, chosen = (path(places.get(f) or ".")(obj) for f in ("specReplicasPath", "statusReplicasPath", "labelSelectorPath"))
    if not replicas or replicas[0] is None:
        text = f"the spec replicas field {places['specReplicasPath']} does not exist"
        raise ApiError(f"Internal error occurred: {text}", details={"causes": [{"message": text}]})
    status: Object = {"replicas": ready[0] if ready and isinstance(ready[0], int) else 0}
    if places.get("labelSelectorPath") and chosen and isinstance(chosen[0], str):
        status["selector"] = chosen[0]
    body = {"spec": {"replicas": replicas[0]}, "status": status}
    return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, **body}


def replicas_path(custom: CustomVersion | None) -> str:
    """Return where the wanted replicas of a workload stand, as a JSON path; custom: its definition, None for a built-in kind."""
    return ".spec.replicas" if custom is None else str((custom.scale or {}).get("specReplicasPath", ""))


def apply_scale(obj: Object, scale: Object, place: str = ".spec.replicas") -> Object:
    """Return the workload with the replicas of a scale; place: where they stand. Raises BadRequest, Invalid."""
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        raise BadRequest('Scale in version "v1" cannot be handled as a Scale: spec.replicas is not a number')
    if replicas < 0:
        error = invalid("spec.replicas", replicas, "must be greater than or equal to 0")
        raise to_invalid(SCALES, obj["metadata"]["name"], [error])
    new: Object = copied(obj)
    holder = new
    *above, last = place.strip(".").split(".")
    for name in above:
        holder = holder.setdefault(name, {})
    holder[last] = replicas
    return new
