"""Times as Go reads them: RFC 3339, with what its parser says where a text is none. Source: Go's time package, Parse and ParseError."""

from __future__ import annotations

import re

SECONDS, MICROSECONDS = "2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05.000000Z07:00"
"""Layouts of Time and of MicroTime: Go names the parts of a layout by the numbers of one certain moment"""
_GOOD = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(?P<fraction>[.,]\d+)?(Z|[+-]\d\d:[0-5]\d)")
_PARTS: tuple[tuple[str, str, int, str], ...] = (
    ("2006", r"\d{4}", 0, ""),
    ("-", "-", 0, ""),
    ("01", r"\d\d", 12, "month"),
    ("-", "-", 0, ""),
    ("02", r"\d\d", 31, "day"),
    ("T", "T", 0, ""),
    ("15", r"\d{1,2}", 23, "hour"),
    (":", ":", 0, ""),
    ("04", r"\d\d", 59, "minute"),
    (":", ":", 0, ""),
    ("05", r"\d\d", 59, "second"),
    (".000000", r"[.,]\d{6}", 0, ""),
    ("Z07:00", r"Z|[+-]\d\d:\d\d", 0, ""),
)
"""What stands in the layout, what must stand in the text, the most that it may be, and what it is"""


def complaint(text: str, *, micro: bool) -> str:
    """Return what Go says of a text that is no time, "" where it is one; micro: it must have six digits of the second."""
    good = _GOOD.fullmatch(text)
    if good and (not micro or len(good["fraction"] or "") == 7):
        return ""
    layout = MICROSECONDS if micro else SECONDS
    begin, rest = f'parsing time "{text}"', text
    for part, wanted, most, what in _PARTS:
        if part == ".000000" and not micro:
            rest = re.sub(r"^[.,]\d+", "", rest)
            continue
        found = re.match(wanted, rest)
        if found is None:
            return f'{begin} as "{layout}": cannot parse "{rest}" as "{part}"'
        if most and (int(found[0]) > most or (int(found[0]) == 0 and what in ("month", "day"))):
            return f"{begin}: {what} out of range"
        rest = rest[found.end() :]
    return f'{begin}: extra text: "{rest}"' if rest else ""
