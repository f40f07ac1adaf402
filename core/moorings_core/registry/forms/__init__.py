"""Built-in kinds that two APIs serve as one: kept in one form, shown in the form of the API that is asked.

Events are events of core/v1 and of events.k8s.io/v1, autoscalers those of autoscaling/v1 and v2. Writes are decided in the form that
the client speaks, and what the strategy of the kind says of them in the form that is kept. Pure. Source: upstream's
pkg/apis/events/v1 and pkg/apis/autoscaling/v1 (conversion.go), and kubeapiserver's storage factory (cohabitating resources).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from moorings_core.ports.objects import Object, Resource

from . import autoscalers, events

Convert = Callable[[Object], Object]
Place = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Form:
    """A form that is not kept: which one is, and the way there and back."""

    kept: Resource
    to_kept: Convert
    from_kept: Convert


_FORMS: Mapping[Place, Form] = {
    ("events.k8s.io", "v1", "events"): Form(events.CORE, events.to_core, events.from_core),
    ("autoscaling", "v1", "horizontalpodautoscalers"): Form(autoscalers.SECOND, autoscalers.to_second, autoscalers.from_second),
}
_KEPT = {form.kept for form in _FORMS.values()}
_PLACES = {(place[0], place[2]): (form.kept.group, form.kept.plural) for place, form in _FORMS.items()}
_BY_VERSION = {(f"{place[0]}/{place[1]}", form.kept.kind): form for place, form in _FORMS.items()}


def form_of(resource: Resource) -> Form | None:
    """Return the form of a resource, None for one whose objects are kept as they are shown."""
    return _FORMS.get((resource.group, resource.version, resource.plural))


def is_shared(resource: Resource) -> bool:
    """Whether another API serves the objects of this resource, too."""
    return resource in _KEPT or form_of(resource) is not None


def place(group: str, plural: str) -> tuple[str, str]:
    """Return the group and plural under which the objects of a resource are kept."""
    return _PLACES.get((group, plural), (group, plural))


def kept(obj: Object) -> Object:
    """Return an object in the form that is kept; where it is in it, the same."""
    form = _BY_VERSION.get((obj.get("apiVersion", ""), obj.get("kind", "")))
    return obj if form is None else form.to_kept(obj)


def shown(resource: Resource, obj: Object) -> Object:
    """Return an object in the form of a resource; where it is in it, the same."""
    if obj.get("apiVersion") == resource.api_version:
        return obj
    form = form_of(resource)
    return kept(obj) if form is None else form.from_kept(kept(obj))
