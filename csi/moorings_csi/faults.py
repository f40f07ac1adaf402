"""Named points at which a test may kill the driver, to show that the next start undoes or finishes every step before."""

from __future__ import annotations

import os
import signal

CRASH_AT = "MOORINGS_CSI_CRASH_AT"

POINTS = (
    "create.recorded",
    "create.data",
    "create.format",
    "create.ready",
    "delete.recorded",
    "delete.data",
    "delete.forgotten",
    "snapshot.recorded",
    "snapshot.quiet",
    "snapshot.data",
    "snapshot.ready",
    "snapshot.deleting",
    "snapshot.removed",
    "group.recorded",
    "group.member",
    "group.ready",
    "group.deleting",
    "clone.data",
    "expand.recorded",
    "expand.data",
    "expand.done",
    "grow.device",
    "grow.grown",
    "modify.recorded",
    "modify.applied",
    "attach.recorded",
    "detach.recorded",
    "format.recorded",
    "format.made",
    "format.done",
    "stage.attached",
    "stage.mounted",
    "publish.target",
    "publish.bound",
    "unpublish.unbound",
    "unstage.unmounted",
)


def point(name: str) -> None:
    """Die here, as by a power cut, when the environment asks for it."""
    if os.environ.get(CRASH_AT) == name:
        os.kill(os.getpid(), signal.SIGKILL)
