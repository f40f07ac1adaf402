"""ARP frames. scapy builds them, in a process that ends: loaded it would take 60 MB of an agent that has 45.

It builds each kind once, around recognisable addresses; the speaker puts the true ones in their place, as all frames of a
kind have the same shape. Source: RFC 826, RFC 5227 (announcements).
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
from dataclasses import dataclass

MARK_SENDER, MARK_TARGET = "02:aa:aa:aa:aa:aa", "02:bb:bb:bb:bb:bb"
MARK_ADDRESS, MARK_ASKER = "198.51.100.1", "203.0.113.2"
BUILD_SECONDS = 60.0
REQUEST = 1


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody asks who has `target`."""

    mac: bytes
    address: bytes
    target: bytes


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames around marks. announcements: a gratuitous request and a gratuitous reply, as receivers differ in what they heed."""

    announcements: tuple[bytes, ...]
    reply: bytes

    def announce(self, mac: bytes, address: bytes) -> list[bytes]:
        """Return frames that tell everybody on the link who has an address."""
        return [_fill(frame, {MARK_SENDER: mac, MARK_ADDRESS: address}) for frame in self.announcements]

    def answer(self, mac: bytes, address: bytes, request: Request) -> bytes:
        """Return the frame that answers a request."""
        marks = {MARK_SENDER: mac, MARK_ADDRESS: address, MARK_TARGET: request.mac, MARK_ASKER: request.address}
        return _fill(self.reply, marks)


def _fill(frame: bytes, values: dict[str, bytes]) -> bytes:
    """Put values where the template has marks; found in the template, so that a value that looks like a mark does no harm."""
    filled = bytearray(frame)
    for mark, value in values.items():
        text = bytes.fromhex(mark.replace(":", "")) if ":" in mark else socket.inet_aton(mark)
        at = frame.find(text)
        while at >= 0:
            filled[at : at + len(value)] = value
            at = frame.find(text, at + 1)
    return bytes(filled)


def parse_request(frame: bytes) -> Request | None:
    """Return the request in an Ethernet frame, None when it is anything else than an ARP request for an IPv4 address."""
    if len(frame) < 42 or frame[12:22] != struct.pack(">HHHBBH", 0x0806, 1, 0x0800, 6, 4, REQUEST):
        return None
    return Request(frame[22:28], frame[28:32], frame[38:42])


async def build_frames() -> Frames:
    """Return the frames, built by scapy in a process of its own. Raises OSError when that fails."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        f"from {__name__} import main; main()",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(BUILD_SECONDS):
            output, words = await process.communicate()
    except BaseException:
        if process.returncode is None:
            process.kill()
        raise
    if process.returncode:
        raise OSError(f"scapy built no frames: {words.decode(errors='replace')[-300:]}")
    announcements, reply = json.loads(output)
    return Frames(tuple(bytes.fromhex(a) for a in announcements), bytes.fromhex(reply))


def main() -> None:
    """Print the frames as JSON, in hex."""
    from scapy.layers.l2 import ARP, Ether  # takes 60 MB and 1 s: only here

    everybody = Ether(src=MARK_SENDER, dst="ff:ff:ff:ff:ff:ff")
    nobody = "00:00:00:00:00:00"
    gratuitous = [
        everybody / ARP(op=1, hwsrc=MARK_SENDER, psrc=MARK_ADDRESS, hwdst=nobody, pdst=MARK_ADDRESS),
        everybody / ARP(op=2, hwsrc=MARK_SENDER, psrc=MARK_ADDRESS, hwdst=MARK_SENDER, pdst=MARK_ADDRESS),
    ]
    asker = Ether(src=MARK_SENDER, dst=MARK_TARGET)
    reply = asker / ARP(op=2, hwsrc=MARK_SENDER, psrc=MARK_ADDRESS, hwdst=MARK_TARGET, pdst=MARK_ASKER)
    print(json.dumps([[bytes(frame).hex() for frame in gratuitous], bytes(reply).hex()]))
