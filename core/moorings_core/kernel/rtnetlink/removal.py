"""Deletion of a link without the wait for its memory.

The kernel answers a deletion only when it has freed the device, after grace periods of its own (16 ms and more for a veth pair).
Nobody can see or use the link any more long before (1 ms): that is when `remove_link` returns.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack

from .connection import Connection, connect
from .messages import delete_link

_threads = ThreadPoolExecutor(32, "link-removal")
LOOK_EVERY = 0.0005


def remove_link(connection: Connection, name: str) -> None:
    """Delete a link of the calling thread's network namespace; return when it is gone, fine when there is none.

    connection: to the same namespace. Raises RtnetlinkError when the kernel refuses.
    """
    if connection.link(name) is None:
        return
    with ExitStack() as until_sent:
        other = until_sent.enter_context(connect())
        done: Future[None] = _threads.submit(other.apply, [delete_link(name=name)])
        rest = until_sent.pop_all()
    done.add_done_callback(lambda _: rest.close())
    while not done.done() and connection.link(name):
        wait([done], LOOK_EVERY)
    if done.done():
        done.result()
