"""Addresses: never one twice, none lost, whatever happens in whatever order, crashes included."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moorings_cni import wiring
from moorings_cni.ipam import Ipam, capacity
from moorings_cni.journal import Journal
from moorings_core.ports.network import AttachmentKey, NetworkError, NotReady, PodRequest, PortMapping

RANGES = ("10.64.1.0/28", "fd00::/64")
KEYS = [AttachmentKey(f"c{i}", "eth0") for i in range(20)]


def take(ipam: Ipam, key: AttachmentKey):
    slot, addresses = ipam.reserve(key)
    attachment = wiring.plan(PodRequest(key, "/n", "ns/p", "u", (PortMapping(80, 80),)), slot, addresses, 1450)
    ipam.sync(ipam.record(attachment))
    return attachment


events = st.sampled_from(["add", "reserve", "release", "crash", "tear", "reboot"])


@given(st.lists(st.tuples(events, st.sampled_from(KEYS)), max_size=60))
@settings(max_examples=150, deadline=None)
def test_arbitrary_histories(script):
    with TemporaryDirectory() as directory:
        path, boot, known = Path(directory) / "j", "1", {}
        ipam = Ipam(Journal(path), boot)
        ipam.use(RANGES)
        reserved = set()
        for what, key in script:
            if what in ("add", "reserve"):
                try:
                    if what == "add":
                        known[key] = take(ipam, key)
                    else:
                        ipam.reserve(key)
                        reserved.add(key)
                except NotReady:
                    assert len(known) + len(reserved) == 14
                except NetworkError:
                    assert key in known or key in reserved
            elif what == "release":
                ipam.release(key)
                known.pop(key, None)
                reserved.discard(key)
            else:
                if what == "tear":
                    with path.open("ab") as file:
                        file.write(b'{"add": {"key"')
                if what == "reboot":
                    boot += "1"
                    known = {}
                reserved = set()
                ipam = Ipam(Journal(path), boot)
            assert dict(ipam.attachments) == known
            assert len({a.addresses for a in known.values()}) == len(known)
            assert ipam.free == 14 - len(known) - len(reserved)
            assert ipam.cidrs == RANGES


def test_capacity_and_addresses(tmp_path):
    assert capacity(["10.0.0.0/24"]) == 254 and capacity(["10.0.0.0/24", "fd00::/64"]) == 254 and capacity([]) == 0
    assert capacity(["fd00::/64"]) == 65534
    ipam = Ipam(Journal(tmp_path / "deep" / "j"), "1")
    with pytest.raises(NotReady, match="no pod range"):
        ipam.reserve(KEYS[0])
    ipam.use(RANGES)
    assert take(ipam, KEYS[0]).addresses == ("10.64.1.1", "fd00::1")
    ipam.release(KEYS[0])
    assert take(ipam, KEYS[0]).addresses == ("10.64.1.2", "fd00::2"), "the freed one rests"


def test_the_journal_is_compacted(tmp_path):
    journal = Journal(tmp_path / "j")
    ipam = Ipam(journal, "1")
    ipam.use(RANGES)
    for _ in range(1200):
        take(ipam, KEYS[0])
        ipam.release(KEYS[0])
    assert journal.lines < 1100
    assert take(ipam, KEYS[1]) and Ipam(Journal(tmp_path / "j"), "1").get(KEYS[1])


def test_an_address_is_given_on_request_or_from_a_range_and_refused_when_it_is_taken_or_nowhere(tmp_path):
    ipam = Ipam(Journal(tmp_path / "j"), "1")
    ipam.use(RANGES)
    assert ipam.reserve(KEYS[0], addresses=["10.64.1.9"])[1] == ("10.64.1.9", "fd00::9")
    assert ipam.reserve(KEYS[1], ranges=["10.64.1.12/30"])[1][0] == "10.64.1.12"
    for asked in (["10.64.1.9"], ["10.64.2.1"], ["10.64.1.3", "fd00::4"], ["10.64.1.0"], ["10.64.1.15"]):
        with pytest.raises(NetworkError):
            ipam.reserve(KEYS[2], addresses=asked)
    with pytest.raises(NotReady):
        ipam.reserve(KEYS[2], ranges=["10.99.0.0/16"])


def test_sticky_addresses_come_back_by_name_also_after_a_crash_and_are_given_to_others_last(tmp_path):
    def named(ipam, key, pod):
        slot, addresses = ipam.reserve(key, pod=pod)
        ipam.sync(ipam.record(wiring.plan(PodRequest(key, "/n", pod), slot, addresses, 1450)))
        return addresses[0]

    ipam = Ipam(Journal(tmp_path / "j"), "1", sticky=True)
    ipam.use(RANGES)
    first = named(ipam, KEYS[0], "ns/db-0")
    ipam.release(KEYS[0])
    others = {named(ipam, key, f"ns/{key.container_id}") for key in KEYS[1:13]}
    assert first not in others
    ipam = Ipam(Journal(tmp_path / "j"), "1", sticky=True)
    assert named(ipam, KEYS[15], "ns/db-0") == first
    ipam.release(KEYS[15])
    taken = [named(ipam, key, "ns/late") for key in KEYS[16:18]]
    assert first in taken, "rather than none"


def test_who_only_lends_addresses_keeps_the_first_for_a_gateway(tmp_path):
    ipam = Ipam(Journal(tmp_path / "j"), "1")
    ipam.use(RANGES)
    ipam.keep_gateway()
    assert ipam.reserve(KEYS[0])[0] == 2
    other = Ipam(Journal(tmp_path / "k"), "1")
    other.use(RANGES)
    other.reserve(KEYS[0])
    with pytest.raises(NetworkError):
        other.keep_gateway()
