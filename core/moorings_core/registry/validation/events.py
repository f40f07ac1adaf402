"""Rules of Events, in their old form and in the new one. Source: upstream's pkg/apis/core/validation/events.go."""

from __future__ import annotations

from moorings_core.ports.objects import Object

from .errors import FieldError, Path, invalid, required
from .formats import qualified

MOST, NOTE_MOST = 128, 1024
OTHER_HOME = "does not match event.namespace"
UNSET = "needs to be unset"
TYPES = ("Normal", "Warning")
DEPRECATED = (("deprecatedFirstTimestamp", "firstTimestamp"), ("deprecatedLastTimestamp", "lastTimestamp"), ("deprecatedCount", "count"))
FIXED = (
    ("regarding", "involvedObject"), ("reason", "reason"), ("note", "message"), ("deprecatedSource", "source"), *DEPRECATED,
    ("type", "type"), ("action", "action"), ("related", "related"), ("reportingController", "reportingController"),
    ("reportingInstance", "reportingInstance"),
)  # fmt: skip
"""Fields of the new form that stay as they were, with the names that upstream's internal form has for them"""
TEXTS = ("reason", "message", "type", "action", "reportingController", "reportingInstance")


def _old(obj: Object) -> list[FieldError]:
    return _any(obj, obj.get("involvedObject") or {}, "message", "reportingComponent")


def _new(obj: Object) -> list[FieldError]:
    found = _any(obj, obj.get("regarding") or {}, "note", "reportingController") + _series(obj)
    if not obj.get("eventTime"):
        found.append(required(Path("eventTime")))
    if obj.get("type") not in TYPES:
        found.append(invalid("type", "", f"has invalid value: {obj.get('type', '')}"))
    found += [invalid(shown, "", UNSET) for field, shown in DEPRECATED if obj.get(field)]
    if any((obj.get("deprecatedSource") or {}).get(field) for field in ("component", "host")):
        found.append(invalid("source", "", UNSET))
    return found


def _series(obj: Object) -> list[FieldError]:
    series, found = obj.get("series"), list[FieldError]()
    if series is None:
        return []
    if series.get("count", 0) < 2:
        found.append(invalid("series.count", "", "should be at least 2"))
    return found + ([] if series.get("lastObservedTime") else [required(Path("series.lastObservedTime"))])


def _any(obj: Object, about: Object, text: str, controller: str) -> list[FieldError]:
    """Return what is wrong with an event of either form; `text` and `controller` are what fields are called in this one."""
    home, theirs, path = obj["metadata"].get("namespace", ""), about.get("namespace", ""), Path("involvedObject") / "namespace"
    if not obj.get("eventTime"):
        right = home in ("", "default") if not theirs else home == theirs
        return [] if right else [invalid(path, theirs, OTHER_HOME)]
    found = [] if theirs or home in ("default", "kube-system") else [invalid(path, theirs, OTHER_HOME)]
    found += [] if obj.get(controller) else [required(Path(controller))]
    found += qualified(obj.get(controller, ""), Path(controller))
    for field in ("reportingInstance", "action", "reason"):
        if not obj.get(field):
            found.append(required(Path(field)))
        elif len(obj[field]) > MOST:
            found.append(invalid(field, "", f"can have at most {MOST} characters"))
    return found + ([invalid("message", "", f"can have at most {NOTE_MOST} characters")] if len(obj.get(text, "")) > NOTE_MOST else [])


def _new_update(new: Object, old: Object) -> list[FieldError]:
    found = _any(new, new.get("regarding") or {}, "note", "reportingController")
    found += _series(new) if new.get("series") != old.get("series") else []
    changed = ((shown, new.get(field)) for field, shown in FIXED if new.get(field) != old.get(field))
    return found + [invalid(shown, "" if shown in TEXTS and value is None else value, "field is immutable") for shown, value in changed]


CREATE = {("", "events"): _old, ("events.k8s.io", "events"): _new}
UPDATE = {("events.k8s.io", "events"): _new_update}
