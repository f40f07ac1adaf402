"""Between the store port's revisions (one for each operation) and etcd's (one for each transaction). Pure.

Each operation of a transaction has its own place, so a revision of the port is `base + etcd revision * PLACES + place`: unique,
growing, and the same for whoever computes it. A value begins with a head that says its place, or, where it was copied from another
store, the revision that it had there.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

PLACES = 1024
"""Operations that a transaction may hold at most"""
_HEAD = struct.Struct(">HQ")


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbering of one store. base keeps revisions growing when the objects come from another store; first is the etcd revision
    that it begins with: what was there before was copied and says itself what it is."""

    base: int = 0
    first: int = 1

    def of(self, revision: int, place: int = 0) -> int:
        """Return the port's revision of an operation in etcd's transaction `revision`."""
        return self.base + revision * PLACES + place

    def back(self, revision: int) -> int:
        """Return the etcd revision that the port's revision belongs to; below `first` for one of another store."""
        return (revision - self.base) // PLACES

    def last(self, revision: int) -> int:
        """Return the port's revision that contains etcd's `revision` whole."""
        return self.of(revision, PLACES - 1)

    @classmethod
    def after(cls, newest: int, revision: int) -> Numbers:
        """Return the numbering under which everything past etcd's `revision` is newer than `newest`."""
        return cls(newest + 1 - (revision + 1) * PLACES, revision + 1)

    def stored(self, value: bytes, revision: int) -> tuple[bytes, int]:
        """Return (the value without its head, the port's revision) of what etcd holds since `revision`."""
        place, copied = _HEAD.unpack_from(value)
        return value[_HEAD.size :], copied or self.of(revision, place)


def headed(value: bytes, place: int, copied: int = 0) -> bytes:
    """Return what etcd gets of a value; copied is the revision that it had in another store."""
    return _HEAD.pack(place, copied) + value
