"""The last step of a conversion: empty fields are written as the API that shows the object writes them."""

from __future__ import annotations

from moorings_core.ports.objects import Object, Resource
from moorings_core.registry.facts import definition_of
from moorings_core.registry.schema import named, prune
from moorings_core.registry.shape import fill


def settled(obj: Object, resource: Resource) -> Object:
    """Return an object of a resource without what the API leaves out, and with what it writes of fields that hold nothing."""
    schema = named(definition_of(resource.group, resource.version, resource.kind))
    made: Object = prune(obj, schema)
    fill(made, schema)
    return made
