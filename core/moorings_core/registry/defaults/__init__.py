"""Values that the API fills in where a client left them out. `apply` changes the object in place and may be called again.

One module per area, one function per kind. OpenAPI declares few of them; these follow upstream's defaults, which the
differential tests hold them against.
"""

from __future__ import annotations

from collections.abc import Callable

from moorings_core.ports.objects import Object, Resource
from moorings_core.registry.custom import definition

from . import access, admission, devices, events, flows, network, off, storage, workloads

Rule = Callable[[Object], None]

_RULES: dict[tuple[str, str], Rule] = {**workloads.RULES, **network.RULES, **storage.RULES, **access.RULES}
_RULES |= {**admission.RULES, **flows.RULES, **events.RULES, **devices.RULES}
_RULES[definition.GROUP, definition.PLURAL] = definition.fill


def apply(resource: Resource, obj: Object) -> None:
    """Fill in the defaults of an object of the resource, and take away what belongs to features that are off."""
    off.from_other((resource.group, resource.plural), obj)
    rule = _RULES.get((resource.group, resource.plural))
    if resource.plural == "horizontalpodautoscalers" and resource.version == "v1":
        obj.setdefault("spec", {}).setdefault("minReplicas", 1)  # the rest is that of version 2, which it is made
    elif rule is not None:
        rule(obj)
