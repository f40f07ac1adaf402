"""How many seats a request takes: a list as many as what it reads at once is worth, a watch that begins with all of it too; a write as
many as those need who tell its watchers, and for a while after it.

Source: apiserver pkg/util/flowcontrol/request/list_work_estimator.go, mutating_work_estimator.go.
"""

from __future__ import annotations

from collections.abc import Mapping

from moorings_core.api.cache import Collection
from moorings_core.api.paths import Target

BYTES_PER_SEAT = 100_000
FROM_MEMORY_MOST = 1_000_000
"""A list from memory is told as the worth of this many bytes at most"""
SEATS_MOST = 100
SHARE_MOST = 0.15
SAMPLES = 8
WATCHES_PER_SEAT = 10
TELLING_SECONDS = 0.005
"""How long one seat needs for its watchers"""
WRITES_MOST = 10
WRITES = ("create", "update", "patch", "delete")


def seats(verb: str, target: Target, query: Mapping[str, str], collection: Collection, most: int) -> int:
    """Return the seats of a request; most: what one request may take of its level."""
    if verb not in ("list", "watch") or target.subresource:
        return 1
    initial = query.get("sendInitialEvents", "").lower() in ("true", "1")
    if verb == "watch" and not initial and query.get("resourceVersion", "") not in ("", "0"):
        return 1
    count = 1 if target.name or "metadata.name=" in query.get("fieldSelector", "") else len(collection.items)
    limit = query.get("limit", "")
    if limit.isdigit() and 0 < int(limit) < count:
        count = int(limit)
    size = count * average(collection)
    if verb == "watch" or not (query.get("continue") or query.get("resourceVersionMatch") == "Exact"):
        size = min(size, FROM_MEMORY_MOST)
    return max(1, min(-(-size // BYTES_PER_SEAT), most))


def after_write(target: Target, watches: int, most: int) -> tuple[int, float]:
    """Return the seats of a write that wakes so many watches, and for how many seconds it keeps them when it is done.

    Few watches cost nothing. A write that would need more seats than most keeps those for longer.
    """
    if watches < WATCHES_PER_SEAT or (target.plural, target.subresource) == ("serviceaccounts", "token"):
        return 1, 0.0
    needed = -(-watches // WATCHES_PER_SEAT)
    taken = max(1, min(needed, most, WRITES_MOST))
    return taken, TELLING_SECONDS * needed / taken


def most_seats(nominal: int, hand: int) -> int:
    """Return what one request may take of a level with queues."""
    return max(1, min(-(-nominal * int(SHARE_MOST * 100) // 100), nominal // hand, SEATS_MOST))


def average(collection: Collection) -> int:
    """Return how many bytes an object of a collection has, by a few of them."""
    values, count = collection.items.values(), len(collection.items)
    step = max(1, count // SAMPLES)
    taken = [len(values[place].value) for place in range(0, count, step)]
    return sum(taken) // len(taken) if taken else 0
