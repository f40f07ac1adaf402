"""What Secrets get that a client left out."""

from moorings_core.ports.objects import Resource
from moorings_core.registry import defaults

SECRETS = Resource("", "v1", "secrets", "Secret", True)


def test_clear_text_is_encoded_into_the_data_wins_over_it_and_is_not_kept():
    secret = {"metadata": {"name": "x"}, "data": {"a": "b2xk", "b": "a2VwdA=="}, "stringData": {"a": "new"}}
    defaults.apply(SECRETS, secret)
    assert secret == {"metadata": {"name": "x"}, "type": "Opaque", "data": {"a": "bmV3", "b": "a2VwdA=="}}


def test_without_clear_text_nothing_is_added():
    secret = {"metadata": {"name": "x"}}
    defaults.apply(SECRETS, secret)
    assert secret == {"metadata": {"name": "x"}, "type": "Opaque"}
