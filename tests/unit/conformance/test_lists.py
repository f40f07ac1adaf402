"""The lists of upstream's specs, and what a run of them says."""

import pytest

from tests.conformance.__main__ import LANDING, PASSING, chosen, lines, told
from tests.conformance.suite import Outcome


def test_every_landing_runs_specs_that_are_known_to_pass():
    assert lines(LANDING)
    assert lines(LANDING) <= lines(PASSING)


def test_groups_that_pass_whole_stay_whole():
    whole = {"api-machinery": 100, "architecture": 1, "auth": 27, "cli": 17, "instrumentation": 4, "network": 47}
    assert {group: sum(line.startswith(f"[sig-{group}]") for line in lines(PASSING)) for group in whole} == whole


def test_a_focus_chooses_by_name_and_the_list_chooses_what_it_lists():
    names = ["[a] one", "[a] two", "[b] one"]
    assert chosen(names, r"\[a\]", {"[b] one"}) == ["[a] one", "[a] two"]
    assert chosen(names, "", {"[b] one"}) == ["[b] one"]


def test_a_listed_spec_that_upstream_does_not_have_is_an_error():
    with pytest.raises(SystemExit, match=r"\[c\] gone"):
        chosen(["[a] one"], "", {"[a] one", "[c] gone"})


def test_a_run_counts_what_passed_failed_and_was_not_run():
    ended = {"a": Outcome("passed", 1.0), "b": Outcome("failed", 9.0), "c": Outcome(), "d": Outcome("timedout", 2.0)}
    assert told(ended, slowest=1) == [
        "    failed  b",
        "   not run  c",
        "  timedout  d",
        "      9.0s  b",
        "4 specs: 1 passed, 2 failed, 1 not run",
    ]
