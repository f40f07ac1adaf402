"""Notes who manages which fields of an object as ordinary writes come in: what a request says, before admission and strategies change it.

Source: apiserver's create, update and patch handlers, which ask the field manager at the same moment; the strategies' GetResetFields.
"""

from __future__ import annotations

import functools

from moorings_core.ports.objects import Object
from moorings_core.registry.annotations import TEMPLATE_GENERATION
from moorings_core.registry.kinds import Kind
from moorings_core.registry.schema import Schema, named
from moorings_core.registry.shape import filled
from moorings_core.registry.strategy import kept_from_status

from .apply.managers import UPDATE, Manager, created, updated
from .codec import now
from .context import SYSTEM, Context

SERVER = "kube-apiserver"
DAEMON_SETS = ("apps", "daemonsets")
REQUESTS = ("certificates.k8s.io", "certificatesigningrequests")
"""Of these upstream notes the metadata alone"""
EMPTY: Object = {"metadata": {}}


def begin(kind: Kind, obj: Object, context: Context) -> None:
    """Note who has made an object, in its metadata."""
    obj.setdefault("metadata", {})
    empty = EMPTY if kind.custom is not None or kind.schema is None else _empty(kind.schema.name)
    _put(obj, created(_noted(kind, _counted(kind, obj)), empty, kind.schema, manager(kind, context), now()))


def go_on(kind: Kind, new: Object, old: Object, context: Context, subresource: str) -> None:
    """Note who has changed an object, where that has been noted from its beginning; new gets it in its metadata."""
    if "managedFields" not in old["metadata"]:
        return
    before, after = (_noted(kind, side, subresource) for side in (old, _counted(kind, new)))
    _put(new, updated(before, after, kind.schema, manager(kind, context, subresource), now()))


def of_new(said: Object, schema: Schema, writer: Manager) -> list[Object]:
    """Return the managedFields of what somebody has made by saying so much."""
    return created(filled(said, schema, lists=False), _empty(schema.name), schema, writer, now())


def by_server(new: Object, old: Object, schema: Schema, subresource: str = "") -> None:
    """Note what the server itself changes beside a request, where that has been noted from the beginning."""
    if "managedFields" in old["metadata"]:
        _put(new, updated(old, new, schema, Manager(SERVER, UPDATE, new["apiVersion"], subresource), now()))


def manager(kind: Kind, context: Context, subresource: str = "") -> Manager:
    """Return who makes an ordinary write to a kind."""
    return Manager(name_of(context), UPDATE, kind.resource.api_version, subresource)


def name_of(context: Context) -> str:
    """Return who makes a write: as the request says, or the component that does."""
    own = SERVER if context.user.name == SYSTEM.name else context.user.name.removeprefix("system:")
    return context.options.field_manager or own


@functools.cache
def _empty(name: str) -> Object:
    """Return an empty object of a definition; what the strategy drops of new objects may be in it."""
    return filled(EMPTY, named(name), lists=False)


def _noted(kind: Kind, obj: Object, subresource: str = "") -> Object:
    """Return the part of an object that a write may change, as upstream's structures hold it: an empty one of its kind is not empty."""
    if kind.custom is None and kind.schema is not None:
        obj = filled(obj, kind.schema, lists=False)
    if "status" not in kind.subresources:
        return obj
    if (kind.resource.group, kind.resource.plural) == REQUESTS:
        return {"metadata": obj["metadata"]}
    if subresource == "status":
        kept = kept_from_status(kind.resource)
        metadata = {k: v for k, v in obj["metadata"].items() if k not in kept}
        return {"metadata": metadata} | ({"status": obj["status"]} if "status" in obj else {})
    return {k: v for k, v in obj.items() if k != "status"}


def _counted(kind: Kind, obj: Object) -> Object:
    """Return a DaemonSet with the count of its templates, which upstream's decoder gives to those that come without."""
    annotations = obj["metadata"].get("annotations") or {}
    if (kind.resource.group, kind.resource.plural) != DAEMON_SETS or TEMPLATE_GENERATION in annotations:
        return obj
    return {**obj, "metadata": {**obj["metadata"], "annotations": {**annotations, TEMPLATE_GENERATION: "0"}}}


def _put(obj: Object, managed: list[Object] | None) -> None:
    obj["metadata"].pop("managedFields", None)
    if managed:
        obj["metadata"]["managedFields"] = managed
