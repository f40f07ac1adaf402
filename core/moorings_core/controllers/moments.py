"""Times as the API writes them (RFC 3339, UTC, whole seconds or microseconds)."""

from __future__ import annotations

from datetime import UTC, datetime

from moorings_core.ports.objects import Object


def stamp(when: datetime) -> str:
    """Return a metav1.Time."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse(text: object) -> datetime | None:
    """Return the time that a metav1.Time or MicroTime means; None for an absent or unreadable one."""
    if not isinstance(text, str) or not text:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def since(text: object, now: datetime) -> float:
    """Return the seconds from a written time until now; 0 when it is absent or ahead."""
    when = parse(text)
    return max((now - when).total_seconds(), 0.0) if when else 0.0


def created(obj: Object) -> str:
    """Return a sort key: the time an object was made, as written (they compare as text), then its name."""
    metadata = obj["metadata"]
    return f"{metadata.get('creationTimestamp') or ''} {metadata['name']}"
