"""Columns of flow control."""

from __future__ import annotations

import datetime

from moorings_core.ports.objects import Object

from .column import AGE, NAME, Column, field

GROUP = "flowcontrol.apiserver.k8s.io"


def _dangling(obj: Object, _: datetime.datetime) -> str:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((str(c.get("status")) for c in conditions if c.get("type") == "Dangling"), "?")


_QUEUING = "spec.limited.limitResponse.queuing"
COLUMNS = {
    (GROUP, "flowschemas"): (
        NAME,
        field("PriorityLevel", "spec.priorityLevelConfiguration.name", ""),
        field("MatchingPrecedence", "spec.matchingPrecedence"),
        field("DistinguisherMethod", "spec.distinguisherMethod.type"),
        AGE,
        Column("MissingPL", _dangling),
    ),
    (GROUP, "prioritylevelconfigurations"): (
        NAME,
        field("Type", "spec.type"),
        field("NominalConcurrencyShares", "spec.limited.nominalConcurrencyShares"),
        field("Queues", f"{_QUEUING}.queues"),
        field("HandSize", f"{_QUEUING}.handSize"),
        field("QueueLengthLimit", f"{_QUEUING}.queueLengthLimit"),
        AGE,
    ),
}
