"""The Identity service: who the driver is and what it offers."""

from __future__ import annotations

from google.protobuf.wrappers_pb2 import BoolValue

from moorings_core.protos import csi_pb2 as csi

from .ledger import Role
from .pool import Features

Service, Expansion = csi.PluginCapability.Service, csi.PluginCapability.VolumeExpansion


class Identity:
    """Answers for a driver called `name` in a role."""

    def __init__(self, name: str, version: str, role: Role, features: Features, fs_type: str, *, constrained: bool) -> None:
        self._name, self._version, self._role = name, version, role
        self._features, self._fs_type, self._constrained = features, fs_type, constrained

    async def GetPluginInfo(self, _: csi.GetPluginInfoRequest) -> csi.GetPluginInfoResponse:
        """Return name and version."""
        return csi.GetPluginInfoResponse(name=self._name, vendor_version=self._version)

    async def GetPluginCapabilities(self, _: csi.GetPluginCapabilitiesRequest) -> csi.GetPluginCapabilitiesResponse:
        """Return the services of the role; volumes that only some nodes can reach; whether volumes grow in use."""
        kinds = [Service.VOLUME_ACCESSIBILITY_CONSTRAINTS] if self._constrained else []
        if self._role != "node":
            kinds.append(Service.CONTROLLER_SERVICE)
            if self._features.groups:
                kinds.append(Service.GROUP_CONTROLLER_SERVICE)
        found = [csi.PluginCapability(service=Service(type=kind)) for kind in kinds]
        online = not self._features.fs_types or self._fs_type in self._features.grows
        kind = Expansion.ONLINE if online else Expansion.OFFLINE
        return csi.GetPluginCapabilitiesResponse(capabilities=[*found, csi.PluginCapability(volume_expansion=Expansion(type=kind))])

    async def Probe(self, _: csi.ProbeRequest) -> csi.ProbeResponse:
        """Return ready: a driver that answers has probed its pool at start."""
        return csi.ProbeResponse(ready=BoolValue(value=True))
