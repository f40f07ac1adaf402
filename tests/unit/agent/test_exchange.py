"""The exchange's rules over arbitrary interleavings and arbitrarily old views."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from moorings_core.agent.exchange import Actual, Decision, NodeView, Step, decide, next_step, view_of

V, R, U = "vxlan", "routed", "underlay"


def node(name: str, accepts: str = "", sends: str = "", live: bool = True) -> NodeView:
    return NodeView(name, live, frozenset(accepts.split()), frozenset(sends.split()))


def test_sends_by_the_desired_one_only_when_all_live_nodes_accept_it():
    nodes = [node("a", "vxlan routed", "vxlan"), node("b", "vxlan", "vxlan")]
    assert decide(R, nodes, "a", V) == Decision(frozenset({V, R}), V)
    nodes[1] = node("b", "vxlan routed", "vxlan")
    assert decide(R, nodes, "a", V) == Decision(frozenset({V, R}), R)
    nodes[1] = node("b", "vxlan", "vxlan", live=False)
    assert decide(R, nodes, "a", V).send == R, "a dead node is not waited for"
    assert V in decide(R, nodes, "a", V).accept, "but may still be sending"


def test_a_new_node_takes_what_all_accept():
    nodes = [node("a", "vxlan routed", "vxlan"), node("new", "vxlan routed")]
    assert decide(U, nodes, "new").send == V
    assert decide(U, [node("new")], "new").send == ""


def test_steps_of_a_swap_on_one_node():
    actual = Actual({V}, V)
    first = next_step(R, [node("a", V, V)], "a", actual)
    assert first == Step(frozenset({R}), "", frozenset(), frozenset({V, R}), frozenset({V}))
    actual.accepts.add(R)
    assert next_step(R, [node("a", "vxlan routed", V)], "a", actual).announce_sends == {V, R}
    sent = next_step(R, [node("a", "vxlan routed", "vxlan routed")], "a", actual)
    assert sent.send == R and sent.announce_sends == {R}
    actual.sends = R
    drop = next_step(R, [node("a", "vxlan routed", R)], "a", actual)
    assert drop.announce_accepts == {R} and not drop.withdraw
    assert next_step(R, [node("a", R, R)], "a", actual).withdraw == {V}


def test_what_is_desired_and_done_is_no_step():
    assert next_step(V, [node("a", V, V), node("b", V, V)], "a", Actual({V}, V)) == Step(
        announce_accepts=frozenset({V}), announce_sends=frozenset({V})
    )


def test_live_is_told_from_the_ready_condition():
    def made(status: str, **annotations: str) -> bool:
        conditions = [{"type": "Ready", "status": status}]
        return view_of({"metadata": {"name": "a", "annotations": annotations}, "status": {"conditions": conditions}}).live

    told = {"moorings.dev/network-accepts": V}
    assert [made("True"), made("True", **told), made("False", **told)] == [True] * 3
    assert [made("False"), made("Unknown"), made("Unknown", **told)] == [False] * 3


@dataclass
class Member:
    """A node of the model: what it really does, and which of its steps are still to be done."""

    actual: Actual = field(default_factory=Actual)
    seen: int = 0
    announced_at: int = 0
    desired_seen: int = 0
    todo: list[tuple[str, object]] = field(default_factory=list)
    joined: bool = False


class Model:
    """The API is a list of versions of what all nodes announced; each member sees some prefix of it."""

    def __init__(self, size: int) -> None:
        self.names = [f"n{i}" for i in range(size)]
        self.members = {name: Member() for name in self.names}
        self.history: list[dict[str, NodeView]] = [{}]
        self.desired = [V]

    def see(self, name: str, much: int) -> None:
        member = self.members[name]
        member.seen = min(len(self.history) - 1, member.seen + much)

    def act(self, name: str) -> None:
        """Do one atomic action: one change of the kernel, one write to the API, or one look at the view."""
        member = self.members[name]
        if member.todo:
            kind, value = member.todo.pop(0)
            if kind == "accept":
                member.actual.accepts |= value
            elif kind == "send":
                member.actual.sends = value
            elif kind == "withdraw":
                member.actual.accepts -= value
            else:
                self.history.append(self.history[-1] | {name: value})
                member.announced_at = len(self.history) - 1
        elif member.seen >= member.announced_at:
            view = self.history[member.seen]
            step = next_step(self.desired[member.desired_seen], list(view.values()), name, member.actual)
            said = NodeView(name, True, step.announce_accepts, step.announce_sends)
            member.todo = [("accept", step.accept)] if step.accept else []
            member.todo += [("send", step.send)] if step.send else []
            member.todo += [("withdraw", step.withdraw)] if step.withdraw else []
            member.todo += [("announce", said)] if view.get(name) != said else []
            member.joined = member.joined or bool(member.actual.sends)

    def check(self) -> None:
        for a in self.members.values():
            for b in self.members.values():
                if a.actual.sends and b.joined:
                    assert a.actual.sends in b.actual.accepts, (self.members, self.history[-1])

    def settle(self) -> None:
        for _ in range(60):
            for name, member in self.members.items():
                member.desired_seen = len(self.desired) - 1
                self.see(name, 10**6)
                self.act(name)
                self.check()


actions = st.lists(
    st.one_of(
        # look at nothing new, at the next version, or at the newest; then do one, two or all atomic actions
        st.tuples(st.just("go"), st.integers(0, 2), st.sampled_from([0, 1, 10**6]), st.integers(1, 4)),
        st.tuples(st.just("want"), st.sampled_from([V, R]), st.just(0), st.just(0)),
        st.tuples(st.just("config"), st.integers(0, 2), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@given(st.integers(2, 3), st.booleans(), actions)
@settings(max_examples=600, deadline=None)
def test_nobody_ever_sends_what_another_does_not_accept(size, running, script):
    model = Model(size)
    if running:
        model.settle()
    for kind, what, much, times in script:
        if kind == "want":
            model.desired.append(what)
            continue
        name = model.names[what % size]
        if kind == "go":
            model.see(name, much)
            for _ in range(times):
                model.act(name)
                model.check()
        else:
            model.members[name].desired_seen = len(model.desired) - 1
    model.settle()
    want = model.desired[-1]
    assert all(member.actual == Actual({want}, want) for member in model.members.values()), "and all get there in the end"
