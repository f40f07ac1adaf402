"""Which rule of an audit policy fits a request, and that no rule gets at the content of secrets."""

from __future__ import annotations

import pytest

from moorings_core.api.access.attributes import Attributes
from moorings_core.api.audit import policy
from moorings_core.api.audit.policy import METADATA, NOTHING, REQUEST, RESPONSE, GroupResources, Policy, Rule
from moorings_core.api.context import User

from .world import agent, ask

ANN = User("ann", ("dev", "system:authenticated"))


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        (Rule(), True),
        (Rule(users=("ann", "bob")), True),
        (Rule(users=("bob",)), False),
        (Rule(groups=("ops", "dev")), True),
        (Rule(groups=("ops",)), False),
        (Rule(verbs=("get",)), True),
        (Rule(verbs=("list",)), False),
        (Rule(namespaces=("x",)), True),
        (Rule(namespaces=("",)), False),
        (Rule(urls=("*",)), False),
        (Rule(resources=(GroupResources(),)), True),
        (Rule(resources=(GroupResources("apps"),)), False),
        (Rule(resources=(GroupResources("*"),)), True),
        (Rule(resources=(GroupResources("", ("pods",)),)), False),
        (Rule(resources=(GroupResources("", ("pods/log",)),)), True),
        (Rule(resources=(GroupResources("", ("pods/*",)),)), True),
        (Rule(resources=(GroupResources("", ("*/log",)),)), True),
        (Rule(resources=(GroupResources("", ("*/exec",)),)), False),
        (Rule(resources=(GroupResources("", ("*",)),)), True),
        (Rule(resources=(GroupResources("", ("pods/log",), ("p",)),)), True),
        (Rule(resources=(GroupResources("", ("pods/log",), ("q",)),)), False),
    ],
)
def test_a_rule_fits_what_it_names(rule, fits):
    assert rule.fits(ask(ANN, "get", "pods", "p", "x", subresource="log")) is fits


def test_paths_are_named_whole_or_by_their_beginning():
    asked = Attributes(ANN, "get", path="/healthz/ping")
    assert [Rule(urls=(url,)).fits(asked) for url in ("/healthz", "/healthz*", "/healthz/ping", "*")] == [False, True, True, True]
    assert not Rule(namespaces=("x",)).fits(asked)


def test_the_first_rule_that_fits_counts_and_without_one_nothing_is_recorded():
    rules = Policy((Rule(NOTHING, verbs=("get",)), Rule(REQUEST, users=("ann",), omit_stages=("Panic",))), ("RequestReceived",))
    assert rules.wanted(ask(ANN, "get", "pods")) is None
    wanted = rules.wanted(ask(ANN, "list", "pods"))
    assert (wanted.level, wanted.stages) == (REQUEST, {"ResponseStarted", "ResponseComplete"})
    assert rules.wanted(ask(User("bob"), "list", "pods")) is None


@pytest.mark.parametrize(
    "about",
    [
        {"plural": "secrets"},
        {"plural": "configmaps"},
        {"plural": "serviceaccounts", "subresource": "token"},
        {"plural": "tokenreviews", "group": "authentication.k8s.io"},
    ],
)
def test_no_policy_records_what_opens_doors(about):
    everything = Policy((Rule(RESPONSE),))
    assert everything.wanted(ask(ANN, "create", **about)).level == METADATA
    assert everything.wanted(ask(ANN, "create", "pods")).level == RESPONSE


def test_names_count_only_where_a_policy_names_some():
    named = Policy((Rule(NOTHING, resources=(GroupResources("", ("pods",), ("a",)),)), Rule(METADATA)))
    assert [named.wanted(ask(ANN, "get", "pods", name)) is None for name in ("a", "b", "a")] == [True, False, True]


def test_by_default_the_heartbeat_of_the_cluster_is_left_out_and_nothing_else():
    default = policy.default()
    node = agent("one")
    quiet = [
        ask(node, "patch", "nodes", "one", subresource="status"),
        ask(node, "update", "leases", "one", "kube-node-lease", group="coordination.k8s.io"),
        ask(node, "list", "services"),
        ask(ANN, "create", "events", "", "x"),
        Attributes(ANN, "get", path="/readyz"),
    ]
    told = [
        ask(node, "delete", "pods", "p", "x"),
        ask(node, "patch", "nodes", "one"),
        ask(ANN, "get", "secrets", "s", "x"),
        ask(ANN, "create", "pods", "p", "x", subresource="exec"),
        Attributes(ANN, "post", path="/unknown"),
    ]
    assert [default.wanted(asked) is None for asked in (*quiet, *told)] == [True] * len(quiet) + [False] * len(told)
