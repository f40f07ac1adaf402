"""NamespaceLifecycle: nothing is created where no namespace is or where one is going, and some namespaces are for ever."""

from __future__ import annotations

from moorings_core.api import problems
from moorings_core.client.resources import NAMESPACES
from moorings_core.ports.objects import Key

from .attributes import Attributes
from .plugin import ANY, Step, World

IMMORTAL = frozenset({"default", "kube-system", "kube-public"})


def require_living(world: World, a: Attributes) -> None:
    """Refuse what is created in a namespace that is not there or is being emptied. Raises NotFound, Forbidden."""
    name = a.key.namespace
    if not a.resource.namespaced:
        return
    found = world.cache.collection("", "namespaces").get(Key("", name))
    if found is None:
        raise problems.not_found(NAMESPACES, name)
    if (found.object.get("status") or {}).get("phase") == "Terminating":
        error = a.forbidden(f"unable to create new content in namespace {name} because it is being terminated")
        message = f"namespace {name} is being terminated"
        cause = {"reason": "NamespaceTerminating", "message": message, "field": "metadata.namespace"}
        error.details = {**error.details, "causes": [cause]}
        raise error


def keep_immortal(world: World, a: Attributes) -> None:
    """Refuse the deletion of a namespace that every cluster has."""
    if a.key.name in IMMORTAL:
        raise a.forbidden("this namespace may not be deleted")


MUTATE = (
    Step(require_living, ("CREATE",), None, (ANY,)),
    Step(keep_immortal, ("DELETE",), ("", "namespaces")),
)
