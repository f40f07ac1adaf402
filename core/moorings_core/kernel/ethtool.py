"""Link features that only the ethtool ioctl switches. Source: linux/ethtool.h, linux/sockios.h."""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct

SIOCETHTOOL = 0x8946
ETHTOOL_GTXCSUM, ETHTOOL_STXCSUM = 0x16, 0x17


def transmit_checksum(link: str) -> bool:
    """Whether a link's driver is asked to fill in checksums. Raises OSError."""
    return bool(_value(link, ETHTOOL_GTXCSUM, 0))


def set_transmit_checksum(link: str, enabled: bool) -> None:
    """Let the link's driver (True) or the network stack (False) fill in checksums. Raises OSError."""
    _value(link, ETHTOOL_STXCSUM, int(enabled))


def _value(link: str, command: int, data: int) -> int:
    buffer = ctypes.create_string_buffer(struct.pack("=II", command, data), 8)
    request = struct.pack("16sP16x", link.encode(), ctypes.addressof(buffer))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        fcntl.ioctl(sock, SIOCETHTOOL, request)
    return int(struct.unpack("=II", buffer.raw)[1])
