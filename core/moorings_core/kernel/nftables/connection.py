"""The socket that commits transactions and dumps what is there. Never waits: the kernel answers within the send."""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from collections.abc import Iterator

from . import wire
from .batch import Batch, SetSpec
from .netns import call_in
from .wire import BatchError, ElementError, Message, attribute_map, message, string, text

NETLINK_NETFILTER, SOL_NETLINK = 12, 270
NETLINK_CAP_ACK, NETLINK_EXT_ACK = 10, 11
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
SEND_BUFFER, RECEIVE_BUFFER = 64 << 20, 8 << 20
DUMP_TRIES = 8
TOO_FAST = "the ruleset changes too fast to be dumped"


class Connection:
    """A netlink socket to nf_tables in one network namespace; safe for use from several threads, one call at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._lock = threading.Lock()
        self._sequence = 1
        self.port: int = sock.getsockname()[0]

    def close(self) -> None:
        """Close the socket once the call under way in another thread is over; what was committed stays.

        Closed under a thread, its number could be a new socket's by the time that the thread asks the kernel.
        """
        with self._lock:
            self._socket.close()

    def commit(self, batch: Batch, generation: int | None = None) -> None:
        """Send the transaction in one message and read its verdict. Raises BatchError (nothing took effect), OSError.

        A few elements take 0.03 ms; thousands take long enough to deserve a thread. The kernel handles a transaction per
        socket buffer, therefore one send, therefore the forced buffer size.
        """
        if not batch:
            return
        with self._lock:
            first = self._sequence
            self._sequence += batch.messages
            self._socket.send(batch.encode(first, generation))
            errors, done = self._answers(batch, first)
        if errors:
            raise BatchError(errors)
        if not done:
            raise BatchError([ElementError("transaction", b"", errno.EPROTO, "the kernel did not acknowledge")])

    def _answers(self, batch: Batch, first: int) -> tuple[list[ElementError], bool]:
        errors: list[ElementError] = []
        done = False
        while data := self._receive():
            for answer in wire.messages(data):
                if answer.type != wire.NLMSG_ERROR or answer.sequence < first:
                    continue
                number, offset, words = _error(answer)
                if number:
                    errors.append(batch.explain(answer.sequence - first, number, offset, words))
                else:
                    done = True
        return errors, done

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(1 << 17, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return b""
        except OSError as error:
            if error.errno == errno.ENOBUFS:  # more errors than fit: those that fitted are enough
                return self._receive()
            raise

    def generation(self) -> int:
        """Return the id of the ruleset's generation: it grows by one with every transaction of anybody."""
        for answer in self._ask(wire.GETGEN, 0, 0):
            return int(struct.unpack(">I", attribute_map(answer.body)[1])[0])
        raise OSError(errno.EPROTO, "no generation id")

    def dump(self, spec: SetSpec) -> dict[bytes, bytes]:
        """Return key -> data of every element of a set or map. Raises OSError ENOENT when it is not there.

        A dump of several parts resumes by counting, so it skips elements while the kernel is resizing the hash table after
        many were added. Nothing is ever invented: dump until a further one adds nothing.
        """
        body = text(1, spec.table) + text(2, spec.name)
        for _ in range(DUMP_TRIES):
            generation = self.generation()
            found: dict[bytes, bytes] = {}
            told: list[bytes] = []
            for _ in range(DUMP_TRIES):
                before, last = len(found), told
                told = [answer.body for answer in self._ask(wire.GETSETELEM, wire.F_DUMP, spec.family, body)]
                if told == last:
                    break
                for part in told:
                    found.update(wire.elements(part, bounds=spec.bounds))
                if len(told) <= 1 or len(found) == before:
                    break
            if self.generation() == generation:
                return found
        raise OSError(errno.EINTR, TOO_FAST)

    def counters(self, spec: SetSpec) -> dict[bytes, tuple[int, int]]:
        """Return key -> (packets, bytes) of a set whose elements count; a moment's figures. Raises OSError ENOENT."""
        answers = self._ask(wire.GETSETELEM, wire.F_DUMP, spec.family, text(1, spec.table) + text(2, spec.name))
        return {key: value for answer in answers for key, value in wire.counters(answer.body)}

    def tables(self, family: int) -> set[str]:
        """Return the names of the tables of a family."""
        return {string(attribute_map(m.body)[1]) for m in self._ask(wire.GETTABLE, wire.F_DUMP, family)}

    def chains(self, family: int, table: str) -> set[str]:
        """Return the names of a table's chains; none when there is no such table."""
        return {name for owner, name in self._named(wire.GETCHAIN, family, 3) if owner == table}

    def sets(self, family: int, table: str) -> set[str]:
        """Return the names of a table's sets and maps."""
        try:
            return {name for owner, name in self._named(wire.GETSET, family, 2, text(1, table)) if owner == table}
        except FileNotFoundError:
            return set()

    def rules(self, family: int, table: str) -> dict[str, tuple[bytes, ...]]:
        """Return chain -> encoded expressions of each of its rules, in order; to compare, not to read."""
        found: dict[str, list[bytes]] = {}
        for answer in self._ask(wire.GETRULE, wire.F_DUMP, family, text(1, table)):
            parts = attribute_map(answer.body)
            if string(parts[1]) == table:
                found.setdefault(string(parts[2]), []).append(parts.get(4, b""))
        return {chain: tuple(rules) for chain, rules in found.items()}

    def _named(self, kind: int, family: int, name: int, body: bytes = b"") -> list[tuple[str, str]]:
        parsed = [attribute_map(answer.body) for answer in self._ask(kind, wire.F_DUMP, family, body)]
        return [(string(parts[1]), string(parts[name])) for parts in parsed]

    def _ask(self, kind: int, flags: int, family: int, body: bytes = b"") -> list[Message]:
        """Return all answers to a get; a dump that a commit interrupted is repeated."""
        for _ in range(DUMP_TRIES):
            with self._lock:
                self._sequence += 1
                self._socket.send(message(kind, flags, self._sequence, family, body))
                answers, torn = self._collect(self._sequence, bool(flags & wire.F_DUMP))
            if not torn:
                return answers
        raise OSError(errno.EINTR, TOO_FAST)

    def _collect(self, sequence: int, dump: bool) -> tuple[list[Message], bool]:
        answers: list[Message] = []
        torn = False
        for answer in self._stream():
            if answer.sequence != sequence:
                continue
            torn = torn or bool(answer.flags & wire.F_DUMP_INTR)
            if answer.type == wire.NLMSG_ERROR:
                number = _error(answer)[0]
                if number == errno.EINTR:
                    return [], True
                if number:
                    raise OSError(number, os.strerror(number))
                return answers, torn
            if answer.type == wire.NLMSG_DONE:
                return answers, torn
            answers.append(answer)
            if not dump:
                return answers, torn
        return answers, torn

    def _stream(self) -> Iterator[Message]:
        while True:
            yield from wire.messages(self._socket.recv(1 << 17))


def _error(answer: Message) -> tuple[int, int, str]:
    """Return errno, offset of the offending attribute (-1: not told) and the kernel's words of an NLMSG_ERROR."""
    number = -int(struct.unpack_from("=i", answer.body)[0])
    offset, words = -1, ""
    if answer.flags & 0x200:  # NLM_F_ACK_TLVS
        # With NETLINK_CAP_ACK only the header of the refused message comes back, before the attributes.
        start = 20 if answer.flags & 0x100 else 4 + int(struct.unpack_from("=I", answer.body, 4)[0])
        for kind, first, last in wire.attributes(answer.body, start):
            if kind == 1:
                words = string(answer.body[first:last])
            elif kind == 2:
                offset = int(struct.unpack_from("=I", answer.body, first)[0])
    return number, offset, words


def connect(netns: str | None = None) -> Connection:
    """Return a connection to nf_tables of the network namespace at path netns (None: the caller's). Raises OSError."""

    def open_socket() -> socket.socket:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        sock.bind((0, 0))
        return sock

    sock = call_in(netns, open_socket)
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        sock.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        sock.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        return Connection(sock)
    except OSError:
        sock.close()
        raise
