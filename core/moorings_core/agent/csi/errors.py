"""Why a volume cannot be mounted yet."""

from __future__ import annotations

from moorings_core.ports.errors import MooringsError


class VolumeNotReady(MooringsError):
    """The claim or its volume is not what a pod can mount yet; the text goes into the pod's event."""
