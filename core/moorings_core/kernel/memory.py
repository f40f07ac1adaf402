"""Gives memory that is free inside this process back to the kernel.

An allocator keeps what a busy moment needed; a process that lives for months beside a hundred of its kind must not.
Source: malloc_trim(3), glibc.
"""

from __future__ import annotations

import ctypes


def release() -> bool:
    """Give back what is free; return whether there was anything, False also where the C library has no such call."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return bool(trim and trim(0))
