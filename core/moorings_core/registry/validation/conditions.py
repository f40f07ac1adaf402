"""Rules of conditions of the common form (metav1.Condition). Source: apimachinery's apis/meta/v1/validation."""

from __future__ import annotations

import re
from collections.abc import Sequence

from moorings_core.ports.objects import Object

from .errors import FieldError, Path, duplicate, invalid, not_supported, required, too_long
from .formats import qualified

STATUSES = ("False", "True", "Unknown")
REASON_MOST, MESSAGE_MOST = 1024, 32 * 1024
REASON = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?")
REASON_WORDS = (
    "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and "
    "must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or "
    "'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')"
)


def conditions(given: Sequence[Object] | None, path: Path) -> list[FieldError]:
    """Return what is wrong with a list of conditions."""
    found: list[FieldError] = []
    seen: set[str] = set()
    for i, condition in enumerate(given or ()):
        kind = condition.get("type") or ""
        if kind in seen:
            found.append(duplicate(path.at(i), kind))
        seen.add(kind)
        found += _condition(condition, path.at(i))
    return found


def _condition(given: Object, path: Path) -> list[FieldError]:
    kind, status, reason, generation = (given.get(f) for f in ("type", "status", "reason", "observedGeneration"))
    found = qualified(kind, path / "type") if kind else [required(path / "type", "is required")]
    if not status:
        found.append(required(path / "status"))
    elif status not in STATUSES:
        found.append(not_supported(path / "status", status, STATUSES))
    if generation is not None and generation < 0:
        found.append(invalid(path / "observedGeneration", generation, "must be greater than or equal to zero"))
    if not given.get("lastTransitionTime"):
        found.append(required(path / "lastTransitionTime"))
    found += condition_reason(reason, path / "reason") if reason else [required(path / "reason")]
    if len((reason or "").encode()) > REASON_MOST:
        found.append(too_long(path / "reason", REASON_MOST))
    return found if len((given.get("message") or "").encode()) <= MESSAGE_MOST else [*found, too_long(path / "message", MESSAGE_MOST)]


def condition_reason(reason: str, path: Path) -> list[FieldError]:
    """Return whether a text is no word for machines."""
    return [] if REASON.fullmatch(reason) else [invalid(path, reason, REASON_WORDS)]
