"""Which shims are lost: unlisted now, and unlisted the time before."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from moorings_core.runtime.orphans import Shim, lost

ids = st.sets(st.sampled_from("abcd"))


def shim(name):
    return Shim(1, name, "k8s.io", "/usr/bin/containerd-shim-runc-v2", Path("/run") / name)


@given(ids, ids, ids)
def test_only_what_no_list_has_shown_twice_is_lost(running, known, suspects):
    found = {s.id for s in lost([shim(name) for name in sorted(running)], known, suspects)}
    assert found == (running & suspects) - known
