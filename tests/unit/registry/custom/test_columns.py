"""Columns of custom kinds."""

from __future__ import annotations

import pytest

from moorings_core.registry.custom.columns import columns_of

PLAIN = {"name": "Size", "type": "integer", "jsonPath": ".spec.size"}


@pytest.mark.parametrize("path", [".a[", ".a[x]", ".a.[?(@.b)]"])
def test_columns_end_before_one_whose_path_cannot_be_read(path):
    odd = {"name": "Odd", "type": "string", "jsonPath": path}
    assert [column.name for column in columns_of([PLAIN, odd, {**PLAIN, "name": "After"}])] == ["Name", "Size"]


def test_without_columns_the_age_is_shown():
    assert [column.name for column in columns_of([])] == ["Name", "Age"]
