"""Claims, volumes and nodes find each other: binding, attaching, claims of ephemeral volumes, protection of attribute classes.

`matching` chooses a volume for a claim, `binding` says what to write; `attachment` says which node has which volume; all are pure.
Volumes are made, attached, grown and deleted by drivers (see `agent.csi`), never here. Source: upstream's volume controllers.
"""

from collections.abc import Sequence

from moorings_core.controllers.framework import Controller


def volume_controllers() -> Sequence[Controller]:
    """Return one of each."""
    from .attachment import AttachDetach
    from .attributes import AttributesClassProtection
    from .controller import VolumeBinder
    from .ephemeral import EphemeralVolumes

    return VolumeBinder(), AttachDetach(), EphemeralVolumes(), AttributesClassProtection()
