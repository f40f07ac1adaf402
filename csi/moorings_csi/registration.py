"""The registration socket: how the node agent, ours or upstream's kubelet, learns of the driver.

Source: kubelet plugin registration v1; the agent watches plugins_registry/ and calls GetInfo, then NotifyRegistrationStatus.
"""

from __future__ import annotations

from pathlib import Path

from moorings_core.log import get_logger
from moorings_core.protos import registration_pb2 as registration

log = get_logger(__name__)


class Registration:
    """Tells the agent the driver's name and socket."""

    def __init__(self, driver: str, endpoint: Path) -> None:
        self._driver, self._endpoint = driver, endpoint

    async def GetInfo(self, _: registration.InfoRequest) -> registration.PluginInfo:
        """Return what is to be registered."""
        return registration.PluginInfo(type="CSIPlugin", name=self._driver, endpoint=str(self._endpoint), supported_versions=["1.0.0"])

    async def NotifyRegistrationStatus(self, status: registration.RegistrationStatus) -> registration.RegistrationStatusResponse:
        """Take note of the agent's verdict."""
        if status.plugin_registered:
            log.info("driver registered", driver=self._driver)
        else:
            log.error("driver not registered", driver=self._driver, error=status.error)
        return registration.RegistrationStatusResponse()
