"""Defaults of flow control and aggregation.

Source: pkg/apis/flowcontrol/v1/defaults.go, kube-aggregator apiregistration/v1/defaults.go.
"""

from __future__ import annotations

from moorings_core.ports.objects import Object

GROUP = "flowcontrol.apiserver.k8s.io"


def _schema(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec["matchingPrecedence"] = spec.get("matchingPrecedence") or 1000


def _level(obj: Object) -> None:
    spec = obj.get("spec") or {}
    exempt, limited = spec.get("exempt"), spec.get("limited")
    if exempt is not None:
        exempt.setdefault("nominalConcurrencyShares", 0)
        exempt.setdefault("lendablePercent", 0)
    if limited is None:
        return
    limited.setdefault("nominalConcurrencyShares", 30)
    limited.setdefault("lendablePercent", 0)
    queuing = (limited.get("limitResponse") or {}).get("queuing")
    if queuing is not None:
        for name, value in (("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)):
            queuing[name] = queuing.get(name) or value


def _service(obj: Object) -> None:
    service = (obj.get("spec") or {}).get("service")
    if service is not None:
        service.setdefault("port", 443)


RULES = {
    ("apiregistration.k8s.io", "apiservices"): _service,
    (GROUP, "flowschemas"): _schema,
    (GROUP, "prioritylevelconfigurations"): _level,
}
