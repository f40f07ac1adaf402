"""Whose a thing is, what is left of labs that are gone, and what changed between two looks."""

from ipaddress import IPv4Network

import pytest

from moorings_labs import layout
from moorings_labs.audit import Owner, Resource, difference, leftovers
from moorings_labs.layout import Layout, State

DEMO = Layout("demo", 7)


@pytest.fixture(autouse=True)
def labs(tmp_path, monkeypatch):
    monkeypatch.setenv(layout.ROOT, str(tmp_path / "labs"))
    return tmp_path / "labs"


@pytest.mark.parametrize(
    ("text", "lab"),
    [
        (DEMO.access_link, DEMO.id),
        (DEMO.namespace("node-1"), DEMO.id),
        (f"/sys/fs/cgroup/memory/{DEMO.cgroup}/node-1/system", DEMO.id),
        (f"{DEMO.run}/ab12/containerd.sock", DEMO.id),
        ("moorings agent --root {labs}/demo/nodes/node-1/agent --name x", DEMO.id),
        ("{labs}/demo", DEMO.id),
        ("{labs}/.demo.lock", ""),
        ("{labs}", ""),
        ("eth0", ""),
        ("moor-xyz", ""),
        ("armoor-abcd", ""),
    ],
)
def test_a_name_or_path_tells_whose_it_is(labs, text, lab):
    assert Owner().of(text.format(labs=labs)) == lab


def test_left_over_is_what_belongs_to_labs_that_are_gone():
    ours, theirs, nobodys = Resource("link", "a", "1111"), Resource("mount", "b", "2222"), Resource("link", "eth0")
    assert leftovers({ours, theirs, nobodys}, {"1111"}) == [theirs]


def test_a_difference_names_what_came_and_what_went_but_for_labs_that_live():
    before = {Resource("link", "eth0"), Resource("link", "gone")}
    after = {Resource("link", "eth0"), Resource("mount", "new", "2222"), Resource("link", "busy", "1111")}
    assert difference(before, after, {"1111"}) == ["+ mount new", "- link gone"]
    assert difference(before, before) == []


def test_a_subnet_that_the_machine_uses_otherwise_is_left_alone():
    first = layout.choose("demo", ())
    second = layout.choose("demo", (), [Layout("demo", first.number).subnet])
    assert second.number != first.number
    with pytest.raises(layout.NoSubnet):
        layout.choose("demo", (), [IPv4Network("100.64.0.0/10")])


def test_two_labs_never_have_the_same_subnet_and_a_lab_keeps_its_own():
    numbers = []
    for name in ("demo", "other", "third"):
        state = layout.choose(name, ())
        lab = Layout(state.name, state.number)
        lab.root.mkdir(parents=True)
        state.save(lab)
        numbers.append(state.number)
    assert len(set(numbers)) == 3
    assert layout.load("other") == State("other", numbers[1], ())
    assert layout.load("nobody") is None
    with pytest.raises(LookupError):
        layout.find("nobody")
