"""libnftables by ctypes: for constant rules, which are written once and are best read as nft text."""

from __future__ import annotations

import asyncio
import ctypes
import threading
from functools import cache

from moorings_core.ports.errors import MooringsError

from .netns import call_in

_parser = threading.Lock()
"""The flex/bison parser of libnftables keeps process-global state: one call at a time."""


class NftablesError(MooringsError):
    """libnftables refused; the message is its own, with line and column. Nothing of the text took effect."""


async def run(text: str, *, netns: str | None = None) -> str:
    """Run nft commands as one transaction and return what they print. Does not block the event loop.

    netns is the path of another network namespace. Raises NftablesError. Source: libnftables(3), nft(8).
    """
    return await asyncio.to_thread(run_sync, text, netns=netns)


def run_sync(text: str, *, netns: str | None = None) -> str:
    """As `run`, for callers in a thread of their own."""
    return call_in(netns, lambda: _run(text))


def _run(text: str) -> str:
    library = _library()
    with _parser:
        # A context of its own for each call: it holds the netlink socket, which belongs to one namespace, and a cache of the
        # ruleset, which would only go stale.
        context = library.nft_ctx_new(0)
        if not context:
            raise NftablesError("libnftables gave no context")
        try:
            library.nft_ctx_buffer_output(context)
            library.nft_ctx_buffer_error(context)
            failed = library.nft_run_cmd_from_buffer(context, text.encode())
            output = library.nft_ctx_get_output_buffer(context) or b""
            error = library.nft_ctx_get_error_buffer(context) or b""
        finally:
            library.nft_ctx_free(context)
    if failed:
        raise NftablesError(error.decode(errors="replace").strip() or "libnftables failed without a word")
    return str(output.decode(errors="replace"))


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libnftables.so.1")
    except OSError as error:
        raise NftablesError(f"libnftables.so.1 is missing (Debian: apt-get install libnftables1): {error}") from error
    library.nft_ctx_new.restype, library.nft_ctx_new.argtypes = ctypes.c_void_p, [ctypes.c_uint32]
    library.nft_run_cmd_from_buffer.restype = ctypes.c_int
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    library.nft_ctx_free.restype = None
    for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error", "nft_ctx_free"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        function = getattr(library, name)
        function.restype, function.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
    return library
