"""The pool that a lab gives to the metal cloud."""

import pytest

from moorings_core.config import load_text
from moorings_labs.layout import Layout
from moorings_labs.pools import with_pools

LAYOUT = Layout("one", 7)


def test_the_metal_cloud_of_a_lab_gets_a_pool_on_the_labs_subnet_and_keeps_its_other_parameters():
    text = with_pools("cloud: {backend: metal, parameters: {other: 1}}", LAYOUT)
    cloud = load_text(text).cloud
    assert cloud.parameters == {"other": 1, "pools": ["100.64.7.200-100.64.7.239"]}
    assert with_pools(text, LAYOUT) == text


@pytest.mark.parametrize("text", ["", "cloud: {backend: none}", "cloud: {backend: metal, parameters: {pools: [192.0.2.0/24]}}"])
def test_a_cluster_file_that_needs_no_pool_stays_as_it_is(text):
    assert with_pools(text, LAYOUT) == text
