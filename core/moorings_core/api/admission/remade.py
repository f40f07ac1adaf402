"""What a webhook or policy has made of an object becomes an object of its kind again: typed, without unknown fields, defaulted.

Source: upstream decodes what comes back into its structures, or by the schema of a custom kind.
"""

from __future__ import annotations

from moorings_core.ports.objects import Object
from moorings_core.registry import defaults
from moorings_core.registry.kinds import Registry
from moorings_core.registry.schema import check_types, is_clean, prune

from .attributes import Attributes


class NotTheKind(ValueError):
    """What was made has fields of other types than its kind's."""


def remade(registry: Registry, a: Attributes, new: Object) -> Object:
    """Return what was made of the object of a write, which it may become part of. Raises NotTheKind."""
    group, version, name = a.group_version_kind
    kind = registry.by_kind(group, version, name)
    if kind is None:
        return new
    if kind.custom is not None:
        wrong, _ = kind.custom.decode(new)
        if wrong:
            raise NotTheKind(wrong[0])
        return new
    if kind.schema is not None and not is_clean(new, kind.schema):
        if wrong_types := check_types(new, kind.schema):
            raise NotTheKind(wrong_types[0][1])
        new = prune(new, kind.schema)
    if not a.subresource:
        defaults.apply(a.resource, new)
    return new
