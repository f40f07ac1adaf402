"""What every cluster has from its first moment: namespaces, priorities, the service `kubernetes`, the cluster file, classes."""

from __future__ import annotations

import ipaddress
from datetime import date

from moorings_core.ports.client import Client
from moorings_core.ports.cluster import ClusterConfig
from moorings_core.ports.errors import AlreadyExists
from moorings_core.ports.network import CLAIMS
from moorings_core.ports.objects import Object, Resource

from . import group_snapshots, snapshots
from .flowcontrol import born as flows

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
PRIORITIES = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_CORE = ("", "v1")


def objects(config: ClusterConfig, text: str, address: str, port: int) -> list[tuple[Resource, Object]]:
    """Return the first objects, in the order in which they can be created."""
    made = [(Resource(*_CORE, "namespaces", "Namespace", False), _object("v1", "Namespace", n)) for n in NAMESPACES]
    for name, value in PRIORITIES.items():
        resource = Resource("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", False)
        made.append((resource, _object("scheduling.k8s.io/v1", "PriorityClass", name) | {"value": value}))
    cluster_file = _object("v1", "ConfigMap", "moorings", "kube-system") | {"data": {"cluster.yaml": text}}
    made.append((Resource(*_CORE, "configmaps", "ConfigMap", True), cluster_file))
    if not config.network.allocate_node_cidrs:  # nodes may change it, and may not make it
        made.append((Resource(*_CORE, "configmaps", "ConfigMap", True), _object("v1", "ConfigMap", CLAIMS, "kube-system")))
    ranges = _object("networking.k8s.io/v1", "ServiceCIDR", "kubernetes") | {"spec": {"cidrs": list(config.services.cidrs)}}
    made.append((Resource("networking.k8s.io", "v1", "servicecidrs", "ServiceCIDR", False), ranges))
    made += _kubernetes_service(config, address, port)
    made += flows.objects()
    for storage in config.storage:
        resource = Resource("storage.k8s.io", "v1", "storageclasses", "StorageClass", False)
        parameters = dict(storage.parameters)
        driver = str(parameters.get("driver") or f"{storage.backend}.csi.moorings.dev")
        made.append((resource, _storage_class(storage.name, driver, storage.default, parameters)))
        made.append((Resource("storage.k8s.io", "v1", "csidrivers", "CSIDriver", False), _csi_driver(driver, parameters)))
    return [*made, *snapshots.objects(), *group_snapshots.objects()]


def token_tracking(day: date) -> tuple[Resource, Object]:
    """Return what says since when uses of tokens in Secrets are noted; upstream's controllers look for it."""
    made = _object("v1", "ConfigMap", "kube-apiserver-legacy-service-account-token-tracking", "kube-system")
    return Resource(*_CORE, "configmaps", "ConfigMap", True), made | {"data": {"since": day.isoformat()}}


async def create_missing(client: Client, wanted: list[tuple[Resource, Object]]) -> None:
    """Create what is not there yet; what is there, changed by somebody or not, stays as it is."""
    for resource, obj in wanted:
        try:
            await client.create(resource, obj)
        except AlreadyExists:
            continue


def _kubernetes_service(config: ClusterConfig, address: str, port: int) -> list[tuple[Resource, Object]]:
    first = str(ipaddress.ip_network(config.services.cidrs[0])[1])
    ports = [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}]
    labels = {"component": "apiserver", "provider": "kubernetes"}
    service = _object("v1", "Service", "kubernetes", "default", labels)
    service["spec"] = {"clusterIP": first, "ports": ports, "type": "ClusterIP", "sessionAffinity": "None"}
    slice_ = _object("discovery.k8s.io/v1", "EndpointSlice", "kubernetes", "default", {"kubernetes.io/service-name": "kubernetes"})
    slice_ |= {
        "addressType": "IPv6" if ":" in address else "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }
    endpoints = _object("v1", "Endpoints", "kubernetes", "default", {"endpointslice.kubernetes.io/skip-mirror": "true"})
    endpoints["subsets"] = [{"addresses": [{"ip": address}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}]
    return [
        (Resource(*_CORE, "services", "Service", True), service),
        (Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", True), slice_),
        (Resource(*_CORE, "endpoints", "Endpoints", True), endpoints),
    ]


def _storage_class(name: str, driver: str, default: bool, parameters: Object) -> Object:
    made = _object("storage.k8s.io/v1", "StorageClass", name)
    if default:
        made["metadata"]["annotations"] = {DEFAULT_CLASS: "true"}
    given = {k: str(v) for k, v in (parameters.get("class") or parameters).items() if "class" in parameters or k in ("fsType", "thin")}
    return made | {
        "provisioner": driver,
        "parameters": given,
        "allowVolumeExpansion": bool(parameters.get("allowVolumeExpansion", True)),
        "reclaimPolicy": str(parameters.get("reclaimPolicy", "Delete")),
        "volumeBindingMode": str(parameters.get("volumeBindingMode", "WaitForFirstConsumer")),
    }


def _csi_driver(driver: str, parameters: Object) -> Object:
    """Return what is declared of a driver: its volumes are on one node each and need no attaching, unless `attach` says so."""
    made = _object("storage.k8s.io/v1", "CSIDriver", driver)
    own = "driver" not in parameters
    return made | {
        "spec": {
            "attachRequired": bool(parameters.get("attach", not own)),
            "podInfoOnMount": True,
            "storageCapacity": bool(parameters.get("storageCapacity", own)),
            "volumeLifecycleModes": ["Persistent", "Ephemeral"] if own else ["Persistent"],
            "fsGroupPolicy": "File",
        }
    }


def _object(version: str, kind: str, name: str, namespace: str = "", labels: Object | None = None) -> Object:
    metadata: Object = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": version, "kind": kind, "metadata": metadata | ({"labels": labels} if labels else {})}
