"""What can be wrong with a patch."""

from __future__ import annotations

from moorings_core.ports.errors import MooringsError


class PatchError(MooringsError):
    """The patch is malformed: 400."""


class PatchDoesNotFit(PatchError):
    """A well-formed JSON patch can't be applied to this document, or one of its tests failed; nothing was changed: 422."""
