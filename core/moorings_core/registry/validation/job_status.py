"""Rules of a Job's status: what is said of a run fits together, and what has ended stays so.

Only what a write changes is held against them. Source: upstream's pkg/apis/batch/validation (validateJobStatus,
ValidateJobStatusUpdate), pkg/registry/batch/job (getStatusValidationOptions).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from moorings_core.ports.objects import Object

from .errors import FieldError, Path, duplicate, invalid, omitted, required

STATUS = Path("status")
CONDITIONS = STATUS / "conditions"
COUNTS = ("active", "succeeded", "failed", "ready", "terminating")
TERMINAL = ("Failed", "Complete", "FailureTarget")


def check_status(new: Object, old: Object) -> list[FieldError]:
    """Return what is wrong with the status of a Job that replaces another."""
    spec, after, before = new.get("spec") or {}, new.get("status") or {}, old.get("status") or {}
    changed = {field for field in after.keys() | before.keys() if after.get(field) != before.get(field)}
    return [
        *_counts(after),
        *_uncounted(after),
        *_completion(after, before, changed),
        *_targets(after, before),
        *_finished(spec, after, before, changed),
        *_indexes(spec, after, changed),
        *_terminating(after, before, changed),
        *_exclusive(spec, after),
        *_kept(spec, after, before),
    ]


def _holds(status: Mapping[str, object], *kinds: str) -> bool:
    given: object = status.get("conditions") or ()
    assert isinstance(given, list | tuple)
    return any(c.get("type") in kinds and c.get("status") == "True" for c in given)


def _differs(kind: str, after: Object, before: Object) -> bool:
    return _holds(after, kind) != _holds(before, kind)


def _counts(status: Object) -> Iterator[FieldError]:
    for field in COUNTS:
        if (status.get(field) or 0) < 0:
            yield invalid(STATUS / field, status[field], "must be greater than or equal to 0")


def _uncounted(status: Object) -> Iterator[FieldError]:
    seen: set[str] = set()
    for field in ("succeeded", "failed"):
        for i, uid in enumerate((status.get("uncountedTerminatedPods") or {}).get(field) or ()):
            path = (STATUS / "uncountedTerminatedPods" / field).at(i)
            if not uid:
                yield invalid(path, uid, "must not be empty")
            elif uid in seen:
                yield duplicate(path, uid)
            seen.add(uid)


def _completion(after: Object, before: Object, changed: set[str]) -> Iterator[FieldError]:
    complete, turned = _holds(after, "Complete"), _differs("Complete", after, before)
    ended, path = after.get("completionTime"), STATUS / "completionTime"
    if (turned or _differs("Failed", after, before)) and complete and _holds(after, "Failed"):
        yield omitted(CONDITIONS, "cannot set Complete=True and Failed=true conditions")
    if (turned or _differs("FailureTarget", after, before)) and complete and _holds(after, "FailureTarget"):
        yield omitted(CONDITIONS, "cannot set Complete=True and FailureTarget=true conditions")
    if turned or "completionTime" in changed:
        if ended and not complete:
            yield invalid(path, ended, "cannot set completionTime when there is no Complete=True condition")
        if complete and not ended:
            yield required(path, "completionTime is required for Complete jobs")
    started = after.get("startTime")
    if {"startTime", "completionTime"} & changed and started and ended and ended < started:
        yield invalid(path, ended, "must be equal to or after `startTime`")


def _targets(after: Object, before: Object) -> Iterator[FieldError]:
    failed = _differs("Failed", after, before) or after.get("failedIndexes") != before.get("failedIndexes")
    if failed and _holds(after, "Failed") and not _holds(after, "FailureTarget"):
        yield omitted(CONDITIONS, "cannot set Failed=True condition without the FailureTarget=true condition")
    met = _differs("Complete", after, before) or _differs("SuccessCriteriaMet", after, before)
    if met and _holds(after, "Complete") and not _holds(after, "SuccessCriteriaMet"):
        yield omitted(CONDITIONS, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition")


def _finished(spec: Object, after: Object, before: Object, changed: set[str]) -> Iterator[FieldError]:
    if not _holds(after, "Complete", "Failed"):
        return
    turned = not _holds(before, "Complete", "Failed")
    if (turned or "active" in changed) and (after.get("active") or 0) > 0:
        yield invalid(STATUS / "active", after["active"], "active>0 is invalid for finished job")
    nothing = spec.get("suspend") and spec.get("completions") == 0
    if (turned or "startTime" in changed) and not after.get("startTime") and not nothing:
        yield required(STATUS / "startTime", "startTime is required for finished job")
    uncounted = after.get("uncountedTerminatedPods") or {}
    if (turned or "uncountedTerminatedPods" in changed) and (uncounted.get("failed") or uncounted.get("succeeded")):
        yield invalid(STATUS / "uncountedTerminatedPods", uncounted, "must be empty for finished job")


def _indexes(spec: Object, status: Object, changed: set[str]) -> Iterator[FieldError]:
    completions, by_index = spec.get("completions"), spec.get("backoffLimitPerIndex") is not None
    done, failed = status.get("completedIndexes") or "", status.get("failedIndexes")
    here = {"completedIndexes": done, "failedIndexes": failed if by_index else None}
    for field, text in here.items():
        if field in changed and completions is not None and text:
            complaint = _intervals(text, completions)[1]
            if complaint:
                yield invalid(STATUS / field, text, f"error parsing {field}: {complaint}")
    if "completedIndexes" in changed and done and spec.get("completionMode") != "Indexed":
        yield invalid(STATUS / "completedIndexes", done, "cannot set non-empty completedIndexes when non-indexed completion mode")
    if "failedIndexes" in changed and failed is not None and not by_index:
        yield invalid(STATUS / "failedIndexes", failed, "cannot set non-null failedIndexes when backoffLimitPerIndex is null")
    if {"completedIndexes", "failedIndexes"} & changed and completions is not None and failed and done:
        pairs = ((a, b) for a in _intervals(done, completions)[0] for b in _intervals(failed, completions)[0])
        common = [max(a[0], b[0]) for a, b in pairs if a[0] <= b[1] and b[0] <= a[1]]
        if common:
            yield invalid(STATUS / "failedIndexes", failed, f"failedIndexes and completedIndexes overlap at index: {min(common)}")


def _intervals(text: str, completions: int) -> tuple[list[tuple[int, int]], str]:
    """Return the intervals of a list of indexes, and what is wrong with it first, if anything."""
    found: list[tuple[int, int]] = []
    complaint, last = "", -1
    for part in text.split(","):
        ends = part.split("-")
        wrong = _interval(part, ends, completions)
        if not wrong and found and last >= int(ends[0]):
            wrong = f"non-increasing order, previous: {last}, current: {int(ends[0])}"
        if wrong:
            complaint = complaint or wrong
            continue
        found.append((int(ends[0]), last := int(ends[-1])))
    return found, complaint


def _interval(part: str, ends: list[str], completions: int) -> str:
    if len(ends) > 2:
        return f"""the fragment "{part}" violates the requirement that an index interval can have at most two parts separated by '-'"""
    for end in ends:
        if not re.fullmatch(r"\+?[0-9]+", end):
            return f'cannot convert string to integer for index: "{end}"'
        if int(end) >= completions:
            return f'too large index: "{end}"'
    if len(ends) == 2 and int(ends[0]) >= int(ends[1]):
        return f"non-increasing order, previous: {int(ends[0])}, current: {int(ends[1])}"
    return ""


def _terminating(after: Object, before: Object, changed: set[str]) -> Iterator[FieldError]:
    finished, was = (_holds(s, "Complete", "Failed") for s in (after, before))
    if (finished != was or "terminating" in changed) and finished and (after.get("terminating") or 0) > 0:
        yield invalid(STATUS / "terminating", after["terminating"], "terminating>0 is invalid for finished job")
    ready = after.get("ready")
    if {"ready", "active"} & changed and ready is not None and ready > (after.get("active") or 0):
        yield invalid(STATUS / "ready", ready, "cannot set more ready pods than active")


def _exclusive(spec: Object, status: Object) -> Iterator[FieldError]:
    met = _holds(status, "SuccessCriteriaMet")
    if met and _holds(status, "Failed"):
        yield omitted(CONDITIONS, "cannot set SuccessCriteriaMet=True and Failed=true conditions")
    if met and _holds(status, "FailureTarget"):
        yield omitted(CONDITIONS, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
    if spec.get("successPolicy") and not met and _holds(status, "Complete"):
        yield omitted(CONDITIONS, "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True")


def _kept(spec: Object, after: Object, before: Object) -> Iterator[FieldError]:
    """Return what may not be taken back."""
    for kind in TERMINAL:
        if _holds(before, kind) and not _holds(after, kind):
            yield omitted(CONDITIONS, f"cannot disable the terminal {kind}=True condition")
    elastic = spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get("parallelism")
    for field in ("failed", "succeeded"):
        if (after.get(field) or 0) < (before.get(field) or 0) and not (elastic and field == "succeeded"):
            yield invalid(STATUS / field, after.get(field) or 0, f"cannot decrease the {field} counter")
    ended, had = after.get("completionTime"), before.get("completionTime")
    if ended and had and ended != had:
        yield invalid(STATUS / "completionTime", ended, "field is immutable")
    started = before.get("startTime")
    resumes = _holds(before, "Suspended") and _is_false(after, "Suspended")
    if started and started != after.get("startTime") and not resumes and not spec.get("suspend"):
        yield invalid(STATUS / "startTime", after.get("startTime"), "field is immutable for unsuspended job once set")
    met, was = _holds(after, "SuccessCriteriaMet"), _holds(before, "SuccessCriteriaMet")
    if was and not met:
        yield omitted(CONDITIONS, "cannot disable the SuccessCriteriaMet=True condition")
    if _holds(before, "Complete") and not was and met:
        yield omitted(CONDITIONS, "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")


def _is_false(status: Object, kind: str) -> bool:
    return any(c.get("type") == kind and c.get("status") == "False" for c in status.get("conditions") or ())
