"""The HTTPS client against a real TLS server on loopback that misbehaves on command."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from moorings_core.client import kubeconfig
from moorings_core.client.http import HttpClient
from moorings_core.client.informer import Informer
from moorings_core.client.resources import CONFIG_MAPS, NODES, PODS
from moorings_core.ports.client import Create, Delete, Patch, WatchEvent
from moorings_core.ports.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Expired,
    Gone,
    NotFound,
    ServerTimeout,
    ServiceUnavailable,
    TooManyRequests,
)
from moorings_core.ports.objects import Key

from . import tlsserver
from .tlsserver import Authority, Server


@asynccontextmanager
async def talking(folder: Path, handler, user=None, timeout: float = 5, **options) -> AsyncIterator[tuple[Server, HttpClient]]:
    """A server with handler and a client of it."""
    async with tlsserver.serve(folder, handler, **options) as server:
        client = HttpClient.from_kubeconfig(server.kubeconfig(user), timeout=timeout)
        try:
            yield server, client
        finally:
            await client.close()


def status(reason: str, code: int) -> str:
    """The text of a failure Status."""
    return json.dumps({"kind": "Status", "status": "Failure", "reason": reason, "code": code, "message": f"is {reason}"})


async def test_get_builds_the_path_and_keeps_one_connection(tmp_path):
    async def answer(request):
        await request.json(json.dumps({"target": request.target, "agent": request.headers["user-agent"]}))

    async with talking(tmp_path, answer) as (server, client):
        first = await client.get(PODS, "web", "shop")
        second = await client.get(PODS, "web", "shop", subresource="status")
        assert first["target"] == "/api/v1/namespaces/shop/pods/web"
        assert second["target"] == "/api/v1/namespaces/shop/pods/web/status"
        assert server.connections == 1


async def test_each_verb_sends_what_the_api_expects(tmp_path):
    async def answer(request):
        await request.json(json.dumps({"m": request.method, "t": request.target, "b": request.body.decode()}))

    async with talking(tmp_path, answer) as (server, client):
        pod = {"metadata": {"name": "p", "namespace": "n"}}
        created = await client.create(PODS, pod)
        assert (created["m"], created["t"], json.loads(created["b"])) == ("POST", "/api/v1/namespaces/n/pods", pod)
        bound = await client.create(PODS, {"metadata": {"namespace": "n"}}, subresource="binding", name="p")
        assert bound["t"] == "/api/v1/namespaces/n/pods/p/binding"
        updated = await client.update(PODS, pod, subresource="status")
        assert (updated["m"], updated["t"]) == ("PUT", "/api/v1/namespaces/n/pods/p/status")
        patched = await client.patch(PODS, "p", "n", [{"op": "remove", "path": "/x"}], type="json")
        assert patched["m"] == "PATCH" and server.requests[-1].headers["content-type"] == "application/json-patch+json"
        applied = await client.patch(PODS, "p", "n", pod, type="apply")
        assert parse_qs(urlsplit(applied["t"]).query) == {"fieldManager": ["moorings"], "force": ["true"]}
        await client.delete(PODS, "p", "n", uid="u1", grace=0, propagation="Orphan")
        options = json.loads(server.requests[-1].body)
        assert options["preconditions"] == {"uid": "u1"}
        assert (options["gracePeriodSeconds"], options["propagationPolicy"]) == (0, "Orphan")


async def test_list_pages_and_completes_items(tmp_path):
    page = {"metadata": {"resourceVersion": "9", "continue": "next"}, "items": [{"metadata": {"name": "a"}}]}

    async def answer(request):
        await request.json(json.dumps(page))

    async with talking(tmp_path, answer) as (server, client):
        got = await client.list(NODES, labels="a=b,c!=d", limit=1, continue_="tok")
        assert (got.version, got.continue_) == ("9", "next")
        assert got.items[0]["kind"] == "Node" and got.items[0]["apiVersion"] == "v1"
        query = parse_qs(urlsplit(server.requests[0].target).query)
        assert query == {"labelSelector": ["a=b,c!=d"], "limit": ["1"], "continue": ["tok"]}


@pytest.mark.parametrize(
    ("reason", "code", "kind"),
    [
        ("NotFound", 404, NotFound),
        ("AlreadyExists", 409, AlreadyExists),
        ("Conflict", 409, Conflict),
        ("Expired", 410, Expired),
        ("TooManyRequests", 429, TooManyRequests),
    ],
)
async def test_failures_become_typed_errors(tmp_path, reason, code, kind):
    async def answer(request):
        await request.json(status(reason, code), code)

    async with talking(tmp_path, answer) as (server, client):
        with pytest.raises(kind, match=f"is {reason}") as caught:
            await client.get(PODS, "x", "n")
        assert caught.value.code == code
        with pytest.raises(kind):
            await client.update(PODS, {"metadata": {"name": "x", "namespace": "n"}})
        assert server.connections == 1, "an error answer is no reason to drop the connection"


async def test_an_error_that_is_no_status_keeps_its_meaning(tmp_path):
    async def answer(request):
        await request.json("<html>bad gateway</html>", 503)

    async with talking(tmp_path, answer) as (_, client):
        with pytest.raises(ServiceUnavailable, match="bad gateway"):
            await client.get(PODS, "x", "n")


async def test_nobody_listening(tmp_path):
    authority = Authority(tmp_path / "ca")
    client = HttpClient(kubeconfig.Credentials("https://127.0.0.1:1", kubeconfig.Pem(str(authority.path))))
    with pytest.raises(ServiceUnavailable, match="GET /api/v1/nodes"):
        await client.list(NODES)
    await client.close()


async def test_a_slow_answer_ends_at_the_timeout_and_costs_the_connection(tmp_path):
    async def answer(request):
        if request.target.endswith("slow"):
            request.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
            await request.writer.drain()
            await asyncio.sleep(60)
        await request.json("{}")

    async with talking(tmp_path, answer, timeout=1.5) as (server, client):
        with pytest.raises(ServerTimeout):
            await client.get(NODES, "slow")
        assert await client.get(NODES, "quick") == {}
        assert server.connections == 2, "the rest of the slow body must not be read as the next answer"


async def test_a_body_in_drops_arrives_whole(tmp_path):
    text = json.dumps({"metadata": {"name": "a" * 5000}})

    async def answer(request):
        await request.start_chunks()
        for start in range(0, len(text), 700):
            await request.chunk(text[start : start + 700].encode())
            await asyncio.sleep(0)
        await request.chunk(b"")

    async with talking(tmp_path, answer) as (server, client):
        assert await client.get(NODES, "a") == json.loads(text)
        assert await client.get(NODES, "a") == json.loads(text)
        assert server.connections == 1


async def test_a_read_on_a_connection_that_died_in_the_pool_is_repeated_and_a_write_is_not(tmp_path):
    async def answer(request):
        if request.connection % 2 and len([r for r in server.requests if r.connection == request.connection]) > 1:
            request.abort()  # the second request on each odd connection meets a dead server
            return
        await request.json("{}")

    async with talking(tmp_path, answer) as (server, client):
        await client.get(NODES, "a")
        await client.get(NODES, "a")
        assert [r.connection for r in server.requests] == [1, 1, 2]
        server.requests[-1].abort()  # back to an odd connection
        while client._pool._idle and client._pool._idle[-1].alive:
            await asyncio.sleep(0.01)
        await client.create(NODES, {"metadata": {"name": "a"}})
        with pytest.raises(ServiceUnavailable):
            await client.create(NODES, {"metadata": {"name": "b"}})
        assert [r.connection for r in server.requests] == [1, 1, 2, 3, 3]


async def test_watch_yields_lines_however_they_are_cut(tmp_path):
    events = [
        {"type": "ADDED", "object": {"metadata": {"name": "ä", "resourceVersion": "3"}}},
        {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "4"}}},
        {"type": "DELETED", "object": {"metadata": {"name": "ä", "resourceVersion": "5"}}},
    ]
    text = b"".join(json.dumps(e, ensure_ascii=False).encode() + b"\n" for e in events)

    async def answer(request):
        size = int(parse_qs(urlsplit(request.target).query)["resourceVersion"][0])
        await request.start_chunks()
        for start in range(0, len(text), size):
            await request.chunk(text[start : start + size])
        await request.chunk(b"")

    async with talking(tmp_path, answer) as (_, client):
        for size in (1, 7, 1000):
            got = [event async for event in client.watch(PODS, "n", since=str(size))]
            assert got == [WatchEvent(e["type"], e["object"]) for e in events]


@pytest.mark.parametrize("in_stream", [True, False])
async def test_watch_from_a_forgotten_version_is_gone(tmp_path, in_stream):
    async def answer(request):
        if in_stream:
            await request.start_chunks()
            event = {"type": "ERROR", "object": json.loads(status("Expired", 410))}
            await request.chunk(json.dumps(event).encode() + b"\n")
            await request.chunk(b"")
        else:
            await request.json("too old", 410)

    async with talking(tmp_path, answer) as (_, client):
        with pytest.raises(Expired if in_stream else Gone):
            async for _event in client.watch(PODS, since="1"):
                pass


async def test_informer_survives_a_connection_broken_in_the_middle_of_a_watch(tmp_path):
    """A cut line is dropped, the list that follows brings what was missed."""
    stored = {"a": "1"}

    async def answer(request):
        if "watch=true" not in request.target:
            items = [{"metadata": {"name": n, "resourceVersion": v}} for n, v in stored.items()]
            await request.json(json.dumps({"metadata": {"resourceVersion": "2"}, "items": items}))
            return
        watches = [r for r in server.requests if "watch=true" in r.target]
        await request.start_chunks()
        if len(watches) == 1:
            await request.chunk(b'{"type":"ADDED","object":{"metadata":{"name":"b","resourceVersion":"3"}}}\n{"type":"DELE')
            stored.update({"c": "5"})
            stored.pop("a")
            request.abort()
            return
        await asyncio.sleep(60)

    async with talking(tmp_path, answer) as (server, client):
        informer, seen = Informer(client, NODES), []
        arrived = asyncio.Event()

        def handler(old, new):
            seen.append((old and old["metadata"]["name"], new and new["metadata"]["name"]))
            if new and new["metadata"]["name"] == "c":
                arrived.set()

        informer.on_change(handler)
        task = asyncio.create_task(informer.run())
        async with asyncio.timeout(10):
            await arrived.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert set(informer.items) == {Key("", "c")}
        assert seen == [(None, "a"), (None, "b"), ("a", None), ("b", None), (None, "c")]


async def test_an_informer_lists_by_pages_keeps_what_it_needs_of_each_and_begins_anew_when_they_are_too_old(tmp_path):
    asked = []

    async def answer(request):
        if "watch=true" in request.target:
            await request.start_chunks()
            await asyncio.sleep(60)
            return
        asked.append("continue=" in request.target)
        assert "limit=2" in request.target
        if asked == [False, True]:
            await request.json(status("Expired", 410), 410)
            return
        names = ("c",) if asked[-1] else ("a", "b")
        items = [{"metadata": {"name": n, "resourceVersion": "1"}, "spec": {"much": n}} for n in names]
        rest = {} if asked[-1] else {"continue": "more"}
        await request.json(json.dumps({"metadata": {"resourceVersion": "2"} | rest, "items": items}))

    async with talking(tmp_path, answer) as (_, client):
        informer = Informer(client, NODES, transform=lambda node: {"metadata": node["metadata"]}, page=2)
        task = asyncio.create_task(informer.run())
        await informer.synced(10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert asked == [False, True, False, True]
        assert [dict(node) for node in informer.items.values()] == [{"metadata": {"name": n, "resourceVersion": "1"}} for n in "abc"]


async def test_commit_gives_each_write_its_own_result_in_order(tmp_path):
    flying, most = 0, 0

    async def answer(request):
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(0.01)
        flying -= 1
        if request.method == "DELETE":
            await request.json(status("NotFound", 404), 404)
        else:
            await request.json(json.dumps({"target": request.target}))

    async with talking(tmp_path, answer) as (server, client):
        writes = [Create(CONFIG_MAPS, {"metadata": {"namespace": f"n{i}"}}) for i in range(40)]
        got = await client.commit([*writes, Delete(NODES, "", "x"), Patch(NODES, "", "y", {})])
        assert [o["target"] for o in got[:40]] == [f"/api/v1/namespaces/n{i}/configmaps" for i in range(40)]
        assert isinstance(got[40], NotFound)
        assert got[41] == {"target": "/api/v1/nodes/y"}
        assert 2 <= most <= 16 and server.connections <= 16


async def test_who_is_who(tmp_path):
    """The server sees the client's certificate; the client refuses a server of another CA."""

    async def answer(request):
        await request.json(json.dumps({"peer": request.peer}))

    async with tlsserver.serve(tmp_path, answer, need_client=True) as server:
        certificate, key = server.authority.issue("system:node:a")
        inline = {
            "client-certificate-data": base64.b64encode(certificate.read_bytes()).decode(),
            "client-key-data": base64.b64encode(key.read_bytes()).decode(),
        }
        for user in ({"client-certificate": str(certificate), "client-key": str(key)}, inline):
            client = HttpClient.from_kubeconfig(server.kubeconfig(user))
            assert await client.get(NODES, "a") == {"peer": "system:node:a"}
            await client.close()
        stranger = Authority(tmp_path / "other")
        client = HttpClient.from_kubeconfig(server.kubeconfig(user, ca=stranger.path))
        with pytest.raises(ServiceUnavailable, match="certificate verify failed"):
            await client.get(NODES, "a")
        await client.close()


async def test_a_renewed_certificate_is_used_on_the_next_connection(tmp_path):
    async def answer(request):
        await request.json(json.dumps({"peer": request.peer}), extra="Connection: close\r\n")

    async with tlsserver.serve(tmp_path, answer, need_client=True) as server:
        certificate, key = server.authority.issue("one")
        client = HttpClient.from_kubeconfig(server.kubeconfig({"client-certificate": str(certificate), "client-key": str(key)}))
        assert await client.get(NODES, "a") == {"peer": "one"}
        for path, fresh in zip((certificate, key), server.authority.issue("two"), strict=True):
            fresh.replace(path)
        assert await client.get(NODES, "a") == {"peer": "two"}
        await client.close()


async def test_token_file_is_read_again_when_it_is_replaced(tmp_path):
    async def answer(request):
        await request.json(json.dumps({"who": request.headers.get("authorization")}))

    token = tmp_path / "token"
    token.write_text("first\n")
    async with talking(tmp_path, answer, user={"tokenFile": str(token)}) as (_, client):
        assert await client.get(NODES, "a") == {"who": "Bearer first"}
        fresh = tmp_path / "fresh"
        fresh.write_text("second")
        fresh.replace(token)
        assert await client.get(NODES, "a") == {"who": "Bearer second"}
        token.unlink()
        assert await client.get(NODES, "a") == {"who": "Bearer second"}, "a token known is better than none"


async def test_upgrade_hands_over_both_directions(tmp_path):
    async def answer(request):
        if request.headers.get("upgrade") != "SPDY/3.1":
            await request.json(status("BadRequest", 400), 400)
            return
        head = b"HTTP/1.1 101 Switching\r\nUpgrade: SPDY/3.1\r\nConnection: Upgrade\r\nX-Stream-Protocol-Version: v4\r\n\r\n"
        request.writer.write(head + b"early")
        await request.writer.drain()
        data = await request.reader.readexactly(4)
        request.writer.write(data[::-1])
        request.writer.close()

    async with talking(tmp_path, answer) as (_, client):
        upgraded = await client.upgrade("/exec/n/p/c?command=ls", {"Upgrade": "SPDY/3.1", "Connection": "Upgrade"})
        assert upgraded.headers["x-stream-protocol-version"] == "v4"
        assert await upgraded.reader.readexactly(5) == b"early"
        upgraded.writer.write(b"abcd")
        assert await upgraded.reader.read() == b"dcba"
        upgraded.writer.transport.abort()
        with pytest.raises(ApiError) as caught:
            await client.upgrade("/exec/n/p/c", {"Upgrade": "other", "Connection": "Upgrade"})
        assert caught.value.code == 400


async def test_stream_and_raw(tmp_path):
    async def answer(request):
        if request.method == "HEAD":
            request.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        elif request.target == "/log":
            await request.start_chunks()
            for line in (b"one\n", b"two\n", b""):
                await request.chunk(line)
        else:
            await request.json("nothing here", 418)

    async with talking(tmp_path, answer) as (_, client):
        async with client.stream("GET", "/log") as response:
            assert b"".join([c async for c in response.chunks()]) == b"one\ntwo\n"
        got = await client.raw("GET", "/x")
        assert (got.status, got.body) == (418, b"nothing here")
        assert (await client.raw("HEAD", "/x")).status == 200
        with pytest.raises(ApiError, match="nothing here"):
            async with client.stream("GET", "/x"):
                pass


async def test_close_ends_a_running_watch(tmp_path):
    started = asyncio.Event()

    async def answer(request):
        await request.start_chunks()
        started.set()
        await asyncio.sleep(60)

    async with talking(tmp_path, answer) as (_, client):

        async def watch():
            async for _ in client.watch(PODS, since="1"):
                pass

        task = asyncio.create_task(watch())
        await started.wait()
        await client.close()
        with pytest.raises(ServiceUnavailable):
            async with asyncio.timeout(5):
                await task


def test_kubeconfig_errors_name_the_field(tmp_path):
    path = tmp_path / "kubeconfig"
    base = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "shop"}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://h:1"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    path.write_text(json.dumps(base))
    got = kubeconfig.load(path)
    assert (got.server, got.token, got.namespace) == ("https://h:1", "t", "shop")
    for change, message in [
        ({"current-context": "x"}, "contexts: no entry named 'x'"),
        ({"clusters": [{"name": "k", "cluster": {}}]}, r"clusters\[k\].cluster.server: missing"),
        ({"users": [{"name": "u", "user": {"exec": {"command": "x"}}}]}, r"users\[u\].user.exec: not supported"),
        ({"users": [{"name": "u", "user": {"client-key-data": "%%"}}]}, "client-key-data"),
    ]:
        path.write_text(json.dumps(base | change))
        with pytest.raises(kubeconfig.KubeconfigError, match=message):
            kubeconfig.load(path)
