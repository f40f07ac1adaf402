"""rtnetlink: links, addresses, routes, neighbours and forwarding entries, as own raw messages.

Here live the wire format (`wire`), messages out (`messages`), what dumps say (`objects`), the socket (`connection`), what need
not be waited for (`removal`) and the listener (`monitor`). No policy: which link, address or route there should be is the
callers' business. Raw, because a batch of a whole pod costs 1 ms against 24 ms with pyroute2, whose import alone takes 290 ms
and 20 MB.
Source: rtnetlink(7), linux/rtnetlink.h, linux/if_link.h, linux/neighbour.h.
"""

from .connection import Busy, Connection, Exists, Missing, RtnetlinkError, connect
from .messages import (
    Request,
    add_address,
    add_veth,
    add_vxlan,
    delete_address,
    delete_forwarding,
    delete_link,
    delete_neighbour,
    delete_proxy,
    delete_route,
    put_forwarding,
    put_neighbour,
    put_proxy,
    put_route,
    set_link,
)
from .monitor import Monitor
from .objects import Address, Forwarding, Link, Neighbour, Route
from .removal import remove_link

__all__ = [
    "Address", "Busy", "Connection", "Exists", "Forwarding", "Link", "Missing", "Monitor", "Neighbour", "Request", "Route",
    "RtnetlinkError", "add_address", "add_veth", "add_vxlan", "connect", "delete_address", "delete_forwarding", "delete_link",
    "delete_neighbour", "delete_proxy", "delete_route", "put_forwarding", "put_neighbour", "put_proxy", "put_route", "remove_link",
    "set_link",
]  # fmt: skip
