"""Kernel settings under /proc/sys. Those under net/ are those of the calling thread's network namespace.

Source: Documentation/networking/ip-sysctl.rst.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path("/proc/sys")


def read(name: str) -> str:
    """Return a setting, e.g. read("net/ipv4/ip_forward"). Raises OSError."""
    return (ROOT / name).read_text().strip()


def ensure(name: str, value: str | int) -> bool:
    """Set a setting unless it has that value; return whether it had to be changed. Raises OSError."""
    if read(name) == str(value):
        return False
    (ROOT / name).write_text(str(value))
    return True
