"""Notices that links, addresses, routes or neighbours changed. Level-triggered: says that, not what; the listener looks."""

from __future__ import annotations

import asyncio
import errno
import socket

from moorings_core.kernel.namespaces import call_in

from .connection import SOL_NETLINK

NETLINK_ADD_MEMBERSHIP = 1
LINK, NEIGH, IPV4_ADDRESS, IPV4_ROUTE, IPV6_ADDRESS, IPV6_ROUTE = 1, 3, 5, 7, 9, 11
BUFFER = 1 << 18


class Monitor:
    """A subscription to the changes of one network namespace."""

    def __init__(self, netns: str | None = None) -> None:
        def open_socket() -> socket.socket:
            kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            sock = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
            sock.bind((0, 0))
            return sock

        self._socket = call_in(netns, open_socket)
        for group in (LINK, NEIGH, IPV4_ADDRESS, IPV4_ROUTE, IPV6_ADDRESS, IPV6_ROUTE):
            self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)

    def close(self) -> None:
        """End the subscription."""
        self._socket.close()

    async def changed(self) -> None:
        """Wait until something has changed since the last call; an overflow of the buffer counts as a change."""
        await _readable(self._socket)
        while True:
            try:
                self._socket.recv(BUFFER, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(sock, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sock)
