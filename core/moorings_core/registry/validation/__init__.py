"""Rules that an object must keep, with upstream's field paths, reasons and words. Pure; every broken rule is reported.

`metadata` holds for every kind; `pods`, `placement`, `workloads`, `network`, `storage` and `settings` add the rules of theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from moorings_core.ports.errors import Invalid
from moorings_core.ports.objects import Object, Resource
from moorings_core.registry.facts import is_built_in

from . import (
    admission_policies,
    aggregation,
    autoscalers,
    claim_status,
    declared,
    device_claims,
    device_slices,
    drivers,
    endpoints,
    events,
    flow_schemas,
    ingresses,
    ips,
    jobs,
    limits,
    metadata,
    network,
    network_policies,
    placement,
    pods,
    policies,
    priority_levels,
    registrations,
    roles,
    settings,
    storage,
    trust_bundles,
    workload_status,
    workloads,
)
from .errors import FieldError, Path


def _create_definition(obj: Object) -> list[FieldError]:
    from moorings_core.registry.custom import definition  # which is made of the rules of this package

    return definition.validate_create(obj)


def _update_definition(new: Object, old: Object) -> list[FieldError]:
    from moorings_core.registry.custom import definition

    return definition.validate_update(new, old)


Create = Callable[[Object], list[FieldError]]
Update = Callable[[Object, Object], list[FieldError]]

_CREATE: dict[tuple[str, str], Create] = {
    **pods.CREATE,
    **aggregation.CREATE,
    **workloads.CREATE,
    **jobs.CREATE,
    **network.CREATE,
    **storage.CREATE,
    **settings.CREATE,
    **roles.CREATE,
    **flow_schemas.CREATE,
    **autoscalers.CREATE,
    **drivers.CREATE,
    **endpoints.CREATE,
    **events.CREATE,
    **ingresses.CREATE,
    **trust_bundles.CREATE,
    **placement.CREATE,
    **policies.CREATE,
    ("apiextensions.k8s.io", "customresourcedefinitions"): _create_definition,
    **registrations.CREATE,
    **admission_policies.CREATE,
    **limits.CREATE,
    **priority_levels.CREATE,
    **network_policies.CREATE,
    **device_claims.CREATE,
    **device_slices.CREATE,
}
_UPDATE: dict[tuple[str, str], Update] = {
    **pods.UPDATE,
    **workloads.UPDATE,
    **jobs.UPDATE,
    **network.UPDATE,
    **storage.UPDATE,
    **settings.UPDATE,
    **roles.UPDATE,
    **drivers.UPDATE,
    **endpoints.UPDATE,
    **events.UPDATE,
    **ingresses.UPDATE,
    **trust_bundles.UPDATE,
    **policies.UPDATE,
    **placement.UPDATE,
    **limits.UPDATE,
    **device_claims.UPDATE,
    **device_slices.UPDATE,
    ("apiextensions.k8s.io", "customresourcedefinitions"): _update_definition,
}
_STATUS: dict[tuple[str, str], Update] = {
    **network.STATUS,
    **settings.STATUS,
    **limits.STATUS,
    **placement.STATUS,
    **policies.STATUS,
    **storage.STATUS,
    **admission_policies.STATUS,
    **workload_status.RULES,
    **pods.STATUS,
    **jobs.STATUS,
    ("resource.k8s.io", "resourceclaims"): claim_status.check_status,
}
_UPDATE_ALONE = {
    ("discovery.k8s.io", "endpointslices"),
    ("batch", "jobs"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("events.k8s.io", "events"),
    ("networking.k8s.io", "servicecidrs"),
    ("resource.k8s.io", "resourceclaims"),
    ("resource.k8s.io", "resourceslices"),
    ("scheduling.k8s.io", "priorityclasses"),
    ("storage.k8s.io", "volumeattachments"),
}
"""Kinds whose rules of updates say all that those of creations do."""
_UPDATE_FIRST = {
    ("", "configmaps"),
    ("", "secrets"),
    ("apps", "daemonsets"),
    ("networking.k8s.io", "ingressclasses"),
    ("node.k8s.io", "runtimeclasses"),
    ("storage.k8s.io", "volumeattributesclasses"),
}
"""Kinds whose answers name what may not change before what is wrong in itself."""
_CREATED_ONLY = {
    ("", "pods"): "spec.ephemeralContainers: Forbidden: cannot be set on create",
    ("apps", "statefulsets"): "spec.volumeClaimTemplates[",
}
"""How errors begin that are told of creations alone"""
_GROUPS = {"events.k8s.io": ""}
"""Groups whose kinds upstream knows by another name where it says what is wrong with them"""


def validate_create(resource: Resource, obj: Object) -> list[FieldError]:
    """Return what is wrong with a new object."""
    rule = _CREATE.get((resource.group, resource.plural))
    return declared.ordered(metadata.check(resource, obj) + (rule(obj) if rule else []))


def validate_update(resource: Resource, new: Object, old: Object) -> list[FieldError]:
    """Return what is wrong with an object that replaces another."""
    create, update = _CREATE.get((resource.group, resource.plural)), _UPDATE.get((resource.group, resource.plural))
    found = metadata.check(resource, new) + metadata.check_update(new, old)
    alone = (resource.group, resource.plural) in _UPDATE_ALONE
    wrong = ips.tolerated(create(new), lambda: create(old)) if create and not alone else []
    if (once := _CREATED_ONLY.get((resource.group, resource.plural))) is not None:
        wrong = [error for error in wrong if not str(error).startswith(once)]
    changed = update(new, old) if update else []
    first = (resource.group, resource.plural) in _UPDATE_FIRST
    return declared.ordered(found + (changed + wrong if first else wrong + changed))


def validate_status(resource: Resource, new: Object, old: Object) -> list[FieldError]:
    """Return what is wrong with an object whose status is written."""
    rule = _STATUS.get((resource.group, resource.plural))
    found = metadata.check(resource, new) + metadata.check_update(new, old) if is_built_in(resource) else []
    return declared.ordered(found + (rule(new, old) if rule else []))


def to_invalid(resource: Resource, name: str, errors: Sequence[FieldError]) -> Invalid:
    """Return the 422 answer that lists all errors, each once."""
    errors = list(dict.fromkeys(errors))
    listed = [str(e) for e in errors]
    group = _GROUPS.get(resource.group, resource.group)
    kind = f"{resource.kind}.{group}" if group else resource.kind
    text = listed[0] if len(listed) == 1 else f"[{', '.join(listed)}]"
    causes = [{"reason": e.reason, "message": e.message, "field": e.field} for e in errors]
    details: Object = {"name": name, "group": group, "kind": resource.kind, "causes": causes}
    return Invalid(f'{kind} "{name}" is invalid: {text}', details={k: v for k, v in details.items() if v})


__all__ = ["FieldError", "Path", "to_invalid", "validate_create", "validate_status", "validate_update"]
