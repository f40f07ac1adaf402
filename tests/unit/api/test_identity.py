from datetime import UTC, datetime

from moorings_core.api.identity import ADDRESS, living


def lease(address: str, age: float) -> dict:
    renewed = datetime.fromtimestamp(1_000_000 - age, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {"metadata": {"annotations": {ADDRESS: address} if address else {}}, "spec": {"renewTime": renewed}}


def test_only_servers_that_showed_life_lately_are_led_to():
    leases = [lease("192.0.2.2", 5), lease("192.0.2.1", 39), lease("192.0.2.3", 41), lease("", 1), {"metadata": {}}]
    assert living(leases, 1_000_000) == ["192.0.2.1", "192.0.2.2"]


def test_two_servers_of_one_address_are_one_way():
    assert living([lease("192.0.2.1", 1), lease("192.0.2.1", 2)], 1_000_000) == ["192.0.2.1"]
