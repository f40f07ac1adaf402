"""Answers ARP requests on a link for addresses that no interface has."""

from __future__ import annotations

import array
import asyncio
import fcntl
import socket
import struct
from collections.abc import Callable, Iterable

from moorings_core.log import get_logger

from .frames import Frames, parse_request

log = get_logger(__name__)
ETH_P_ARP = 0x0806
SIOCGIFCONF, SIOCGIFHWADDR = 0x8912, 0x8927
BURST = 64
OpenSocket = Callable[[int, int, int], socket.socket]


class Responder:
    """A packet socket on one link. `addresses` are answered for; announce tells of a new one."""

    def __init__(self, frames: Frames, link: str, mac: bytes, sock: socket.socket) -> None:
        self._frames, self._mac, self._socket = frames, mac, sock
        self.link = link
        self._mine: dict[bytes, str] = {}
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def addresses(self) -> set[str]:
        """What is answered for."""
        return set(self._mine.values())

    def answer_for(self, addresses: Iterable[str]) -> None:
        """Answer for exactly these IPv4 addresses."""
        self._mine = {socket.inet_aton(a): a for a in addresses}

    def announce(self, address: str) -> None:
        """Send the announcements of an address once. Raises OSError."""
        for frame in self._frames.announce(self._mac, socket.inet_aton(address)):
            self._socket.send(frame)

    def start(self) -> None:
        """Answer from now on."""
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._readable)

    def close(self) -> None:
        """Stop answering."""
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
        self.failed.cancel()

    def _readable(self) -> None:
        try:
            for _ in range(BURST):
                request = parse_request(self._socket.recv(128))
                # A probe has no sender address: it too must be told that the address is taken (RFC 5227).
                if request is not None and request.target in self._mine:
                    self._socket.send(self._frames.answer(self._mac, request.target, request))
        except BlockingIOError:
            return
        except OSError as error:  # the link is down or gone
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            if not self.failed.done():
                self.failed.set_exception(error)


def open_responder(frames: Frames, node_address: str, open_socket: OpenSocket = socket.socket) -> Responder:
    """Return a responder on the link that has the node's address. Raises OSError when there is no such link."""
    with open_socket(socket.AF_INET, socket.SOCK_DGRAM, 0) as probe:
        link = _link_of(probe, node_address)
        mac = fcntl.ioctl(probe, SIOCGIFHWADDR, struct.pack("256s", link.encode()))[18:24]
    sock = open_socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.setblocking(False)
    sock.bind((link, ETH_P_ARP))
    return Responder(frames, link, mac, sock)


def _link_of(probe: socket.socket, address: str) -> str:
    """Return the interface that has an IPv4 address; asked of the kernel by SIOCGIFCONF, netdevice(7)."""
    size = 40 * 256
    names = array.array("B", bytes(size))
    pointer, _ = names.buffer_info()
    filled = struct.unpack("iL", fcntl.ioctl(probe, SIOCGIFCONF, struct.pack("iL", size, pointer)))[0]
    raw = names.tobytes()
    for at in range(0, filled, 40):
        if socket.inet_ntoa(raw[at + 20 : at + 24]) == address:
            return raw[at : at + 16].split(b"\0", 1)[0].decode().split(":")[0]
    raise OSError(f"no link has the node's address {address}")
