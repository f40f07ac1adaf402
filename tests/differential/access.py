"""Requests about access for both servers: reviews, refusals, roles and bindings by users of all kinds, the roles of a new cluster."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from .cases import MERGE, Case, obj, path
from .peers import ROOT, Request

RBAC, AUTHORIZATION, AUTHENTICATION = "rbac.authorization.k8s.io/v1", "authorization.k8s.io/v1", "authentication.k8s.io/v1"
CERTIFICATES = "certificates.k8s.io/v1"
GROUP = "rbac.authorization.k8s.io"
PODS = {"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]}
ROLES = {"apiGroups": [GROUP], "resources": ["*"], "verbs": ["*"]}
WRITE_ROLES = {
    "apiGroups": [GROUP],
    "resources": ["roles", "rolebindings", "clusterroles", "clusterrolebindings"],
    "verbs": ["create", "patch", "get"],
}
ACTING = [
    {"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"], "resourceNames": ["carl"]},
    {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"]},
]


def access() -> Iterator[Case]:
    """Yield all cases."""
    yield from _born()
    yield from _set_up()
    yield from _refusals()
    yield from _reviews()
    yield from _tokens()
    yield from _escalation()
    yield from _impersonation()
    yield from _certificates()


def as_user(user: str, *groups: str) -> dict[str, str]:
    """Return the headers of somebody; of several groups the last counts, as the client here keeps one header of a name."""
    return {"Impersonate-User": user} | ({"Impersonate-Group": groups[-1]} if groups else {})


def binding(name: str, kind: str, role: str, user: str, *, namespace: str = "default") -> dict[str, Any]:
    """Return a binding of a user."""
    made = obj(RBAC, "RoleBinding" if namespace else "ClusterRoleBinding", name)
    return made | {"roleRef": {"apiGroup": GROUP, "kind": kind, "name": role}, "subjects": [{"kind": "User", "name": user}]}


def _born() -> Iterator[Case]:
    facts = json.loads((ROOT / "core/moorings_core/api/access/roles.json").read_text())
    for plural, entries in facts.items():
        for name in entries:
            namespace, _, short = name.rpartition("/")
            yield f"access: from birth: {plural} {name}", [Request("GET", path(RBAC, plural, short, namespace))]


def _set_up() -> Iterator[Case]:
    roles = {"reader": [PODS], "maker": [PODS, WRITE_ROLES], "actor": ACTING}
    requests = [Request("POST", path(RBAC, "roles"), obj(RBAC, "Role", name, rules=rules)) for name, rules in roles.items()]
    requests += [
        Request("POST", path(RBAC, "clusterroles", "", ""), obj(RBAC, "ClusterRole", name, rules=rules)) for name, rules in roles.items()
    ]
    requests += [
        Request("POST", path(RBAC, "rolebindings"), binding("reader", "Role", "reader", "ann")),
        Request("POST", path(RBAC, "rolebindings"), binding("maker", "Role", "maker", "eve")),
        Request("POST", path(RBAC, "clusterrolebindings", "", ""), binding("actor", "ClusterRole", "actor", "dora", namespace="")),
        Request("POST", path(RBAC, "rolebindings"), binding("lost", "Role", "nowhere", "lou")),
    ]
    yield "access: roles and bindings for what follows", requests


def _refusals() -> Iterator[Case]:
    ann = as_user("ann")
    for name, method, where, user in (
        ("a read", "GET", path("v1", "secrets", "x"), ann),
        ("a list", "GET", path("v1", "secrets"), ann),
        ("a list of all", "GET", path("v1", "pods", "", ""), ann),
        ("a list of one", "GET", f"{path('v1', 'secrets')}?fieldSelector=metadata.name%3Dx", ann),
        ("a watch", "GET", f"{path('v1', 'secrets')}?watch=true", ann),
        ("a deletion", "DELETE", path("v1", "pods", "x"), ann),
        ("a deletion of many", "DELETE", path("v1", "pods"), ann),
        ("a group", "GET", path("apps/v1", "deployments", "x"), ann),
        ("a subresource", "GET", f"{path('apps/v1', 'deployments', 'x')}/scale", ann),
        ("an exec", "GET", f"{path('v1', 'pods', 'x')}/exec?command=a", ann),
        ("a namespace", "GET", path("v1", "namespaces", "default", ""), ann),
        ("a namespace's end", "DELETE", path("v1", "namespaces", "default", ""), ann),
        ("a node", "GET", path("v1", "nodes", "x", ""), ann),
        ("no resource", "GET", "/metrics", ann),
        ("no resource at all", "GET", "/nothing", ann),
        ("a health check", "GET", "/readyz/ping", ann),
        ("a resource that is not there", "GET", "/apis/example.org/v1/anchors", ann),
        ("a name that looks like a tag", "GET", path("v1", "secrets", "x"), as_user("<b>&")),
        ("a role that is not there", "GET", path("v1", "pods"), as_user("lou")),
        ("a bootstrap group", "GET", path("v1", "pods"), as_user("x", "system:bootstrappers")),
        ("a view of what is allowed", "GET", path("v1", "pods"), ann),
    ):
        yield f"access: refused: {name}", [Request(method, where, headers=user)]
    yield "access: refused: a creation", [Request("POST", path("v1", "pods"), obj("v1", "Pod"), headers=ann)]
    yield "access: refused: a patch", [Request("PATCH", path("v1", "pods", "x"), {}, headers=MERGE | ann)]
    yield "access: a wrong token", [Request("GET", path("v1", "pods"), headers={"Authorization": "Bearer wrong"})]


def _reviews() -> Iterator[Case]:
    reads = {"verb": "get", "resource": "pods", "namespace": "default"}
    questions: dict[str, dict[str, Any]] = {
        "allowed": {"resourceAttributes": reads},
        "another namespace": {"resourceAttributes": {**reads, "namespace": "kube-system"}},
        "everywhere": {"resourceAttributes": {"verb": "get", "resource": "pods"}},
        "a subresource": {"resourceAttributes": {**reads, "subresource": "log"}},
        "a version": {"resourceAttributes": {**reads, "version": "v1", "group": ""}},
        "any verb": {"resourceAttributes": {**reads, "verb": "*"}},
        "a path": {"nonResourceAttributes": {"verb": "get", "path": "/openapi/v3"}},
        "another path": {"nonResourceAttributes": {"verb": "get", "path": "/metrics"}},
        "both": {"resourceAttributes": reads, "nonResourceAttributes": {"verb": "get", "path": "/"}},
        "neither": {},
        "a selector": {"resourceAttributes": {**reads, "fieldSelector": {"rawSelector": "spec.nodeName=x"}}},
        "a wrong selector": {"resourceAttributes": {**reads, "fieldSelector": {"rawSelector": "a b"}}},
    }
    for name, spec in questions.items():
        own = obj(AUTHORIZATION, "SelfSubjectAccessReview", spec=spec) | {"metadata": {}}
        yield (
            f"access: may I: {name}",
            [Request("POST", path(AUTHORIZATION, "selfsubjectaccessreviews", "", ""), own, headers=as_user("ann"))],
        )
        other = obj(AUTHORIZATION, "SubjectAccessReview", spec={**spec, "user": "ann", "groups": ["system:authenticated"]}) | {
            "metadata": {}
        }
        yield f"access: may she: {name}", [Request("POST", path(AUTHORIZATION, "subjectaccessreviews", "", ""), other)]
        local = other | {"kind": "LocalSubjectAccessReview"}
        yield f"access: may she here: {name}", [Request("POST", path(AUTHORIZATION, "localsubjectaccessreviews"), local)]
    nobody = obj(AUTHORIZATION, "SubjectAccessReview", spec={"resourceAttributes": reads}) | {"metadata": {}}
    yield "access: may nobody", [Request("POST", path(AUTHORIZATION, "subjectaccessreviews", "", ""), nobody)]
    lost = obj(AUTHORIZATION, "SubjectAccessReview", spec={"resourceAttributes": reads, "user": "lou"}) | {"metadata": {}}
    yield "access: may she by a role that is not there", [Request("POST", path(AUTHORIZATION, "subjectaccessreviews", "", ""), lost)]
    rules = obj(AUTHORIZATION, "SelfSubjectRulesReview", spec={}) | {"metadata": {}}
    yield "access: my rules nowhere", [Request("POST", path(AUTHORIZATION, "selfsubjectrulesreviews", "", ""), rules)]
    me = obj(AUTHENTICATION, "SelfSubjectReview") | {"metadata": {}}
    for name, user in (("myself", {}), ("somebody", as_user("ann", "dev")), ("an account", as_user("system:serviceaccount:a:b"))):
        yield f"access: who is {name}", [Request("POST", path(AUTHENTICATION, "selfsubjectreviews", "", ""), me, headers=user)]


def _tokens() -> Iterator[Case]:
    where = f"{path('v1', 'serviceaccounts', 'speaker')}/token"
    yield "access: an account", [Request("POST", path("v1", "serviceaccounts"), obj("v1", "ServiceAccount", "speaker"))]
    for name, spec in {
        "plain": {},
        "with audiences": {"audiences": ["a", "b"], "expirationSeconds": 700},
        "too short": {"expirationSeconds": 5},
        "too long": {"expirationSeconds": 1 << 33},
        "for a pod that is not there": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "none"}},
        "for a secret that is not there": {"boundObjectRef": {"kind": "Secret", "apiVersion": "v1", "name": "none"}},
        "for what no token can be for": {"boundObjectRef": {"kind": "ConfigMap", "apiVersion": "v1", "name": "none"}},
        "for what no token of another group can be for": {
            "boundObjectRef": {"kind": "Deployment", "apiVersion": "apps/v1", "name": "none"}
        },
    }.items():
        yield f"access: a token {name}", [Request("POST", where, obj(AUTHENTICATION, "TokenRequest", spec=spec) | {"metadata": {}})]
    other = obj(AUTHENTICATION, "TokenRequest", spec={}) | {"metadata": {"name": "other"}}
    yield "access: a token of another name", [Request("POST", where, other)]
    for name, spec in {"wrong": {"token": "wrong"}, "none": {}, "an administrator's": {"token": "administrator"}}.items():
        review = obj(AUTHENTICATION, "TokenReview", spec=spec) | {"metadata": {}}
        yield f"access: a review of a token: {name}", [Request("POST", path(AUTHENTICATION, "tokenreviews", "", ""), review)]


def _escalation() -> Iterator[Case]:
    eve = as_user("eve")
    more = {"apiGroups": ["", "apps"], "resources": ["secrets", "pods"], "verbs": ["get", "list", "watch"], "resourceNames": ["a"]}
    urls = {"nonResourceURLs": ["/metrics", "/healthz"], "verbs": ["get"]}
    yield "access: a role that one holds", [Request("POST", path(RBAC, "roles"), obj(RBAC, "Role", "same", rules=[PODS]), headers=eve)]
    yield "access: a role with more", [Request("POST", path(RBAC, "roles"), obj(RBAC, "Role", "more", rules=[PODS, more]), headers=eve)]
    yield "access: more for a role", [Request("PATCH", path(RBAC, "roles", "same"), {"rules": [PODS, more]}, headers=MERGE | eve)]
    yield (
        "access: the same role with a label",
        [Request("PATCH", path(RBAC, "roles", "same"), {"metadata": {"labels": {"a": "b"}}}, headers=MERGE | eve)],
    )
    yield "access: less for a role", [Request("PATCH", path(RBAC, "roles", "same"), {"rules": []}, headers=MERGE | eve)]
    for kind, role in (
        ("Role", "reader"),
        ("Role", "actor"),
        ("ClusterRole", "view"),
        ("ClusterRole", "system:basic-user"),
        ("Role", "none"),
    ):
        made = binding(f"eve-{kind.lower()}-{role.replace(':', '-')}", kind, role, "eve")
        yield f"access: a binding of {kind} {role}", [Request("POST", path(RBAC, "rolebindings"), made, headers=eve)]
    maker = obj(RBAC, "ClusterRoleBinding", "fay", roleRef={"apiGroup": GROUP, "kind": "ClusterRole", "name": "maker"})
    maker["subjects"] = [{"kind": "User", "name": "fay"}]
    yield "access: a maker of cluster roles", [Request("POST", path(RBAC, "clusterrolebindings", "", ""), maker)]
    fay, everywhere = as_user("fay"), path(RBAC, "clusterroles", "", "")
    yield "access: a cluster role with URLs", [Request("POST", everywhere, obj(RBAC, "ClusterRole", "urls", rules=[urls]), headers=fay)]
    selector = {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}
    gathering = obj(RBAC, "ClusterRole", "gathering", aggregationRule=selector, rules=[])
    yield "access: a cluster role that gathers others", [Request("POST", everywhere, gathering, headers=fay)]


def _impersonation() -> Iterator[Case]:
    dora = {"Authorization": "Bearer dora"}
    for name, headers in {
        "somebody": as_user("carl"),
        "somebody else": as_user("anybody"),
        "an account": as_user("system:serviceaccount:a:b"),
        "somebody with a group": as_user("carl", "dev"),
        "somebody with a uid": as_user("carl") | {"Impersonate-Uid": "1"},
        "somebody with more": as_user("carl") | {"Impersonate-Extra-Scopes": "a"},
        "somebody with %-encoded more": as_user("carl") | {"Impersonate-Extra-Acme.com%2Fproject": "a"},
        "nobody": as_user("system:anonymous"),
    }.items():
        me = obj(AUTHENTICATION, "SelfSubjectReview") | {"metadata": {}}
        where = path(AUTHENTICATION, "selfsubjectreviews", "", "")
        yield f"access: an administrator as {name}", [Request("POST", where, me, headers=headers)]
        yield f"access: a user as {name}", [Request("POST", where, me, headers=headers | dora)]
    yield "access: a group of nobody", [Request("GET", path("v1", "pods"), headers={"Impersonate-Group": "dev"})]


def _certificates() -> Iterator[Case]:
    spec = {
        "request": _certificate_request("ann", "dev"),
        "signerName": "example.org/one",
        "usages": ["client auth"],
        "username": "somebody",
    }
    requests = path(CERTIFICATES, "certificatesigningrequests", "", "")
    one, ann = path(CERTIFICATES, "certificatesigningrequests", "ann", ""), as_user("ann")
    made = obj(CERTIFICATES, "CertificateSigningRequest", "ann", spec=spec)
    maker = {"apiGroups": ["certificates.k8s.io"], "resources": ["*"], "verbs": ["create", "get", "patch", "update"]}
    yield (
        "access: certificates: who may ask",
        [
            Request("POST", path(RBAC, "clusterroles", "", ""), obj(RBAC, "ClusterRole", "certificates", rules=[maker])),
            Request(
                "POST",
                path(RBAC, "clusterrolebindings", "", ""),
                binding("certificates", "ClusterRole", "certificates", "ann", namespace=""),
            ),
        ],
    )
    yield "access: certificates: a request", [Request("POST", requests, made, headers=ann)]
    condition = {"type": "Approved", "status": "True", "reason": "x"}
    for name, where, patch in (
        ("approved", f"{one}/approval", {"status": {"conditions": [condition]}}),
        ("approved with a certificate", f"{one}/approval", {"status": {"certificate": "YQ=="}}),
        ("denied by who writes the status", f"{one}/status", {"status": {"conditions": [{**condition, "reason": "other"}]}}),
        ("a condition of another type", f"{one}/status", {"status": {"conditions": [condition, {**condition, "type": "Failed"}]}}),
        ("its spec", one, {"spec": {"signerName": "example.org/two"}, "metadata": {"labels": {"a": "b"}}}),
    ):
        yield f"access: certificates: {name}, by ann", [Request("PATCH", where, patch, headers=MERGE | ann)]
        yield f"access: certificates: {name}", [Request("PATCH", where, patch, headers=MERGE)]
    masters = {**spec, "request": _certificate_request("x", "system:masters"), "signerName": "kubernetes.io/kube-apiserver-client"}
    wrong = obj(CERTIFICATES, "CertificateSigningRequest", "masters", spec=masters)
    yield "access: certificates: of system:masters", [Request("POST", requests, wrong)]


def _certificate_request(name: str, organization: str) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization), x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()
