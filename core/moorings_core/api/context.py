"""Who asks for what: the caller and the options of a request, as the pipeline passes them on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from moorings_core.ports.objects import Object, Resource
from moorings_core.registry.validation import to_invalid
from moorings_core.registry.validation.errors import not_supported

PROPAGATIONS = ("Foreground", "Background", "Orphan")
DELETE_OPTIONS = Resource("meta.k8s.io", "v1", "deleteoptions", "DeleteOptions", False)
MASTERS = "system:masters"


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated caller."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


SYSTEM = User("system:apiserver", (MASTERS,))
ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """field_validation is Ignore, Warn or Strict; propagation and preconditions are of deletions."""

    dry_run: bool = False
    field_validation: str = "Warn"
    field_manager: str = ""
    force: bool = False
    grace: int | None = None
    propagation: str = ""
    uid: str = ""
    version: str = ""


NO_OPTIONS = WriteOptions()
Guard = Callable[[str, Resource, str, "Object | None", "Object | None"], None]
"""Refuses a write of this caller by what it does: CREATE, UPDATE or DELETE, resource, subresource, new and old object"""


@dataclass(slots=True)
class Context:
    """One request: its caller, its options, the warnings that the answer will carry, and what the audit log is to know.

    guard: None where nothing is to refuse.
    """

    user: User = SYSTEM
    options: WriteOptions = NO_OPTIONS
    warnings: list[str] = field(default_factory=list)
    guard: Guard | None = None
    made: str = ""
    """The name of the object that the request has created"""
    annotations: dict[str, str] = field(default_factory=dict)
    duplicates: list[str] = field(default_factory=list)
    """Fields that stand twice in the body, where that is refused: they are told together with the unknown ones"""

    def annotate(self, key: str, value: str) -> None:
        """Say something to the audit log; what was said first under a key stays."""
        self.annotations.setdefault(key, value)


def delete_options(body: Object, base: WriteOptions) -> WriteOptions:
    """Return the options of a deletion, those in its DeleteOptions body over those in the query. Raises Invalid."""
    preconditions = body.get("preconditions") or {}
    grace = body.get("gracePeriodSeconds")
    propagation = body.get("propagationPolicy") or base.propagation
    if propagation not in ("", *PROPAGATIONS):
        raise to_invalid(DELETE_OPTIONS, "", [not_supported("propagationPolicy", propagation, (*PROPAGATIONS, "nil"))])
    if body.get("orphanDependents") is not None and not propagation:
        propagation = "Orphan" if body["orphanDependents"] else "Background"
    return WriteOptions(
        dry_run=base.dry_run or bool(body.get("dryRun")),
        grace=base.grace if grace is None else grace,
        propagation=propagation,
        uid=preconditions.get("uid", base.uid),
        version=preconditions.get("resourceVersion", base.version),
    )
