"""The gRPC methods of CSI and of plugin registration as tables, so that servers and clients need no generated stubs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from google.protobuf.message import Message

from . import csi_pb2 as csi
from . import registration_pb2 as registration


class Method(NamedTuple):
    """The request and response types of a unary method."""

    request: type[Message]
    response: type[Message]


def _methods(module: object, *names: str) -> Mapping[str, Method]:
    return {name: Method(getattr(module, f"{name}Request"), getattr(module, f"{name}Response")) for name in names}


IDENTITY = ("csi.v1.Identity", _methods(csi, "GetPluginInfo", "GetPluginCapabilities", "Probe"))
CONTROLLER = (
    "csi.v1.Controller",
    _methods(
        csi,
        "CreateVolume",
        "DeleteVolume",
        "ValidateVolumeCapabilities",
        "ListVolumes",
        "GetCapacity",
        "ControllerGetCapabilities",
        "ControllerPublishVolume",
        "ControllerUnpublishVolume",
        "ControllerGetVolume",
        "ControllerModifyVolume",
        "ControllerExpandVolume",
        "CreateSnapshot",
        "DeleteSnapshot",
        "ListSnapshots",
        "GetSnapshot",
    ),
)
NODE = (
    "csi.v1.Node",
    _methods(
        csi,
        "NodeStageVolume",
        "NodeUnstageVolume",
        "NodePublishVolume",
        "NodeUnpublishVolume",
        "NodeGetVolumeStats",
        "NodeExpandVolume",
        "NodeGetCapabilities",
        "NodeGetInfo",
    ),
)
GROUP_CONTROLLER = (
    "csi.v1.GroupController",
    _methods(
        csi,
        "GroupControllerGetCapabilities",
        "CreateVolumeGroupSnapshot",
        "DeleteVolumeGroupSnapshot",
        "GetVolumeGroupSnapshot",
    ),
)
REGISTRATION = (
    "pluginregistration.Registration",
    {
        "GetInfo": Method(registration.InfoRequest, registration.PluginInfo),
        "NotifyRegistrationStatus": Method(registration.RegistrationStatus, registration.RegistrationStatusResponse),
    },
)
