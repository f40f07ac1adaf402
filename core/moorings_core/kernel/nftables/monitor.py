"""Notices when somebody else changes the ruleset."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import socket
import struct
from collections.abc import Collection
from typing import NamedTuple

from . import wire
from .connection import NETLINK_NETFILTER, SO_RCVBUFFORCE, SOL_NETLINK
from .netns import call_in

NFNLGRP_NFTABLES, NETLINK_ADD_MEMBERSHIP, SO_ATTACH_FILTER = 7, 1, 26
BUFFER = 1 << 20


class Change(NamedTuple):
    """A table that a foreign transaction touched; "" when notifications were lost and any may have been."""

    family: int
    table: str


class Monitor:
    """Yields the tables that others changed. Own transactions, by the connection's port, are dropped inside the kernel."""

    def __init__(self, ignore: int = 0, netns: str | None = None, *, elements: bool = True) -> None:
        """Open the socket; ignore is `Connection.port` of the connection whose changes are one's own.

        elements False: transactions that begin with elements of sets are not told, which nearly all are that change nothing else.
        """
        self._socket = call_in(netns, _open)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        _filter(self._socket, ignore, elements)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    async def changes(self) -> Collection[Change]:
        """Wait for foreign transactions and return what they touched.

        Reads all there is: a congested socket drops silently until its queue is empty, and whatever was dropped up to then is
        covered by the unnamed change returned.
        """
        found: set[Change] = set()
        try:
            data = await asyncio.get_running_loop().sock_recv(self._socket, BUFFER)
            while data:
                found.update(_touched(data))
                data = self._socket.recv(BUFFER, socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            self._drain()
            found.add(Change(0, ""))
        return found

    def _drain(self) -> None:
        while True:
            try:
                self._socket.recv(BUFFER, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise


def _touched(data: bytes) -> set[Change]:
    notices = [notice for notice in wire.messages(data) if notice.type != wire.SUBSYSTEM | wire.NEWGEN]
    names = [(notice.family, wire.attribute_map(notice.body).get(1)) for notice in notices]
    return {Change(family, wire.string(name) if name else "") for family, name in names}


def _open() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, NETLINK_NETFILTER)
    sock.bind((0, 0))
    return sock


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def _filter(sock: socket.socket, port: int, elements: bool) -> None:
    """Attach a classic BPF program that drops notifications whose nlmsg_pid is port, and those of elements if they are not wanted.

    All notifications in one buffer come from one transaction, so looking at the first is enough. Without this a cold start of
    50,000 elements would overflow the buffer with our own echo. Source: Documentation/networking/filter.rst.
    """
    own = struct.unpack(">I", struct.pack("=I", port))[0]  # the program reads big-endian, the field is in host order
    kinds = () if elements else tuple(wire.SUBSYSTEM | kind for kind in (wire.NEWSETELEM, wire.DELSETELEM, wire.NEWGEN))
    tests = [(0x20, 12, own)]  # the word at 12: nlmsg_pid
    tests += [(0x28, 4, struct.unpack(">H", struct.pack("=H", kind))[0]) for kind in kinds]  # the half word at 4: nlmsg_type
    code = b""
    for number, (load, offset, unwanted) in enumerate(tests):
        to_drop = 2 * (len(tests) - number - 1) + 1
        code += struct.pack("=HBBI", load, 0, 0, offset) + struct.pack("=HBBI", 0x15, to_drop, 0, unwanted)
    code += struct.pack("=HBBI", 0x06, 0, 0, 0xFFFFFFFF)  # keep
    code += struct.pack("=HBBI", 0x06, 0, 0, 0)  # drop
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, bytes(program))
