"""A column, and the forms that cells share: ages, counts, lists of names."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from moorings_core.ports.objects import Object

Cell = Callable[[Object, datetime.datetime], Any]
NONE, UNKNOWN, UNSET = "<none>", "<unknown>", "<unset>"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; priority 0 is always shown, 1 only in wide output."""

    name: str
    cell: Cell
    type: str = "string"
    priority: int = 0
    format: str = ""
    description: str = ""

    def definition(self) -> Object:
        """Return the column as a Table's columnDefinition."""
        about = {"format": self.format, "description": self.description, "priority": self.priority}
        return {"name": self.name, "type": self.type, **about}


def field(name: str, path: str, missing: Any = NONE, *, type: str = "string", priority: int = 0, format: str = "") -> Column:
    """Return a column that shows one field of the object, by its dotted path."""
    parts = path.split(".")

    def read(obj: Object, _: datetime.datetime) -> Any:
        value: Any = obj
        for part in parts:
            value = value.get(part) if isinstance(value, Mapping) else None
        return missing if value is None or value == "" else value

    return Column(name, read, type, priority, format)


def age(timestamp: str | None, now: datetime.datetime) -> str:
    """Return the time since a timestamp in upstream's short form: 45s, 3m12s, 5h, 2d3h, 400d."""
    if not timestamp:
        return UNKNOWN
    seconds = int((now - parse_time(timestamp)).total_seconds())
    return duration(seconds)


def duration(seconds: int) -> str:
    """Return a length of time with about two digits of precision, as upstream's HumanDuration."""
    if seconds < 0:
        return "<invalid>" if seconds < -1 else "0s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    if days < 8 * 365:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def parse_time(text: str) -> datetime.datetime:
    """Return an RFC 3339 timestamp as a datetime."""
    return datetime.datetime.fromisoformat(text)


def labels(values: Mapping[str, str] | None) -> str:
    """Return labels or a selector as k=v,k=v."""
    return ",".join(f"{k}={v}" for k, v in sorted((values or {}).items())) or NONE


def selector(given: Object | None) -> str:
    """Return a label selector as text."""
    if not given:
        return NONE
    parts = [f"{k}={v}" for k, v in sorted((given.get("matchLabels") or {}).items())]
    for e in given.get("matchExpressions") or ():
        values = f" ({','.join(sorted(e.get('values') or ()))})"
        forms = {"In": f"{e['key']} in{values}", "NotIn": f"{e['key']} notin{values}", "Exists": e["key"]}
        parts.append(forms.get(e["operator"], f"!{e['key']}"))
    return ",".join(parts) or NONE


def _two(first: int, unit: str, second: int, small: str) -> str:
    return f"{first}{unit}{second}{small}" if second else f"{first}{unit}"


def since(path: str) -> Cell:
    """Return a cell function for the age of a timestamp field."""
    read = field("", path, None).cell
    return lambda obj, now: age(read(obj, now), now)


NAME = Column("Name", lambda obj, _: obj["metadata"]["name"], format="name")
AGE = Column("Age", since("metadata.creationTimestamp"))
