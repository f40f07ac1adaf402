"""Which flow schema a request belongs to, by the objects that every cluster has."""

import pytest

from moorings_core.api.context import User
from moorings_core.api.flowcontrol.born import objects
from moorings_core.api.flowcontrol.borrowing import Bounds
from moorings_core.api.flowcontrol.control import bounds_of, limits_of
from moorings_core.api.flowcontrol.fairness import Limits
from moorings_core.api.flowcontrol.rules import Asked, flow_of, matches, order
from moorings_core.api.paths import Target

SCHEMAS = sorted((o for _, o in objects() if o["kind"] == "FlowSchema"), key=order)
LEVELS = {o["metadata"]["name"]: o for _, o in objects() if o["kind"] == "PriorityLevelConfiguration"}
KNOWN = "system:authenticated"
LEASE = Target("coordination.k8s.io", "v1", "leases", "kube-system", "x")
POD, NODE = Target("", "v1", "pods", "default", "x"), Target("", "v1", "nodes", "", "x", "status")
CASES = [
    (User("admin", ("system:masters", KNOWN)), "get", POD, "exempt"),
    (User("anyone", (KNOWN,)), "get", None, "probes"),
    (User("system:kube-scheduler", (KNOWN,)), "update", LEASE, "system-leader-election"),
    (User("system:serviceaccount:kube-system:x", ("system:serviceaccounts", KNOWN)), "update", LEASE, "system-leader-election"),
    (User("system:node:a", ("system:nodes", KNOWN)), "patch", NODE, "system-node-high"),
    (User("system:node:a", ("system:nodes", KNOWN)), "get", POD, "system-nodes"),
    (User("system:kube-controller-manager", (KNOWN,)), "list", POD, "kube-controller-manager"),
    (User("system:serviceaccount:kube-system:x", ("system:serviceaccounts", KNOWN)), "get", POD, "kube-system-service-accounts"),
    (User("system:serviceaccount:default:x", ("system:serviceaccounts", KNOWN)), "get", POD, "service-accounts"),
    (User("anyone", (KNOWN,)), "get", POD, "global-default"),
]


@pytest.mark.parametrize(("user", "verb", "target", "schema"), CASES)
def test_a_request_belongs_to_the_first_schema_that_matches(user, verb, target, schema):
    asked = Asked(user, verb, target, "/healthz")
    assert next(s["metadata"]["name"] for s in SCHEMAS if matches(s, asked)) == schema


def test_flows_are_told_apart_by_user_or_by_namespace():
    by_user = next(s for s in SCHEMAS if s["metadata"]["name"] == "global-default")
    by_namespace = next(s for s in SCHEMAS if s["metadata"]["name"] == "kube-scheduler")
    one, two = Asked(User("a"), "get", POD, ""), Asked(User("b"), "get", POD, "")
    assert flow_of(by_user, one) != flow_of(by_user, two)
    assert flow_of(by_namespace, one) == flow_of(by_namespace, two)


def test_levels_share_all_seats_by_their_shares():
    assert limits_of(LEVELS["exempt"], 0) == Limits(None)
    assert limits_of(LEVELS["catch-all"], 13) == Limits(13)
    assert limits_of(LEVELS["workload-low"], 245) == Limits(245, 128, 6, 50)
    assert bounds_of(LEVELS["catch-all"], 600, 245) == Bounds(13, 13, 613)
    assert bounds_of(LEVELS["workload-low"], 600, 245) == Bounds(245, 24, 845)
    assert bounds_of(LEVELS["exempt"], 600, 245) == Bounds(0, 0, 600, exempt=True)
