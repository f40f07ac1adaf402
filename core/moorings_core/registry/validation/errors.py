"""Errors of fields in upstream's words. Source: apimachinery util/validation/field."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


class Path(str):
    """A field path: `Path("spec") / "ports" [0]` is spec.ports[0]."""

    __slots__ = ()

    def __truediv__(self, field: str) -> Path:
        return Path(f"{self}.{field}" if self else field)

    def at(self, index: int | str) -> Path:
        """Return the path of an item or of a map's key."""
        return Path(f"{self}[{index}]")


@dataclass(frozen=True, slots=True)
class FieldError:
    """reason is the machine's word (FieldValueRequired ...), message the human's.

    late: upstream finds it by what it declares on its types, and tells it after everything else.
    """

    reason: str
    field: str
    message: str
    late: bool = dataclasses.field(default=False, compare=False)

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


def required(field: str, detail: str = "") -> FieldError:
    """The field must be there."""
    return FieldError("FieldValueRequired", field, "Required value" + (f": {detail}" if detail else ""))


def invalid(field: str, value: Any, detail: str) -> FieldError:
    """The field's value breaks a rule."""
    return FieldError("FieldValueInvalid", field, f"Invalid value: {_shown(value)}" + (f": {detail}" if detail else ""))


def omitted(field: str, detail: str) -> FieldError:
    """The field's value breaks a rule; the value itself is not told."""
    return FieldError("FieldValueInvalid", field, f"Invalid value: {detail}")


def not_supported(field: str, value: Any, allowed: Iterable[str]) -> FieldError:
    """The field's value is not one of those known."""
    listed = ", ".join(f'"{a}"' for a in allowed)
    return FieldError("FieldValueNotSupported", field, f"Unsupported value: {_shown(value)}: supported values: {listed}")


def forbidden(field: str, detail: str = "") -> FieldError:
    """The field may not be set, or not be changed, here."""
    return FieldError("FieldValueForbidden", field, "Forbidden" + (f": {detail}" if detail else ""))


def duplicate(field: str, value: Any, detail: str = "") -> FieldError:
    """The value is there already."""
    return FieldError("FieldValueDuplicate", field, f"Duplicate value: {_shown(value)}" + (f": {detail}" if detail else ""))


def not_found(field: str, value: Any, detail: str = "") -> FieldError:
    """The value names something that is not there."""
    return FieldError("FieldValueNotFound", field, f"Not found: {_shown(value)}" + (f": {detail}" if detail else ""))


def too_long(field: str, most: int) -> FieldError:
    """The value has more than `most` bytes or items."""
    return FieldError("FieldValueTooLong", field, f"Too long: may not be more than {most} bytes")


def too_many(field: str, count: int, most: int) -> FieldError:
    """The list has more than `most` items."""
    return FieldError("FieldValueTooMany", field, f"Too many: {count}: must have at most {most} items")


class Pointed(str):
    """A text that upstream holds by a pointer, and so shows as its JSON encoder does."""

    __slots__ = ()


_HTML = str.maketrans({c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"})


def _shown(value: Any) -> str:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text if type(value) is str else text.translate(_HTML)
