"""Schedules of CronJobs: five fields, or @hourly and its like. Source: robfig/cron's standard parser, whose words these are."""

from __future__ import annotations

import re
import zoneinfo
from pathlib import Path as Directory

FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("day of week", 0, 6))
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
DESCRIPTORS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
EVERY = re.compile(r"@every (\d+(\.\d+)?(h|m|s|ms|us|ns))+")


def complaint(schedule: str) -> str:
    """Return what is wrong with a schedule, or ""; it may begin with the zone that it is of."""
    zone, _, rest = schedule.partition(" ")
    if zone.startswith(("TZ=", "CRON_TZ=")):
        name = zone.partition("=")[2]
        return f"provided bad location {name}: unknown time zone {name}" if unknown_zone(name) else complaint(rest.strip())
    if schedule.startswith("@"):
        known = schedule in DESCRIPTORS or EVERY.fullmatch(schedule)
        return "" if known else f"unrecognized descriptor: {schedule}"
    fields = schedule.split()
    if len(fields) != len(FIELDS):
        return f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]"
    found = (_field(text, least, most, name) for text, (name, least, most) in zip(fields, FIELDS, strict=True))
    return next(filter(None, found), "")


def unknown_zone(name: str) -> bool:
    """Whether a time zone is none that this machine knows; without any zones every name is taken."""
    if not any(Directory(where).is_dir() for where in zoneinfo.TZPATH):
        return False
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return True
    return False


def _field(text: str, least: int, most: int, name: str) -> str:
    for part in text.split(","):
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        if slash and (not step.isdigit() or step == "0"):
            return f"step of range should be a positive number: {part}" if step == "0" else f"failed to parse int from {step}"
        if first in ("*", "?") and not dash:
            continue
        numbers = [_number(word, name) for word in ((first, last) if dash else (first,))]
        if None in numbers:
            return f"failed to parse int from {first if numbers[0] is None else last}"
        start, end = numbers[0] or 0, numbers[-1] or 0
        if start < least:
            return f"beginning of range ({start}) below minimum ({least}): {part}"
        if end > most:
            return f"end of range ({end}) above maximum ({most}): {part}"
        if start > end:
            return f"beginning of range ({start}) beyond end of range ({end}): {part}"
    return ""


def _number(word: str, name: str) -> int | None:
    if word.isdigit():
        return int(word)
    words, offset = {"month": (MONTHS, 1), "day of week": (DAYS, 0)}.get(name, ((), 0))
    return words.index(word.lower()) + offset if word.lower() in words else None
