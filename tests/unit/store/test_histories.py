"""The judge of histories: what it takes and what it refuses; without it, the tests of stores could not fail."""

import pytest
from tests.e2e.store.histories import LOST, Call, State, linearizable

ONE, TWO = State(1, "a"), State(2, "b")
CREATED = Call("create", 0, 1, 1, "a")


def replaced(begin, end, answer=2, expected=1):
    return Call("replace", begin, end, answer, "b", expected)


@pytest.mark.parametrize(
    ("calls", "fits"),
    [
        pytest.param([CREATED, Call("read", 2, 3, ONE)], True, id="a read after a write"),
        pytest.param([CREATED, Call("read", 2, 3, None)], False, id="a read that misses a write that was acknowledged"),
        pytest.param([CREATED, Call("read", 0.5, 3, None)], True, id="a read beside a write may miss it"),
        pytest.param([CREATED, replaced(2, 3), Call("read", 4, 5, ONE)], False, id="a stale read"),
        pytest.param([CREATED, replaced(2, 5), Call("read", 3, 4, TWO), Call("read", 4.5, 5, ONE)], False, id="back in time"),
        pytest.param([CREATED, replaced(2, 5), Call("read", 3, 4, ONE), Call("read", 4.5, 5, TWO)], True, id="on in time"),
        pytest.param([CREATED, replaced(2, 3), Call("replace", 2, 3, 3, "c", 1)], False, id="two replace the same version"),
        pytest.param([CREATED, replaced(2, 3), Call("replace", 2, 3, "refused", "c", 1)], True, id="one of two is refused"),
        pytest.param([CREATED, replaced(2, 3, "refused")], False, id="refused for no reason"),
        pytest.param([CREATED, Call("create", 2, 3, 5, "b")], False, id="made twice"),
        pytest.param([CREATED, Call("create", 2, 3, "refused", "b")], True, id="there already"),
        pytest.param([CREATED, Call("delete", 2, 3, "deleted"), Call("read", 4, 5, ONE)], False, id="a deleted object is read"),
        pytest.param([CREATED, Call("delete", 2, 3, "deleted"), Call("create", 4, 5, 7, "c")], True, id="made again"),
        pytest.param([CREATED, replaced(2, 3, LOST), Call("read", 4, 5, ONE)], True, id="lost and never done"),
        pytest.param([CREATED, replaced(2, 3, LOST), Call("read", 4, 5, TWO)], True, id="lost and done"),
        pytest.param(
            [CREATED, replaced(2, 3, LOST), Call("read", 4, 5, TWO), Call("read", 6, 7, ONE)], False, id="lost, done and undone again"
        ),
        pytest.param([CREATED, replaced(2, 3, 1)], False, id="a version that does not grow"),
    ],
)
def test_which_histories_fit(calls, fits):
    assert linearizable(calls) == fits
