"""What a pool or a request can be wrong about; `server` turns each into its gRPC code, once."""

from __future__ import annotations

from moorings_core.ports.errors import MooringsError


class StorageError(MooringsError):
    """Base: an error that the caller of the driver sees."""


class InvalidRequest(StorageError):
    """A field is missing or wrong (INVALID_ARGUMENT)."""


class NoSuchVolume(StorageError):
    """The volume is unknown to this driver (NOT_FOUND)."""


class NameTaken(StorageError):
    """The name belongs to a volume made for another request (ALREADY_EXISTS)."""


class SizeOutOfRange(StorageError):
    """No volume can have that size (OUT_OF_RANGE)."""


class PoolFull(StorageError):
    """There is no room (RESOURCE_EXHAUSTED)."""


class WrongState(StorageError):
    """The volume is in use, foreign or damaged (FAILED_PRECONDITION)."""


class Busy(StorageError):
    """Another call for the same volume is under way (ABORTED): try again."""


class StaleToken(StorageError):
    """A listing cannot be continued (ABORTED): start again."""


class NoSuchSnapshot(StorageError):
    """The snapshot is unknown to this driver (NOT_FOUND)."""


class AttachLimit(StorageError):
    """The node has as many volumes as it may (RESOURCE_EXHAUSTED)."""
