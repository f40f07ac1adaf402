"""The scale subresource: any workload with replicas as an autoscaling/v1 Scale."""

from __future__ import annotations

from moorings_core.ports.errors import BadRequest
from moorings_core.ports.objects import Object, Resource
from moorings_core.registry.columns.column import NONE, selector
from moorings_core.registry.validation import to_invalid
from moorings_core.registry.validation.errors import invalid

from .cache import copied

SCALES = Resource("autoscaling", "v1", "scales", "Scale", True)


def scale_of(resource: Resource, obj: Object) -> Object:
    """Return the scale of a workload."""
    metadata = {k: obj["metadata"][k] for k in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")}
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


def apply_scale(obj: Object, scale: Object) -> Object:
    """Return the workload with the replicas of a scale. Raises BadRequest, Invalid."""
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        raise BadRequest('Scale in version "v1" cannot be handled as a Scale: spec.replicas is not a number')
    if replicas < 0:
        error = invalid("spec.replicas", replicas, "must be greater than or equal to 0")
        raise to_invalid(SCALES, obj["metadata"]["name"], [error])
    new: Object = copied(obj)
    new["spec"]["replicas"] = replicas
    return new
