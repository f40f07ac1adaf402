"""Which pods stand behind a Service, on which ports, in which condition. Pure; for both `endpointslice` and `endpoints`."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from moorings_core.client.resources import PODS, SERVICES
from moorings_core.ports.objects import Object, key_of

from . import pods
from .framework import View, WorkKey
from .ownership import selector_of

HEADLESS = "service.kubernetes.io/headless"


class Port(NamedTuple):
    """A port as pods serve it; 0 stands for none."""

    name: str
    number: int
    protocol: str
    app_protocol: str = ""

    def written(self) -> Object:
        """Return it as in a slice or a subset."""
        port: Object = {"name": self.name, "port": self.number, "protocol": self.protocol}
        return port | ({"appProtocol": self.app_protocol} if self.app_protocol else {})


def is_selecting(service: Object) -> bool:
    """Whether its endpoints are ours to find."""
    return bool(service["spec"].get("selector")) and service["spec"].get("type") != "ExternalName"


def is_headless(service: Object) -> bool:
    """Whether it has no virtual address on purpose."""
    return bool(service["spec"].get("clusterIP") == "None")


def publishes_unready(service: Object) -> bool:
    """Whether readiness is of no matter."""
    return bool(service["spec"].get("publishNotReadyAddresses"))


def pods_of(service: Object, view: View) -> Sequence[Object]:
    """Return the pods that stand behind a Service: selected, with an address, not finished. In order of their names."""
    selector = selector_of(service)
    found = [
        pod
        for pod in view.within(PODS, service["metadata"]["namespace"])
        if not pods.is_finished(pod) and addresses(pod) and selector.matches(pod["metadata"].get("labels") or {})
    ]
    return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))


def addresses(pod: Object) -> Sequence[str]:
    """Return the pod's addresses."""
    status = pod.get("status", {})
    listed = [entry["ip"] for entry in status.get("podIPs") or () if entry.get("ip")]
    return listed or ([status["podIP"]] if status.get("podIP") else [])


def family(address: str) -> str:
    """Return "IPv4" or "IPv6"."""
    return f"IPv{ipaddress.ip_address(address).version}"


def ports_of(service: Object, pod: Object) -> tuple[Port, ...]:
    """Return the ports at which this pod serves; one whose name the pod does not have is left out."""
    found = []
    for port in service["spec"].get("ports") or ():
        protocol = port.get("protocol") or "TCP"
        number = _target(port.get("targetPort") or port["port"], protocol, pod)
        if number:
            found.append(Port(port.get("name") or "", number, protocol, port.get("appProtocol") or ""))
    return tuple(found)


def reference(pod: Object) -> Object:
    """Return the targetRef of an endpoint."""
    metadata = pod["metadata"]
    return {"kind": "Pod", "namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"]}


def hostname(service: Object, pod: Object) -> str:
    """Return the name under which DNS knows this pod within the Service, or ""."""
    spec = pod["spec"]
    named = spec.get("hostname") and spec.get("subdomain") == service["metadata"]["name"]
    return str(spec["hostname"]) if named else ""


def services_of(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    """The mapping of a Watch on pods: the Services that the change matters to."""
    if old is not None and new is not None and _facts(old) == _facts(new):
        return
    for pod in (old, new):
        labels = pod["metadata"].get("labels") if pod is not None else None
        if pod is None or not labels:
            continue
        for service in view.within(SERVICES, pod["metadata"]["namespace"]):
            if service["spec"].get("selector", {}).items() <= labels.items() and is_selecting(service):
                yield key_of(service)


def _facts(pod: Object) -> tuple[object, ...]:
    metadata, spec = pod["metadata"], pod["spec"]
    where = (spec.get("nodeName"), spec.get("hostname"), spec.get("subdomain"), addresses(pod))
    state = (pods.is_ready(pod), pods.is_terminating(pod), pods.is_finished(pod))
    return (metadata.get("uid"), metadata.get("labels"), where, state)


def _target(target: int | str, protocol: str, pod: Object) -> int:
    if isinstance(target, int) or target.isdigit():
        return int(target)
    spec = pod["spec"]
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in (*spec["containers"], *sidecars):
        for port in container.get("ports") or ():
            if port.get("name") == target and (port.get("protocol") or "TCP") == protocol:
                return int(port["containerPort"])
    return 0
