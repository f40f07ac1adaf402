"""Addresses and ranges as fields take them that are older than the strict rules."""

import pytest

from moorings_core.registry.validation import ips
from moorings_core.registry.validation.errors import Path


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("10.0.0.1", None),
        ("2001:db8::0001", None),
        ("FE80::1", None),
        ("010.0.0.1", "must not have leading 0s"),
        ("::ffff:1.2.3.4", "must not be an IPv4-mapped IPv6 address"),
        ("fe80::1%eth0", ips.IP_WORDS),
        ("10.0.0", ips.IP_WORDS),
        ("", ips.IP_WORDS),
    ],
)
def test_an_address(text, told):
    assert [e.message for e in ips.address(text, Path("p"))] == ([] if told is None else [f'Invalid value: "{text}": {told}'])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("10.0.0.0/8", None),
        ("2001:DB8::/64", None),
        ("10.0.0.1/8", "must not have bits set beyond the prefix length"),
        ("010.0.0.0/8", "must not have leading 0s in IP or prefix length"),
        ("10.0.0.0/08", "must not have leading 0s in IP or prefix length"),
        ("::ffff:1.2.3.0/120", "must not have an IPv4-mapped IPv6 address"),
        ("10.0.0.0/255.0.0.0", ips.CIDR_WORDS),
        ("10.0.0.0/33", ips.CIDR_WORDS),
        ("10.0.0.0", ips.CIDR_WORDS),
        ("fe80::%eth0/64", ips.CIDR_WORDS),
    ],
)
def test_a_range(text, told):
    assert [e.message for e in ips.cidr(text, Path("p"))] == ([] if told is None else [f'Invalid value: "{text}": {told}'])
