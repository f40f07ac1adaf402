"""What Go says of texts that are no times."""

from __future__ import annotations

import pytest

from moorings_core.registry.schema import check_types, is_clean, named
from moorings_core.registry.times import complaint

EVENT = named("io.k8s.api.events.v1.Event")


@pytest.mark.parametrize("text", ["2026-01-01T00:00:00Z", "2026-12-31T23:59:59+01:00", "2026-01-01T00:00:00.123456789Z"])
def test_a_time_of_seconds_may_have_parts_of_one(text):
    assert complaint(text, micro=False) == ""


@pytest.mark.parametrize(
    ("text", "micro", "words"),
    [
        ("", False, 'as "2006-01-02T15:04:05Z07:00": cannot parse "" as "2006"'),
        ("A b!", False, 'cannot parse "A b!" as "2006"'),
        ("2026-1-01T00:00:00Z", False, 'cannot parse "1-01T00:00:00Z" as "01"'),
        ("2026-13-01T00:00:00Z", False, ": month out of range"),
        ("2026-01-00T00:00:00Z", False, ": day out of range"),
        ("2026-01-01 00:00:00Z", False, 'cannot parse " 00:00:00Z" as "T"'),
        ("2026-01-01T24:00:00Z", False, ": hour out of range"),
        ("2026-01-01T00:00:00", False, 'cannot parse "" as "Z07:00"'),
        ("2026-01-01T00:00:00Zx", False, ': extra text: "x"'),
        ("2026-01-01T00:00:00Z", True, 'as "2006-01-02T15:04:05.000000Z07:00": cannot parse "Z" as ".000000"'),
    ],
)
def test_what_is_no_time_is_refused_where_it_stops_being_one(text, micro, words):
    found = complaint(text, micro=micro)
    assert found.startswith(f'parsing time "{text}"') and words in found


def test_fields_of_times_are_checked_as_they_are_decoded():
    assert is_clean({"eventTime": "2026-01-01T00:00:00.000000Z", "deprecatedLastTimestamp": "2026-01-01T00:00:00Z"}, EVENT)
    wrong = {"eventTime": "2026-01-01T00:00:00Z", "series": {"count": 2, "lastObservedTime": "soon"}}
    assert not is_clean(wrong, EVENT)
    assert [path for path, _ in check_types(wrong, EVENT)] == ["eventTime", "series.lastObservedTime"]


def test_a_decoder_names_the_structures_that_are_embedded():
    pod = {"spec": {"volumes": [{"name": "v", "hostPath": {"path": 5}}]}}
    (found,) = check_types(pod, named("io.k8s.api.core.v1.Pod"))
    assert "Go struct field HostPathVolumeSource.spec.volumes.VolumeSource.hostPath.path of type string" in found[1]
