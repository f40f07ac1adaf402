"""Streams as clients without kubectl ask for them: plain WebSockets, and the first version of the channel protocol."""

import asyncio
import base64
import ssl
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
import yaml

from moorings_core import websocket

from .pods_support import container, pod, room

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def pods(lab):
    with room(lab) as made:
        made.apply(pod("talker", container(script="echo one; echo two; exec sleep 3600")))
        made.ready("talker")
        made.lab.wait_for("its words", lambda: made.logs("talker") == "one\ntwo\n")
        yield made


@pytest.fixture
def door(lab, tmp_path):
    """The server's URL and a TLS context with the administrator's certificate."""
    config = yaml.safe_load(lab.kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    data = {"ca": cluster["certificate-authority-data"], "crt": user["client-certificate-data"], "key": user["client-key-data"]}
    for name, text in data.items():
        (tmp_path / name).write_bytes(base64.b64decode(text))
    context = ssl.create_default_context(cafile=str(tmp_path / "ca"))
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    return cluster["server"], context


def messages(door, path: str, *protocols: str) -> tuple[str, list[bytes]]:
    """Return the subprotocol that the server chose, "" for none, and all that it sent until it closed. Raises Refused."""
    return asyncio.run(collect(door, path, protocols))


class Refused(Exception):
    """The server does not upgrade; the text is its answer's first line."""


async def collect(door, path, protocols):
    url, context = door
    host, port = urlsplit(url).hostname, urlsplit(url).port
    reader, writer = await asyncio.open_connection(host, port, ssl=context)
    try:
        async with asyncio.timeout(30):
            lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
            lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", *(f"Sec-WebSocket-Protocol: {p}" for p in protocols[:1])]
            lines[-1] += "".join(f", {p}" for p in protocols[1:])
            writer.write("\r\n".join([*lines, "", ""]).encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            if " 101 " not in head.split("\r\n")[0]:
                raise Refused(head.split("\r\n")[0])
            assert "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head, "the answer to the key of RFC 6455, 1.3"
            chosen = [line.partition(":")[2].strip() for line in head.split("\r\n") if line.lower().startswith("sec-websocket-protocol")]
            return (chosen or [""])[0], [data async for data in until_closed(reader)]
    finally:
        writer.close()
        with suppress(ssl.SSLError):  # the server had more to say
            await writer.wait_closed()


async def until_closed(reader):
    frames = websocket.Reader()
    while data := await reader.read(65536):
        for message in frames.feed(data):
            if message.kind == websocket.CLOSE:
                return
            yield message.data


def place(pods, what: str) -> str:
    return f"/api/v1/namespaces/{pods.namespace}/pods/talker/{what}"


@pytest.mark.parametrize(("offered", "chosen"), [(("binary.k8s.io",), "binary.k8s.io"), ((), "")])
def test_a_log_comes_as_binary_messages(pods, door, offered, chosen):
    protocol, received = messages(door, place(pods, "log?container=main"), *offered)
    assert protocol == chosen
    assert b"".join(received) == b"one\ntwo\n"


def test_the_first_version_of_exec_says_nothing_of_success(pods, door):
    path = place(pods, "exec?stdout=1&stderr=1&container=main&command=echo&command=here")
    assert messages(door, path, "channel.k8s.io") == ("channel.k8s.io", [b"\x01here\n"])


def test_the_first_version_of_exec_says_in_plain_words_what_went_wrong(pods, door):
    path = place(pods, "exec?stdout=1&stderr=1&container=main&command=sh&command=-c&command=exit%207")
    protocol, (message,) = messages(door, path, "channel.k8s.io")
    assert protocol == "channel.k8s.io"
    assert message.startswith(b"\x03command terminated with non-zero exit code")


def test_later_versions_end_with_a_status(pods, door):
    path = place(pods, "exec?stdout=1&container=main&command=true")
    protocol, received = messages(door, path, "channel.k8s.io", "v4.channel.k8s.io")
    assert protocol == "v4.channel.k8s.io"
    assert [message[:1] for message in received] == [b"\x03"]
    assert b'"status":"Success"' in received[0]


def test_a_protocol_that_nobody_speaks_is_refused(pods, door):
    with pytest.raises(Refused, match="400"):
        messages(door, place(pods, "exec?stdout=1&container=main&command=true"), "morse.example.org")
