"""What a controller says: the data types between a pure reconcile and the loop that acts on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Protocol

from moorings_core.client.informer import IndexFunction
from moorings_core.ports.client import Write
from moorings_core.ports.errors import ApiError
from moorings_core.ports.objects import Object, Resource

if TYPE_CHECKING:
    from .cache import View

WorkKey = tuple[str, ...]
"""What a controller works on, usually a `ports.objects.Key`; the first part is the namespace, by which turns are taken."""


@dataclass(frozen=True, slots=True)
class Note:
    """An Event to record. In message {name} is the written object's name and {error} the reason of a failure."""

    about: Object
    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Intent:
    """A write to do, what to tell when it is done or refused, and the refusals that mean it is done already."""

    write: Write
    done: Note | None = None
    failed: Note | None = None
    settled_by: tuple[type[ApiError], ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """Something caches can't be trusted with: a live read of an object, or of a collection when name is "".

    Of a collection the answer has 500 objects at most, or with `whole` all.
    """

    resource: Resource
    namespace: str
    name: str = ""
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What is to be done about a key.

    With questions, nothing else is done: they are asked and reconcile is called again with `view.answers`. requeue_after is in
    seconds; None: not before something changes.
    """

    intents: Sequence[Intent] = ()
    notes: Sequence[Note] = ()
    questions: Sequence[Question] = ()
    requeue_after: float | None = None


@dataclass(frozen=True, slots=True)
class Watch:
    """A collection that a controller reads, and the keys of its work that a change (old, new) there touches."""

    resource: Resource
    keys: Callable[[View, Object | None, Object | None], Iterable[WorkKey]]
    indexes: Mapping[str, IndexFunction] = field(default_factory=dict)


class Controller(Protocol):
    """One controller. reconcile is pure: no I/O, no clock but `now`, no state that a restart would miss."""

    @property
    def name(self) -> str:
        """As upstream names it, e.g. "replicaset-controller"; it signs Events."""

    def watches(self) -> Sequence[Watch]:
        """Return what it reads."""

    def reconcile(self, key: WorkKey, view: View, now: datetime) -> Result:
        """Return what brings the world of this key nearer to what is wanted; nothing when it is as wanted."""
