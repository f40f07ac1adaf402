"""What a lab's network plan does with a network that is whole, missing, or half made."""

from hypothesis import given
from hypothesis import strategies as st

from moorings_labs.layout import Layout, State
from moorings_labs.network import MACHINE, View, plan

LAYOUT = Layout("demo", 7)
STATE = State("demo", 7, (("server", "100.64.7.10"), ("node-1", "100.64.7.11"), ("node-2", "100.64.7.12")))
NODES = [node for node, _ in STATE.nodes]
SWITCH = LAYOUT.switch


def simulate(actual: dict[str, View], nodes: list[str], applied: int | None = None) -> dict[str, View]:
    """Apply the first `applied` batches of a plan (None: all) to views, as the kernel would."""
    views = dict(actual)
    for batch in plan(LAYOUT, STATE, nodes, actual)[:applied]:
        for line in batch.lines:
            _line(views, batch.namespace, line.split())
    return views


def _line(views: dict[str, View], namespace: str, words: list[str]) -> None:
    if words[:2] == ["netns", "add"]:
        assert words[2] not in views, "a namespace is made once"
        views[words[2]] = View()
    elif words[:2] == ["link", "add"]:
        _add(views, namespace, link=words[2])
        if "peer" in words:
            target = words[words.index("netns") + 1]
            _add(views, MACHINE if target == "1" else target, link=words[words.index("name") + 1])
    elif words[0] == "address":
        assert words[words.index("dev") + 1] in views[namespace].links, "an address needs its link"
        _add(views, namespace, address=words[2])
    elif words[:2] == ["link", "set"]:
        assert words[2] == "lo" or words[2] in views[namespace].links, f"{words[2]} is set up before it is there"


def _add(views: dict[str, View], namespace: str, link: str = "", address: str = "") -> None:
    view = views[namespace]
    assert not link or link not in view.links, f"{link} is made twice"
    views[namespace] = View(view.links | ({link} - {""}), view.addresses | ({address} - {""}))


NOTHING = {MACHINE: View(frozenset({"lo"}))}
WHOLE = simulate(NOTHING, NODES)


def test_from_nothing_everything_is_made_and_joined():
    assert set(WHOLE) == {MACHINE, SWITCH, *(LAYOUT.namespace(n) for n in NODES)}
    assert WHOLE[SWITCH].links == {"br0", "access", "p0", "p1", "p2"}
    assert WHOLE[LAYOUT.namespace("node-2")].addresses == {"100.64.7.12/24"}
    assert WHOLE[MACHINE].addresses == {"100.64.7.254/24"}


def test_a_whole_network_needs_nothing():
    assert plan(LAYOUT, STATE, NODES, WHOLE) == []


def test_starting_one_node_leaves_the_ones_that_are_off_alone():
    off = {name: view for name, view in WHOLE.items() if not name.endswith(("node-1", "node-2"))}
    off[SWITCH] = View(WHOLE[SWITCH].links - {"p1", "p2"}, WHOLE[SWITCH].addresses)
    after = simulate(off, ["node-1"])
    assert LAYOUT.namespace("node-1") in after
    assert LAYOUT.namespace("node-2") not in after
    assert "p2" not in after[SWITCH].links


@given(st.integers(0, 6))
def test_whatever_was_done_before_a_kill_the_next_run_finishes(done):
    half = simulate(NOTHING, NODES, done)
    assert simulate(half, NODES) == WHOLE
