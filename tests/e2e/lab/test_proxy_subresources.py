"""The API server reaches pods and services for its users, though it has no route to them: through their node's agent."""

import socket
import struct
from urllib.parse import urlsplit

import pytest

from moorings_core import websocket
from moorings_core.client.kubeconfig import load, tls_context

from .pods_support import room

pytestmark = pytest.mark.lab
IMAGE = "moorings.dev/busybox:1"


def pod(name: str, **spec) -> dict:
    script = 'mkdir -p /www/cgi-bin; echo "it is $(hostname)" >/www/index.html; httpd -f -p 8080 -h /www'
    container = {"name": "main", "image": IMAGE, "command": ["sh", "-c", script], "ports": [{"containerPort": 8080, "name": "web"}]}
    probe = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{**container, "readinessProbe": probe}], **spec},
    }


@pytest.fixture(scope="module")
def place(lab):
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "one"}, "ports": [{"name": "http", "port": 80, "targetPort": "web"}]},
    }
    empty = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "empty"},
        "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}},
    }
    with room(lab) as made:
        made.apply(pod("one"), pod("two"), service, empty)
        made.ready("one", "two")
        yield made.namespace


def raw(lab, path: str, check: bool = True) -> str:
    done = lab.kubectl("get", "--raw", path, check=check)
    return done.stdout if done.returncode == 0 else done.stderr


@pytest.mark.parametrize(
    "name", ["pods/one", "pods/one:8080", "pods/http:one:8080", "services/web", "services/web:80", "services/http:web:http"]
)
def test_pods_and_services_answer_through_the_api(lab, place, name):
    def answers() -> bool:
        return raw(lab, f"/api/v1/namespaces/{place}/{name}/proxy/index.html", check=False) == "it is one\n"

    if "services" in name:
        lab.wait_for("the service's endpoint", answers)
    assert raw(lab, f"/api/v1/namespaces/{place}/{name}/proxy/") == "it is one\n"


def test_what_cannot_be_reached_says_so(lab, place):
    base = f"/api/v1/namespaces/{place}"
    assert "no endpoints available for service" in raw(lab, f"{base}/services/empty/proxy/", check=False)
    assert "no endpoints available for service" in raw(lab, f"{base}/services/web:99/proxy/", check=False)
    assert "not found" in raw(lab, f"{base}/pods/none/proxy/", check=False)
    closed = raw(lab, f"{base}/pods/two:81/proxy/", check=False)
    assert "ServiceUnavailable" in closed or "error" in closed.lower()


def test_ports_are_forwarded_over_plain_websockets(lab, place):
    """As clients without SPDY do it: two ports of one pod in one connection."""
    config = load(lab.kubeconfig)
    url = urlsplit(config.server)
    path = f"/api/v1/namespaces/{place}/pods/two/portforward?ports=8080,8080"
    lines = [f"GET {path} HTTP/1.1", f"Host: {url.netloc}", "Connection: Upgrade", "Upgrade: websocket"]
    lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: v4.channel.k8s.io"]
    with (
        socket.create_connection((url.hostname, url.port), timeout=20) as plain,
        tls_context(config).wrap_socket(plain, server_hostname=url.hostname) as sock,
    ):
        sock.sendall("\r\n".join([*lines, "", ""]).encode())
        data = b""
        while b"\r\n\r\n" not in data:
            data += sock.recv(4096)
        head, _, rest = data.partition(b"\r\n\r\n")
        assert b" 101 " in head
        sock.sendall(websocket.masked_frame(b"\x02GET / HTTP/1.0\r\n\r\n"))
        frames, received, said = websocket.Reader(), dict.fromkeys(range(4), b""), rest
        while b"it is two\n" not in received[2]:
            for message in frames.feed(said):
                if message.kind == websocket.BINARY:
                    received[message.data[0]] += message.data[1:]
            if b"it is two\n" not in received[2]:
                said = sock.recv(65536)
                assert said, received
    port = struct.pack("<H", 8080)
    assert (received[0], received[1], received[3]) == (port, port, port)
    assert received[2].startswith(port + b"HTTP/1.1 200 OK")
