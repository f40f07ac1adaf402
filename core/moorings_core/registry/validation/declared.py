"""Forms that upstream declares on its types rather than writes out: the same rules in other words, told after everything else.

Source: apimachinery's pkg/api/validate, and the +k8s tags of k8s.io/api.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from . import names
from .errors import FieldError, Path, duplicate, invalid, required, too_many

CASELESS_WORDS = (
    "an RFC 1123 subdomain must consist of alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character "
    "(e.g. 'Example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
DRIVER_MOST = 63


def late(found: Iterable[FieldError]) -> list[FieldError]:
    """Return errors as those that are told last."""
    return [replace(error, late=True) for error in found]


def ordered(found: Sequence[FieldError]) -> list[FieldError]:
    """Return errors in the order in which upstream tells them."""
    return [error for error in found if not error.late] + [error for error in found if error.late]


def too_many_characters(path: Path, most: int) -> FieldError:
    """The text has more than `most` characters."""
    return FieldError("FieldValueTooLong", path, f"Too long: may not be more than {most} characters")


def driver_name(value: str, path: Path) -> list[FieldError]:
    """Return what is wrong with the name of a driver (k8s-long-name-caseless)."""
    if not value:
        return [required(path)]
    found = [invalid(path, value, "must be no more than 253 bytes")] if len(value) > 253 else []
    if not all(_LABEL.fullmatch(part) for part in value.lower().split(".")):
        found.append(invalid(path, value, CASELESS_WORDS))
    return [*found, too_many_characters(path, DRIVER_MOST)] if len(value) > DRIVER_MOST else found


def short_name(value: str, path: Path) -> list[FieldError]:
    """Return what is wrong with a DNS label (k8s-short-name)."""
    return _in_bytes(value, path, names.label(value))


def long_name(value: str, path: Path) -> list[FieldError]:
    """Return what is wrong with a DNS subdomain (k8s-long-name)."""
    return _in_bytes(value, path, names.subdomain(value))


def few(path: Path, items: Sequence[object] | None, most: int) -> list[FieldError]:
    """Return whether a list has more than `most` items."""
    return [too_many(path, len(items), most)] if items and len(items) > most else []


def unique(path: Path, keys: Sequence[object]) -> list[FieldError]:
    """Return which items of a list have a key that one before them has."""
    return [duplicate(path.at(i), key) for i, key in enumerate(keys) if key in keys[:i]]


def _in_bytes(value: str, path: Path, complaint: str) -> list[FieldError]:
    if complaint.startswith("must be no more than"):
        complaint = complaint.replace("characters", "bytes")
    return [invalid(path, value, complaint)] if complaint else []
