"""Which agent acts for a driver. Any driver that registers here and serves the controller methods on its socket is driven from here.

A volume that only some nodes can reach is worked on by an agent there. Of several agents that could, the one of the first live node
by name does it: two that think so for a moment do no harm, for CSI calls are idempotent and writes name the version they are of.
A driver whose own sidecars run (external-provisioner and its kin) says so on its CSIDriver and is left to them:
    metadata: {annotations: {storage.moorings.dev/sidecars: own}}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from moorings_core.client.informer import Informer
from moorings_core.client.resources import CSI_DRIVERS, CSI_NODES, NODES
from moorings_core.ports.client import Client
from moorings_core.ports.objects import Object

from .plugins import Driver, PluginWatcher

SIDECARS = "storage.moorings.dev/sidecars"


class Reach:
    """What this node's agent answers for."""

    def __init__(self, client: Client, plugins: PluginWatcher, node: str) -> None:
        self._plugins, self._node = plugins, node
        self.csi_drivers = Informer(client, CSI_DRIVERS)
        self._csi_nodes, self._nodes = Informer(client, CSI_NODES), Informer(client, NODES)
        self.informers = (self.csi_drivers, self._csi_nodes, self._nodes)

    def driver(self, name: str) -> Driver | None:
        """Return a driver that is registered here, makes volumes, and has no sidecars of its own."""
        found = self._plugins.drivers.get(name)
        if found is None or not found.controller or self._has_sidecars(name):
            return None
        return found

    def leads(self, driver: Driver) -> bool:
        """Whether this agent acts for all nodes that reach the same volumes."""
        if self._node in driver.topology.values():
            return True  # a segment that is the node's own name: nobody else reaches these volumes
        alive = [name for name in self._peers(driver) if self._is_alive(name)]
        return self._node == min(alive, default=self._node)

    def answers_for(self, volume: Object) -> Driver | None:
        """Return the driver of a PersistentVolume if this agent is to work on it."""
        driver = self.driver((volume["spec"].get("csi") or {}).get("driver", ""))
        if driver is None or not is_reachable(volume, driver.topology) or not self.leads(driver):
            return None
        return driver

    def spec(self, driver: str) -> Object:
        """Return what is declared of a driver; without a CSIDriver the defaults hold."""
        declared = self.csi_drivers.get(driver)
        return {} if declared is None else declared["spec"]

    def _has_sidecars(self, driver: str) -> bool:
        declared = self.csi_drivers.get(driver)
        return declared is not None and (declared["metadata"].get("annotations") or {}).get(SIDECARS) == "own"

    def _peers(self, driver: Driver) -> Sequence[str]:
        """Return the nodes with the same driver in the same place."""
        found = []
        for csi_node in self._csi_nodes.items.values():
            name = csi_node["metadata"]["name"]
            node = self._nodes.get(name)
            labels: Mapping[str, str] = (node or {"metadata": {}})["metadata"].get("labels") or {}
            registered = any(d["name"] == driver.name for d in csi_node["spec"].get("drivers") or ())
            if registered and all(labels.get(k) == v for k, v in driver.topology.items()):
                found.append(name)
        return found

    def _is_alive(self, name: str) -> bool:
        node = self._nodes.get(name) or {}
        conditions = node.get("status", {}).get("conditions") or ()
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def admits(topologies: Sequence[Object], topology: Mapping[str, str]) -> bool:
    """Whether a class' allowedTopologies admit the place of a driver; none admit every place."""
    if not topologies:
        return True
    return any(all(topology.get(e["key"]) in e["values"] for e in term.get("matchLabelExpressions") or ()) for term in topologies)


def is_reachable(volume: Object, topology: Mapping[str, str]) -> bool:
    """Whether a volume's node affinity, as far as it is of a driver's topology, admits a place."""
    terms = ((volume["spec"].get("nodeAffinity") or {}).get("required") or {}).get("nodeSelectorTerms")
    if not terms:
        return True
    return any(all(topology.get(e["key"]) in e.get("values", ()) for e in term.get("matchExpressions") or ()) for term in terms)
