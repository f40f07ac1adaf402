"""What priority levels lend each other: pure functions of demand and configuration."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings_core.api.cache import Collection, Stored
from moorings_core.api.flowcontrol.borrowing import SMOOTHING, Bounds, Demand, Share, Wanted, bounds, first, limits, share
from moorings_core.api.flowcontrol.estimates import most_seats, seats
from moorings_core.api.paths import Target
from moorings_core.ports.objects import Key

QUIET = Wanted()


@pytest.mark.parametrize(
    ("lendable", "borrowing", "found"),
    [
        pytest.param(None, None, Bounds(50, 50, 650), id="lends nothing, borrows all"),
        pytest.param(50, 20, Bounds(50, 25, 60), id="half, and a fifth"),
        pytest.param(33, 0, Bounds(50, 33, 50), id="rounded up: 16.5"),
    ],
)
def test_what_a_level_lends_and_borrows_by_configuration(lendable, borrowing, found):
    assert bounds(50, lendable, borrowing, 600) == found


def test_a_new_level_begins_with_half_of_what_it_lends():
    assert first(Bounds(50, 25, 60)) == 38


SHARES = st.lists(
    st.tuples(st.floats(0, 100), st.floats(0, 100), st.floats(0, 100)).map(lambda t: Share(t[0] + t[1], t[1], t[1] + t[2])),
    min_size=1,
    max_size=8,
)


@given(SHARES, st.floats(0, 1))
def test_parts_sum_up_lie_within_their_bounds_and_are_in_proportion_where_no_bound_holds_them(shares, place):
    low, high = sum(s.low for s in shares), sum(s.high for s in shares)
    total = low + place * (high - low)
    given = share(total, shares)
    assert sum(given) == pytest.approx(total, abs=1e-4)
    assert all(s.low - 1e-9 <= part <= s.high + 1e-9 for s, part in zip(shares, given, strict=True))
    free = [part / s.target for s, part in zip(shares, given, strict=True) if s.low + 1e-3 < part < s.high - 1e-3 and s.target > 0.01]
    assert not free or max(free) == pytest.approx(min(free), rel=1e-3)


def test_there_are_no_parts_below_all_least_or_above_all_most():
    assert share(5, [Share(10, 10, 20)]) is None and share(25, [Share(10, 10, 20)]) is None


LEVELS = {"busy": Bounds(50, 25, 100), "idle": Bounds(50, 25, 60)}


def test_a_busy_level_gets_what_an_idle_one_lends():
    found = limits(LEVELS, {"busy": Wanted(90, 90.0), "idle": QUIET}, {})
    assert found == {"busy": 75, "idle": 25}


def test_levels_that_want_the_same_have_the_same_and_nobody_falls_below_what_he_uses_and_is_his():
    assert limits(LEVELS, {"busy": Wanted(50, 50.0), "idle": Wanted(50, 50.0)}, {}) == {"busy": 50, "idle": 50}
    found = limits(LEVELS, {"busy": Wanted(100, 100.0), "idle": Wanted(40, 1.0)}, {})
    assert found["idle"] == 40 and found["busy"] == 60


def test_an_exempt_level_takes_what_it_uses_first():
    levels = {**LEVELS, "exempt": Bounds(0, 0, 600, exempt=True)}
    wanted = {"busy": Wanted(50, 50.0), "idle": Wanted(50, 50.0), "exempt": Wanted(30, 30.0)}
    assert limits(levels, wanted, {}) == {"exempt": 30, "busy": 35, "idle": 35}
    wanted["exempt"] = Wanted(80, 80.0)
    assert limits(levels, wanted, {}) == {"exempt": 80, "busy": 25, "idle": 25}


def test_demand_is_its_mean_and_spread_and_peaks_are_forgotten_slowly():
    demand = Demand(0.0)
    demand.set(10, 0.0)
    demand.set(0, 5.0)
    found = demand.take(10.0)
    assert (found.peak, found.smoothed) == (10, pytest.approx(10.0))  # mean 5, deviation 5
    later = demand.take(20.0)
    assert (later.peak, later.smoothed) == (0, pytest.approx(10.0 * SMOOTHING))


def collection(count, size):
    made = Collection()
    for number in range(count):
        made.items[Key("d", str(number))] = Stored({}, number, b"x" * size)
    return made


PODS, POD = Target("", "v1", "pods", "d"), Target("", "v1", "pods", "d", "p")


@pytest.mark.parametrize(
    ("verb", "target", "query", "found"),
    [
        ("list", PODS, {}, 5),
        ("list", PODS, {"limit": "10"}, 1),
        ("list", PODS, {"fieldSelector": "metadata.name=a"}, 1),
        ("list", POD, {}, 1),
        ("watch", PODS, {"resourceVersion": "7"}, 1),
        ("watch", PODS, {"resourceVersion": "7", "sendInitialEvents": "true"}, 5),
        ("watch", PODS, {}, 5),
        ("get", POD, {}, 1),
        ("list", PODS, {"limit": "many"}, 5),
    ],
)
def test_a_list_takes_seats_by_what_it_reads(verb, target, query, found):
    assert seats(verb, target, query, collection(250, 2000), 10) == found


def test_no_request_takes_more_than_its_level_lets_it():
    assert seats("list", PODS, {}, collection(1000, 10_000), 4) == 4
    assert seats("list", PODS, {}, collection(1000, 10_000), 100) == 10  # from memory
    assert seats("list", PODS, {}, collection(0, 0), 4) == 1
    assert most_seats(245, 6) == 37 and most_seats(13, 1) == 2 and most_seats(3, 8) == 1
