"""Which expressions may select devices: by whatever attribute, as long as they cost little enough."""

import pytest

from moorings_core.registry.validation.devices import selectors
from moorings_core.registry.validation.errors import Path

DOMAIN = "device.attributes['dra.example.com']"
NESTED = "device.attributes.all(a, device.attributes.all(b, device.attributes.all(c, {}a == b)))"


def told(expression):
    return [error.message for error in selectors([{"cel": {"expression": expression}}], Path("spec.selectors"))]


@pytest.mark.parametrize(
    "expression",
    [
        f"{DOMAIN}.model == 'a' && {DOMAIN}.count > 3",
        f"cel.bind(dra, {DOMAIN}, dra.one && dra.two)",
        f"{DOMAIN}.one",
        "device.capacity['dra.example.com'].memory.compareTo(quantity('1Gi')) >= 0",
        "device.allowMultipleAllocations == true || device.driver.startsWith('a')",
        "device.attributes.all(d, device.attributes[d].all(n, n != 'a'))",
        NESTED.format(""),
    ],
)
def test_attributes_and_capacities_of_any_name_select(expression):
    assert told(expression) == []


def test_what_loops_too_often_is_refused():
    assert told(NESTED.format("device.attributes.all(d, d != 'x') && ")) == ["Forbidden: too complex, exceeds cost limit"]


@pytest.mark.parametrize(("expression", "kind"), [("device.driver", "string"), ("[1].map(x, x)", "list(int)")])
def test_what_is_no_bool_selects_nothing(expression, kind):
    (message,) = told(expression)
    assert message.endswith(f"must evaluate to bool or the unknown type, not {kind}")
