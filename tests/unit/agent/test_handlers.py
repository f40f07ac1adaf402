"""Handlers of probes and hooks against real sockets on loopback."""

import asyncio

import grpc
import grpc.aio
import pytest

from moorings_core.agent.handlers import HandlerError, Handlers, port_number

from .builders import container

NAMED = container(ports=[{"name": "web", "containerPort": 1}])


@pytest.fixture
async def served():
    """A server that answers each request with the status in its path; what it was asked is kept."""
    asked, answering = [], []

    async def answer(reader, writer):
        answering.append(asyncio.current_task())
        head = (await reader.read(65536)).decode()
        if head:  # a TCP probe says nothing
            asked.append(head)
            path = head.split()[1]
            writer.write(b"garbage\r\n" if path == "/garbage" else f"HTTP/1.1 {path[1:]} Words\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    server.asked = asked
    yield server
    server.close()
    await asyncio.wait_for(asyncio.gather(*answering), 10)


def port_of(server):
    return server.sockets[0].getsockname()[1]


async def get(server, path, **fields):
    handler = {"httpGet": {"path": path, "port": port_of(server), **fields}}
    return await Handlers(None).run(handler, container(), "id", "127.0.0.1")


@pytest.mark.parametrize(("code", "success"), [(199, False), (200, True), (302, True), (399, True), (400, False), (503, False)])
async def test_a_request_succeeds_by_its_status(served, code, success):
    assert await get(served, f"/{code}") == (success, f"HTTP probe failed with statuscode: {code}")


async def test_a_request_has_its_path_and_headers(served):
    await get(served, "200", httpHeaders=[{"name": "Host", "value": "example.org"}, {"name": "X-Y", "value": "z"}])
    head = served.asked[0].split("\r\n")
    assert head[0] == "GET /200 HTTP/1.1"
    assert {"Host: example.org", "X-Y: z", "User-Agent: kube-probe/1.37"} <= set(head)


async def test_an_answer_that_is_no_http_fails(served):
    assert (await get(served, "/garbage"))[0] is False


async def test_nobody_there_is_told_as_upstream_tells_it(served):
    port = port_of(served)
    served.close()
    await served.wait_closed()
    words = f"dial tcp 127.0.0.1:{port}: connect: connection refused"
    for handler in ({"tcpSocket": {"port": port}}, {"httpGet": {"port": port}}):
        assert await Handlers(None).run(handler, container(), "id", "127.0.0.1") == (False, words)


async def test_a_connection_is_all_that_a_tcp_probe_wants(served):
    assert await Handlers(None).run({"tcpSocket": {"port": port_of(served)}}, container(), "id", "127.0.0.1") == (True, "")


@pytest.mark.parametrize(("port", "expected"), [(80, 80), ("81", 81), ("web", 1)])
def test_ports_are_numbers_or_the_containers_names(port, expected):
    assert port_number(port, NAMED) == expected


def test_a_port_that_nobody_named_is_an_error():
    with pytest.raises(HandlerError, match="couldn't find port named 'none'"):
        port_number("none", NAMED)


async def test_a_handler_of_no_known_kind_is_an_error():
    with pytest.raises(HandlerError, match="carrierPigeon"):
        await Handlers(None).run({"carrierPigeon": {}}, container(), "id", "127.0.0.1")


@pytest.mark.parametrize(
    ("answer", "success"),
    [(b"\x08\x01", True), (b"\x08\x02", False), (b"", False)],
    ids=["SERVING", "NOT_SERVING", "UNKNOWN"],
)
async def test_a_grpc_probe_asks_for_the_health_of_its_service(answer, success):
    asked = []

    async def check(request, context):
        asked.append(request)
        return answer

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(check)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        found, _ = await Handlers(None).run({"grpc": {"port": port, "service": "db"}}, container(), "id", "127.0.0.1")
    finally:
        await server.stop(None)
    assert found is success
    assert asked == [b"\x0a\x02db"]
