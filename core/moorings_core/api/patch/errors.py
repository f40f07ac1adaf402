"""What can be wrong with a patch."""

from __future__ import annotations

from moorings_core.ports.errors import MooringsError


class PatchError(MooringsError):
    """The patch is malformed or does not fit the document."""


class PatchTestFailed(PatchError):
    """A JSON patch `test` operation found another value: nothing was changed."""
