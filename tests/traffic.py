"""Real TCP and UDP between network namespaces: an echo server that says who asked, and questions to it."""

from __future__ import annotations

import os
import selectors
import socket
import threading

from moorings_core.kernel.namespaces import call_in


class Echo:
    """A TCP and UDP server in a namespace that says who is asking (and with a name: "/" and who answers), then echoes."""

    def __init__(self, netns: str, port: int = 7777, family: int = socket.AF_INET, name: str = "") -> None:
        self._suffix = f"/{name}".encode() if name else b""

        def open_sockets() -> list[socket.socket]:
            tcp, udp = socket.socket(family, socket.SOCK_STREAM), socket.socket(family, socket.SOCK_DGRAM)
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            for sock in (tcp, udp):
                sock.bind(("", port))
            tcp.listen(64)
            return [tcp, udp]

        self.tcp, self.udp = call_in(netns, open_sockets)
        self._end, self._told = os.pipe()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as wanted:
            for opened in (self.tcp, self.udp):
                wanted.register(opened, selectors.EVENT_READ)
            wanted.register(self._end, selectors.EVENT_READ)
            while True:
                for key, _ in wanted.select():
                    if key.fileobj == self._end:
                        for sock in [k.fileobj for k in wanted.get_map().values() if isinstance(k.fileobj, socket.socket)]:
                            sock.close()
                        os.close(self._end)
                        return
                    assert isinstance(key.fileobj, socket.socket)
                    self._answer(key.fileobj, wanted)

    def _answer(self, sock: socket.socket, wanted: selectors.BaseSelector) -> None:
        if sock is self.udp:
            data, peer = self.udp.recvfrom(65535)
            self.udp.sendto(peer[0].encode() + self._suffix + b" " + data, peer)
        elif sock is self.tcp:
            connection, peer = self.tcp.accept()
            connection.sendall(peer[0].encode() + self._suffix + b"\n")
            wanted.register(connection, selectors.EVENT_READ)
        elif not _echo(sock):
            wanted.unregister(sock)
            sock.close()

    def close(self) -> None:
        os.close(self._told)
        self._thread.join(5)


def _echo(connection: socket.socket) -> bool:
    """Send back what has come; return whether the client is still there."""
    try:
        data = connection.recv(65536)
        connection.sendall(data)
    except ConnectionError:  # it went without waiting for the rest
        return False
    return bool(data)


def ask_udp(netns: str, target: str, port: int = 7777, size: int = 10, df: bool = False, timeout: float = 3) -> str:
    """Return the source address that an echo server saw; the payload must come back whole."""

    def work() -> str:
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            if df:
                sock.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER = IP_PMTUDISC_DO
            sock.settimeout(timeout)
            payload = os.urandom(size)
            sock.connect((target, port))  # so that errors are told, and answers of anybody else are not taken
            sock.send(payload)
            who, _, back = sock.recv(65535).partition(b" ")
            assert back == payload
            return who.decode()

    return str(call_in(netns, work))


def ask_tcp(netns: str, target: str, port: int = 7777, size: int = 1000, timeout: float = 5) -> str:
    """Send size bytes and have them back; return the source address that the server saw."""

    def work() -> str:
        with socket.create_connection((target, port), timeout=timeout) as sock:
            who = b""
            while not who.endswith(b"\n"):
                who += sock.recv(1)
            payload, got = os.urandom(size), b""
            sender = threading.Thread(target=sock.sendall, args=(payload,))
            sender.start()
            while len(got) < size and (part := sock.recv(1 << 16)):
                got += part
            sender.join()
            assert got == payload
            return who.decode().strip()

    return str(call_in(netns, work))
