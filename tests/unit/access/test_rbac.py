"""RBAC against a slow and obvious model, through histories of roles and bindings that come, change and go."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from moorings_core.api.access.attributes import Attributes
from moorings_core.api.access.rbac import Rbac
from moorings_core.api.access.rules import missing, parse
from moorings_core.api.context import User

from .world import RBAC, World, obj

VERBS, APIS, PLURALS, SUBS, NAMES = ("get", "list"), ("", "apps"), ("pods", "jobs"), ("", "log", "scale"), ("", "a", "b")
NAMESPACES, URLS = ("", "x", "y"), ("/a", "/a/b", "/c")
USERS = (
    User("ann", ("dev", "system:authenticated")),
    User("bob", ("ops", "system:authenticated")),
    User("system:serviceaccount:x:robot", ("system:serviceaccounts", "system:authenticated")),
)
some = st.lists
RESOURCE_RULES = st.fixed_dictionaries(
    {
        "verbs": some(st.sampled_from([*VERBS, "*"]), min_size=1, max_size=2),
        "apiGroups": some(st.sampled_from([*APIS, "*"]), min_size=1, max_size=2),
        "resources": some(st.sampled_from([*PLURALS, "*", "pods/log", "*/scale", "jobs/scale"]), min_size=1, max_size=2),
    },
    optional={"resourceNames": some(st.sampled_from(NAMES[1:]), max_size=2)},
)
URL_RULES = st.fixed_dictionaries(
    {"verbs": some(st.sampled_from([*VERBS, "*"]), min_size=1), "nonResourceURLs": some(st.sampled_from([*URLS, "*", "/a*"]), min_size=1)}
)
RULES = st.lists(RESOURCE_RULES | URL_RULES, max_size=3)
SUBJECTS = st.lists(
    st.sampled_from(
        [
            {"kind": "User", "name": "ann"},
            {"kind": "Group", "name": "ops"},
            {"kind": "Group", "name": "system:authenticated"},
            {"kind": "ServiceAccount", "name": "robot", "namespace": "x"},
            {"kind": "ServiceAccount", "name": "robot"},
            {"kind": "User", "name": "system:serviceaccount:x:robot"},
        ]
    ),
    max_size=3,
)
REFERENCES = st.sampled_from([{"kind": kind, "name": name} for kind in ("Role", "ClusterRole") for name in ("r1", "r2")])
OBJECTS = st.one_of(
    st.builds(lambda n, rules: obj("ClusterRole", n, rules=rules), st.sampled_from(["r1", "r2"]), RULES),
    st.builds(lambda n, ns, rules: obj("Role", n, ns, rules=rules), st.sampled_from(["r1", "r2"]), st.sampled_from(NAMESPACES[1:]), RULES),
    st.builds(
        lambda n, to: obj("ClusterRoleBinding", n, roleRef={"kind": "ClusterRole", "name": n}, subjects=to),
        st.sampled_from(["r1", "r2"]),
        SUBJECTS,
    ),
    st.builds(
        lambda n, ns, ref, to: obj("RoleBinding", n, ns, roleRef=ref, subjects=to),
        st.sampled_from(["b1", "b2"]),
        st.sampled_from(NAMESPACES[1:]),
        REFERENCES,
        SUBJECTS,
    ),
)
QUESTIONS = [
    *(Attributes(u, v, g, p, s, ns, n) for u, v, g, p, s, ns, n in itertools.product(USERS, VERBS, APIS, PLURALS, SUBS, NAMESPACES, NAMES)),
    *(Attributes(u, v, path=path) for u, v, path in itertools.product(USERS, VERBS, URLS)),
]


def model(objects, asked):
    """Whether any binding of any role allows it, by looking at everything."""
    for binding in objects:
        namespace = binding["metadata"].get("namespace", "")
        if "roleRef" not in binding or namespace not in ("", asked.namespace):
            continue
        if not any(is_for(subject, namespace, asked.user) for subject in binding["subjects"]):
            continue
        wanted = binding["roleRef"]
        home = namespace if wanted["kind"] == "Role" else ""
        for role in objects:
            found = (role["kind"], role["metadata"]["name"], role["metadata"].get("namespace", ""))
            if found == (wanted["kind"], wanted["name"], home) and any(rule_allows(rule, asked) for rule in role["rules"]):
                return True
    return False


def is_for(subject, namespace, user):
    if subject["kind"] == "User":
        return subject["name"] == user.name
    if subject["kind"] == "Group":
        return subject["name"] in user.groups
    home = subject.get("namespace", namespace)
    return home != "" and user.name == f"system:serviceaccount:{home}:{subject['name']}"


def rule_allows(rule, asked):
    if not {"*", asked.verb} & set(rule["verbs"]):
        return False
    if asked.path:
        urls = rule.get("nonResourceURLs", [])
        return any(url == asked.path or (url.endswith("*") and asked.path.startswith(url[:-1])) for url in urls)
    if not {"*", asked.group} & set(rule.get("apiGroups", [])):
        return False
    names = {"*", asked.plural} if not asked.subresource else {"*", f"{asked.plural}/{asked.subresource}", f"*/{asked.subresource}"}
    if not names & set(rule.get("resources", [])):
        return False
    return not rule.get("resourceNames") or asked.name in rule["resourceNames"]


def identity(o):
    return o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(OBJECTS, st.booleans()), min_size=1, max_size=12))
def test_it_allows_what_a_look_at_everything_allows(history):
    world, now = World(), {}
    rbac = Rbac(world.cache)
    for thing, put in history:
        if put:
            world.put(thing)
            now[identity(thing)] = thing
        elif identity(thing) in now:
            world.remove(now.pop(identity(thing)))
        asked = QUESTIONS[:: len(QUESTIONS) // 60]
        assert [rbac.decide(q).allowed for q in asked] == [model(list(now.values()), q) for q in asked]
    assert [rbac.decide(q).allowed for q in QUESTIONS] == [model(list(now.values()), q) for q in QUESTIONS]


@settings(max_examples=300, deadline=None)
@given(RULES, RULES)
def test_whoever_lacks_nothing_of_some_rules_may_already_do_all_that_they_allow(held, wanted):
    if missing(parse(held), wanted):
        return
    for asked in QUESTIONS:
        if any(rule_allows(rule, asked) for rule in wanted):
            assert any(rule_allows(rule, asked) for rule in held)


@given(RULES)
def test_nobody_lacks_what_he_holds(rules):
    assert missing(parse(rules), rules) == []
    assert (
        missing(parse([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, {"verbs": ["*"], "nonResourceURLs": ["*"]}]), rules) == []
    )


def test_the_reason_names_binding_role_and_subject_and_a_role_that_is_not_there():
    world = World()
    to = [{"kind": "Group", "name": "dev"}, {"kind": "ServiceAccount", "name": "robot"}]
    world.put(
        obj("ClusterRole", "reader", rules=[{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]),
        obj("RoleBinding", "team", "x", roleRef={"kind": "ClusterRole", "name": "reader"}, subjects=to),
        obj("RoleBinding", "lost", "x", roleRef={"kind": "Role", "name": "none"}, subjects=to),
    )
    rbac = Rbac(world.cache)
    by_group = rbac.decide(Attributes(USERS[0], "get", "", "pods", namespace="x"))
    assert by_group == (True, 'RBAC: allowed by RoleBinding "team/x" of ClusterRole "reader" to Group "dev"', "")
    by_account = rbac.decide(Attributes(USERS[2], "get", "", "pods", namespace="x"))
    assert by_account.reason == 'RBAC: allowed by RoleBinding "team/x" of ClusterRole "reader" to ServiceAccount "robot/x"'
    refused = rbac.decide(Attributes(USERS[0], "list", "", "pods", namespace="x"))
    assert refused == (False, f'RBAC: role.{RBAC} "none" not found', "")
