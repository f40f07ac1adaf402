"""Nonsense in bodies, paths, queries, headers, protobuf and patches: a clear refusal each time, never an error of the server's own."""

import asyncio
import contextlib
import io
import json
import ssl
from collections.abc import AsyncIterator

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moorings_core.registry.kinds import built_in

from .api_process import ApiProcess

FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
"""The same examples every time: who hunts for more takes derandomize away and raises max_examples."""
KINDS = [k for k in built_in().kinds() if "create" in k.verbs]
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
PARTS = [
    ("POST", f"{ACCOUNTS}/fuzzed/token", "authentication.k8s.io/v1", "TokenRequest"),
    ("POST", "/api/v1/namespaces/default/pods/x/eviction", "policy/v1", "Eviction"),
    ("POST", "/api/v1/namespaces/default/pods/x/binding", "v1", "Binding"),
    ("POST", "/api/v1/namespaces/default/bindings", "v1", "Binding"),
    ("PUT", "/apis/apps/v1/namespaces/default/deployments/x/scale", "autoscaling/v1", "Scale"),
    ("DELETE", "/api/v1/namespaces/default/configmaps/x", "v1", "DeleteOptions"),
    ("DELETE", "/api/v1/namespaces/default/configmaps", "v1", "DeleteOptions"),
]
"""Bodies that are no stored objects"""
WORDS = ["", "a", "default", "kube-system", "..", "%2e%2e", "A B", "ä", "\u0000", "a" * 300, "-", "0", "-1", "1e400", "true", "null", "*"]
numbers = st.integers() | st.floats(allow_nan=False) | st.sampled_from([2**63, -(2**63) - 1, 1e308])
texts = st.sampled_from(WORDS) | st.text(max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)
FIELDS = ["spec", "status", "data", "metadata", "rules", "subjects", "roleRef", "webhooks", "template", "selector", "containers", "type"]


def schema_names(kind) -> list[str]:
    """Names that a kind's objects really have, so that nonsense gets past the first check."""
    schema = kind.schema
    return [*getattr(schema, "fields", {}), *FIELDS] if schema is not None else FIELDS


@st.composite
def objects(draw, kind):
    """An object that claims to be of a kind, with nonsense in fields that the kind has."""
    names = st.sampled_from(schema_names(kind)) | texts
    nested = st.dictionaries(names, json_values | st.dictionaries(names, json_values, max_size=3), max_size=4)
    resource = kind.resource
    metadata = draw(
        st.just({"name": "x"}) | st.dictionaries(st.sampled_from(["name", "labels", "finalizers", "ownerReferences"]), json_values)
    )
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, **draw(nested)}


def place(kind, name: str = "") -> str:
    resource = kind.resource
    base = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    space = "/namespaces/default" if resource.namespaced else ""
    return f"{base}{space}/{resource.plural}{'/' + name if name else ''}"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server for all examples, and a loop to talk to it from."""
    process = ApiProcess(tmp_path_factory.mktemp("fuzz"))
    with asyncio.Runner() as runner:
        runner.run(process.start())
        try:
            yield Talker(process, runner)
        finally:
            runner.run(process.kill())


class Talker:
    """Sends requests and looks at answers."""

    def __init__(self, process: ApiProcess, runner: asyncio.Runner) -> None:
        self._process, self._runner = process, runner

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> int:
        """Send a request; return its status. Anything that is the server's own fault fails the test with its log."""
        return self._runner.run(self._send(method, path, body, headers))

    @contextlib.asynccontextmanager
    async def _session(self) -> AsyncIterator[aiohttp.ClientSession]:
        root = self._process.root
        context = ssl.create_default_context(cafile=str(root / "ca.crt"))
        context.load_cert_chain(root / "admin.crt", root / "admin.key")
        timeout = aiohttp.ClientTimeout(total=20)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), timeout=timeout) as session:
            yield session

    async def _send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> int:
        from yarl import URL

        url = URL(f"https://127.0.0.1:{self._process.port}{path}", encoded=True)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._session() as session, session.request(method, url, data=io.BytesIO(body), headers=named) as answer:
            if "watch" not in path:
                text = await answer.text(errors="replace")
                if answer.status >= 400 and answer.content_type == "application/json" and method != "HEAD":
                    assert json.loads(text)["kind"] == "Status"
                assert answer.status < 500, (
                    f"{method} {path} {body[:500]!r}: {text}\n{(self._process.root / 'server.log').read_text()[-3000:]}"
                )
            return answer.status


@FUZZ
@given(st.data())
def test_objects_with_nonsense_in_real_fields(server, data):
    kind = data.draw(st.sampled_from(KINDS))
    body = json.dumps(data.draw(objects(kind))).encode()
    method, path = data.draw(st.sampled_from([("POST", place(kind)), ("PUT", place(kind, "x"))]))
    server.send(method, f"{path}?dryRun=All", body, Content_Type="application/json")


@FUZZ
@given(st.data())
def test_bodies_of_subresources_and_options_with_nonsense(server, data):
    method, path, version, kind = data.draw(st.sampled_from(PARTS))
    if path.endswith("/token"):
        server.send("POST", ACCOUNTS, b'{"metadata":{"name":"fuzzed"}}', Content_Type="application/json")
    names = st.sampled_from(["spec", "metadata", "target", "deleteOptions", "preconditions", "boundObjectRef", "audiences", "replicas"])
    nonsense = data.draw(st.dictionaries(names, json_values | st.dictionaries(names, json_values, max_size=3), max_size=4))
    body = json.dumps({"apiVersion": version, "kind": kind, **nonsense}).encode()
    server.send(method, f"{path}?dryRun=All", body, Content_Type="application/json")


@FUZZ
@given(st.data())
def test_patches_of_every_kind_with_nonsense(server, data):
    kind = data.draw(st.sampled_from([k for k in KINDS if k.resource.plural in ("configmaps", "services", "pods", "deployments", "roles")]))
    form = data.draw(st.sampled_from(["json-patch", "merge-patch", "strategic-merge-patch", "apply-patch"]))
    names = st.sampled_from(
        ["op", "path", "value", "from", "$patch", "$retainKeys", "$setElementOrder/containers", "$deleteFromPrimitiveList/x"]
    )
    step = st.fixed_dictionaries(
        {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "x"]), "path": texts | json_values}
    )
    patch = data.draw(st.lists(step | json_values, max_size=3) | st.dictionaries(names | texts, json_values, max_size=4) | objects(kind))
    name = "kubernetes" if kind.resource.plural == "services" else "moorings" if kind.resource.plural == "configmaps" else "x"
    path = place(kind, name).replace("default", "kube-system" if name == "moorings" else "default")
    media = "application/apply-patch+yaml" if form == "apply-patch" else f"application/{form}+json"
    server.send("PATCH", f"{path}?dryRun=All&fieldManager=fuzz&force=true", json.dumps(patch).encode(), Content_Type=media)


@FUZZ
@given(
    st.sampled_from(KINDS),
    st.dictionaries(
        st.sampled_from(
            ["limit", "continue", "labelSelector", "fieldSelector", "resourceVersion", "resourceVersionMatch", "timeoutSeconds",
             "sendInitialEvents", "allowWatchBookmarks", "dryRun", "fieldValidation", "pretty", "gracePeriodSeconds", "propagationPolicy"]
        ),
        texts.filter(lambda text: not text.isdigit())
        | st.sampled_from(["0", "-5", "1.5", "a=b", "a in (b", "!x", "metadata.name=a", "spec.x!=", "Exact", "NotOlderThan"]),
        max_size=4,
    ),
    st.sampled_from(["GET", "DELETE", "HEAD"]),
)  # fmt: skip
def test_queries_with_nonsense(server, kind, query, method):
    from urllib.parse import quote

    text = "&".join(f"{name}={quote(str(value).encode('utf-8', 'surrogatepass'))}" for name, value in query.items())
    path = place(kind, "none" if method == "DELETE" else "")
    server.send(method, f"{path}?{text}")


@FUZZ
@given(
    st.lists(
        st.sampled_from([*WORDS, "api", "apis", "v1", "apps", "pods", "namespaces", "status", "log", "proxy", "openapi", "v3"]), max_size=7
    )
)
def test_paths_with_nonsense(server, parts):
    from urllib.parse import quote

    server.send("GET", "/" + "/".join(quote(part) for part in parts))


@FUZZ
@given(st.binary(max_size=200), st.sampled_from(KINDS), st.booleans())
def test_protobuf_with_nonsense(server, noise, kind, envelope):
    body = b"k8s\x00" + (b"\x0a\x04\x0a\x02v1\x12" + bytes([len(noise) % 128]) if envelope else b"") + noise
    server.send("POST", f"{place(kind)}?dryRun=All", body, Content_Type="application/vnd.kubernetes.protobuf")


@FUZZ
@given(st.binary(max_size=300), st.sampled_from(["application/json", "application/yaml", "application/cbor", "text/plain", "", "x"]))
def test_bodies_that_are_no_text(server, noise, media):
    server.send("POST", "/api/v1/namespaces/default/configmaps?dryRun=All", noise, Content_Type=media)


@pytest.mark.parametrize("depth", [100, 10_000, 200_000])
def test_depth_is_bounded(server, depth):
    for body in (b"[" * depth, b'{"a":' * depth, b'{"metadata":{"name":"x"},"data":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"):
        status = server.send("POST", "/api/v1/namespaces/default/configmaps?dryRun=All", body, Content_Type="application/json")
        assert 400 <= status < 500


def test_a_body_that_is_too_long_is_refused(server):
    body = json.dumps({"metadata": {"name": "x"}, "data": {"a": "x" * (4 << 20)}}).encode()
    assert server.send("POST", "/api/v1/namespaces/default/configmaps", body, Content_Type="application/json") == 413
