"""NetworkPolicy: what the elements say, against the slow and obvious reading of the API; and step by step against all at once."""

import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from policy_support import NAMES, NAMESPACES, OUTSIDE, PORTS, Kernel, address, parsed, pod, policy, wire_up

from moorings_cni.policy import blocks, layout, model
from moorings_cni.policy.compiler import Compiler, Local
from moorings_cni.policy.verdict import End, judge
from moorings_core.ports.objects import Key

EVERYBODY = [Key(namespace, name) for namespace in NAMESPACES for name in NAMES]
LABELS = {name: {"ns": name} for name in NAMESPACES}
PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132, "": 1}


def compiled(pods, policies) -> Compiler:
    compiler = Compiler()
    for name, labels in LABELS.items():
        compiler.set_namespace(name, labels)
    for one in pods.values():
        compiler.set_pod(one.key, one)
        wire_up(compiler, one)
    for one in policies:
        compiler.set_policy(one.key, one)
    return compiler


@st.composite
def worlds(draw):
    pods = {key: draw(pod(*key)) for key in EVERYBODY}
    specs = draw(st.lists(st.tuples(st.sampled_from(NAMESPACES), policy()), max_size=4))
    return pods, [parsed(namespace, f"p{i}", spec) for i, (namespace, spec) in enumerate(specs)]


def expected(pods, policies, source: str, target: str, protocol: str, port: int) -> bool:
    owner = {a: one for one in pods.values() for a in one.addresses}
    return all(v.allowed for v in judge(End(source, owner.get(source)), End(target, owner.get(target)), protocol, port, policies, LABELS))


@given(worlds(), st.data())
@settings(max_examples=150, deadline=None)
def test_the_elements_allow_exactly_what_the_policies_allow(world, data):
    pods, policies = world
    kernel = Kernel(compiled(pods, policies).elements())
    every = [*OUTSIDE, *(a for one in pods.values() for a in one.addresses)]
    for six in (False, True):
        some = data.draw(st.lists(st.sampled_from([a for a in every if (":" in a) == six]), min_size=2, max_size=5, unique=True))
        for source in some:
            for target in some:
                for protocol, number in PROTOCOLS.items():
                    port = data.draw(st.sampled_from(PORTS)) if protocol else 0
                    wanted = expected(pods, policies, source, target, protocol, port)
                    assert kernel.passes(source, target, number, port) == wanted, (source, target, protocol, port)


@st.composite
def steps(draw):
    kind = draw(st.sampled_from(["pod", "gone", "policy", "no policy", "namespace", "wired", "unwired", "renewed"]))
    key = draw(st.sampled_from(EVERYBODY))
    return kind, key, draw(pod(*key)) if kind in ("pod", "renewed") else draw(policy()) if kind == "policy" else draw(st.booleans())


def do(compiler: Compiler, step) -> None:
    kind, key, what = step
    if kind in ("pod", "gone"):
        compiler.set_pod(key, what if kind == "pod" else None)
    elif kind == "renewed":  # another pod under the same name: what is wired is the one before
        compiler.set_pod(key, model.Pod(key, frozenset({"later"}), what.labels, what.addresses, what.ports))
    elif kind in ("policy", "no policy"):
        compiler.set_policy(key, parsed(*key, what) if kind == "policy" else None)
    elif kind == "namespace":
        compiler.set_namespace(key.namespace, {"ns": key.namespace if what else "x"})
    else:
        compiler.set_local(key, Local("u-" + key.name, (address(*key), address(*key, True))) if kind == "wired" else None)


def without_numbers(elements):
    """Classes by what is known of them, since their numbers depend on the order in which they came."""
    kernel = Kernel(elements)
    every = [*OUTSIDE, *(address(*key, six) for key in EVERYBODY for six in (False, True))]
    return {
        (a, b, protocol, port): kernel.passes(a, b, protocol, port)
        for a in every for b in every if (":" in a) == (":" in b) for protocol, port in ((6, 80), (6, 95), (17, 90), (1, 0))
    }  # fmt: skip


FROM_TIERS = {"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"ns": "y"}}}, {"podSelector": {"matchLabels":
              {"tier": "front"}}}]}]}  # fmt: skip
BEGINNING = [
    *(("namespace", Key(namespace, "a"), True) for namespace in NAMESPACES),
    *(("pod", key, model.Pod(key, frozenset({f"u-{key.name}"}), {"pod": key.name}, (address(*key),))) for key in EVERYBODY),
    *(("wired", Key("x", name), True) for name in NAMES),
    ("policy", Key("x", "a"), FROM_TIERS),
]


@given(st.lists(st.lists(steps(), min_size=1, max_size=3), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_any_sequence_of_changes_ends_where_a_fresh_start_ends_and_changes_lead_from_state_to_state(rounds):
    slow = Compiler()
    held = {}
    last = {}
    for number, some in enumerate([BEGINNING, *rounds]):
        for step in some:
            do(slow, step)
            last[step[0] in ("pod", "gone", "renewed"), step[0] in ("policy", "no policy"), step[0] == "namespace",
                 step[1] if step[0] != "namespace" else step[1].namespace] = (number, step)  # fmt: skip
        changes = slow.changes()
        for name, keys in changes.delete.items():
            for key in keys:
                del held[name][key]
        for name, items in changes.add.items():
            assert not held.get(name, {}).keys() & items.keys(), "nothing is added that is there"
            held.setdefault(name, {}).update(items)
    fresh = Compiler()
    for _, step in last.values():
        do(fresh, step)
    assert {name: items for name, items in held.items() if items} == slow.elements()
    sizes = [{k: len(v) for k, v in compiler.elements().items()} for compiler in (slow, fresh)]
    assert sizes[0] == sizes[1]
    assert without_numbers(slow.elements()) == without_numbers(fresh.elements())


def test_a_pod_that_the_api_does_not_know_may_nothing_where_its_namespace_has_a_policy():
    compiler = compiled({}, [parsed("x", "p", {"podSelector": {"matchLabels": {"pod": "b"}}})])
    compiler.set_local(Key("x", "a"), Local("u-a", ("10.64.0.1",)))
    compiler.set_local(Key("y", "a"), Local("u-a", ("10.64.1.1",)))
    kernel = Kernel(compiler.elements())
    assert not kernel.passes("10.64.0.1", "10.64.9.9", 6, 80)
    assert not kernel.passes("10.64.9.9", "10.64.0.1", 6, 80)
    assert kernel.passes("10.64.1.1", "10.64.9.9", 6, 80), "and everything where there is none"


def test_a_peer_that_comes_costs_one_element_and_a_policy_nothing_that_no_pod_here_needs():
    compiler = compiled({}, [parsed("x", "p", {"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}], "ports": [{"port": 80}]}]})])
    compiler.set_pod(Key("x", "a"), model.Pod(Key("x", "a"), frozenset({"u-a"}), {}, ("10.64.0.1",)))
    compiler.set_local(Key("x", "a"), Local("u-a", ("10.64.0.1",)))
    assert compiler.changes()
    for number in range(2, 200):
        key = Key("x", f"peer{number}")
        compiler.set_pod(key, model.Pod(key, frozenset(), {}, (f"10.64.7.{number}",)))
        assert compiler.changes().count == 1
    compiler.set_policy(Key("y", "other"), parsed("y", "other", {"podSelector": {}}))
    compiler.set_pod(Key("y", "b"), model.Pod(Key("y", "b"), frozenset(), {}, ("10.64.8.1",)))
    assert compiler.changes().count == 0


def test_rules_do_not_depend_on_pods_or_policies():
    assert layout.text() == layout.text()
    assert layout.text().count("add rule") == 59


@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(24, 32), st.lists(st.tuples(st.integers(0, 255), st.integers(25, 32)), max_size=2)))
)
def test_pieces_of_blocks_hold_exactly_the_blocks_that_an_address_is_in(given_blocks):
    made = []
    for low, prefix, parts in given_blocks:
        cidr = model.ip_network(f"10.0.0.{low}/{prefix}", strict=False)
        made.append(model.Block(cidr, tuple(model.ip_network(f"10.0.0.{a}/{p}", strict=False) for a, p in parts)))
    cut = blocks.Blocks(made, 4)
    for last in range(256):
        assert cut.at(f"10.0.0.{last}") == frozenset(b for b in made if b.matches(f"10.0.0.{last}"))
    assert not cut.at("10.0.1.0")


def test_policy_types_default_as_upstreams_do_and_unknown_fields_of_peers_mean_nothing():
    def types(**spec):
        return parsed("x", "p", {"podSelector": {}, **spec}).types

    assert types() == {"Ingress"}
    assert types(egress=[{}]) == {"Ingress", "Egress"}
    assert types(policyTypes=["Egress"]) == {"Egress"}
