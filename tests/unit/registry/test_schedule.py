"""Schedules of CronJobs, right and wrong, in the words that upstream's parser has."""

from __future__ import annotations

import pytest

from moorings_core.registry.validation.schedule import complaint, unknown_zone


@pytest.mark.parametrize(
    "schedule", ["* * * * *", "*/5 0-23/2 1,15 jan-mar MON-FRI", "0 0 ? * 0", "@hourly", "@every 1h30m", "59 23 31 12 6"]
)
def test_a_right_schedule(schedule):
    assert complaint(schedule) == ""


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ("often", "expected exactly 5 fields, found 1: [often]"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("@often", "unrecognized descriptor: @often"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("* 5-3 * * *", "beginning of range (5) beyond end of range (3): 5-3"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("x * * * *", "failed to parse int from x"),
    ],
)
def test_a_wrong_schedule(schedule, said):
    assert complaint(schedule) == said


def test_a_time_zone_that_is_none():
    assert unknown_zone("Nowhere/Else")
    assert unknown_zone("../etc/passwd")
    assert not unknown_zone("Etc/UTC")
