"""The Identity service: who the driver is and what it offers."""

from __future__ import annotations

from google.protobuf.wrappers_pb2 import BoolValue

from moorings_core.protos import csi_pb2 as csi

Service, Expansion = csi.PluginCapability.Service, csi.PluginCapability.VolumeExpansion


class Identity:
    """Answers for a driver called `name`."""

    def __init__(self, name: str, version: str) -> None:
        self._name, self._version = name, version

    async def GetPluginInfo(self, _: csi.GetPluginInfoRequest) -> csi.GetPluginInfoResponse:
        """Return name and version."""
        return csi.GetPluginInfoResponse(name=self._name, vendor_version=self._version)

    async def GetPluginCapabilities(self, _: csi.GetPluginCapabilitiesRequest) -> csi.GetPluginCapabilitiesResponse:
        """Return the services: a controller, and volumes that only some nodes can reach."""
        kinds = (Service.CONTROLLER_SERVICE, Service.VOLUME_ACCESSIBILITY_CONSTRAINTS)
        found = [csi.PluginCapability(service=Service(type=kind)) for kind in kinds]
        return csi.GetPluginCapabilitiesResponse(capabilities=found)

    async def Probe(self, _: csi.ProbeRequest) -> csi.ProbeResponse:
        """Return ready: a driver that answers has probed its pool at start."""
        return csi.ProbeResponse(ready=BoolValue(value=True))
