"""Quantities are exact."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings_core.registry.quantity import canonical, compare, parse, to_int, to_milli


@pytest.mark.parametrize(
    ("text", "milli"),
    [("1", 1000), ("100m", 100), ("0.1", 100), ("1.5", 1500), ("2e3", 2_000_000), ("1k", 10**6), ("1Ki", 1024_000), (".5", 500)],
)
def test_values(text, milli):
    assert to_milli(text) == milli


def test_rounding_is_up():
    assert to_int("1500m") == 2
    assert to_milli("1u") == 1


@pytest.mark.parametrize(
    ("text", "short"),
    [("1000m", "1"), ("1024Mi", "1Gi"), ("0", "0"), ("1500m", "1500m"), ("1e3", "1e3"), ("1000", "1k"), ("0.5Gi", "512Mi")],
)
def test_canonical(text, short):
    assert canonical(text) == short


@pytest.mark.parametrize("text", ["", "abc", "1x", "1 Gi", "--1", "1Kii", "0x10"])
def test_nonsense_is_refused(text):
    with pytest.raises(ValueError, match="quantities must match"):
        parse(text)


@given(st.integers(0, 10**15), st.sampled_from(["", "m", "k", "M", "Ki", "Mi", "Gi"]))
def test_canonical_keeps_the_value(number, suffix):
    text = f"{number}{suffix}"
    assert compare(canonical(text), text) == 0
