"""What the doctor says of checks that hold and checks that do not."""

import socket

import pytest

from moorings_core.kernel import filesystems
from moorings_labs.doctor import CHECKS, Check, Lacking, examine, need, reflink
from moorings_labs.doctor import OPTIONAL as RARE

GOOD = Check("good", lambda: "", "nothing")
NEEDED = Check("bad", lambda: "the thing is not there (apt-get install thing)", "pods", needed=True)
OPTIONAL = Check("rare", lambda: "this kernel has no rare", "rare volumes")


def test_verdicts_come_in_the_order_of_the_checks():
    assert [(f.name, f.verdict) for f in examine([GOOD, NEEDED, OPTIONAL])] == [("good", "ok"), ("bad", "FAILED"), ("rare", "missing")]


def test_what_is_needed_and_missing_is_told_in_one_sentence():
    with pytest.raises(Lacking) as error:
        need([GOOD, OPTIONAL, NEEDED])
    assert str(error.value) == (
        "the thing is not there (apt-get install thing); without it there are no pods (`moorings doctor` tells all)"
    )


def test_what_is_only_nice_to_have_stops_nothing():
    need([GOOD, OPTIONAL])
    assert OPTIONAL.probe()


def test_files_that_share_no_blocks_are_told_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(filesystems, "shares_blocks", lambda one, other: False)
    assert "poolFsType: xfs" in reflink(tmp_path / "not" / "there" / "yet")
    monkeypatch.setattr(filesystems, "shares_blocks", lambda one, other: other.exists())
    assert reflink(tmp_path) == ""
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_what_storage_needs_is_looked_for():
    names = {check.name for check in CHECKS}
    assert {"loop", "ext4", "xfs", "btrfs", "reflink"} <= names


def test_sctp_is_missing_where_no_socket_of_it_can_be_had(monkeypatch):
    check = next(check for check in RARE if check.name == "sctp")

    def no_socket(*_):
        raise OSError(93, "Protocol not supported")

    monkeypatch.setattr(socket, "socket", no_socket)
    (finding,) = examine([check])
    assert (finding.verdict, finding.problem) == ("missing", "this kernel has no SCTP sockets (Protocol not supported)")
    assert "SCTP" in finding.costs and not finding.needed
