"""A client of one CSI driver on its unix socket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from moorings_core.ports.errors import MooringsError
from moorings_core.protos.services import CONTROLLER, GROUP_CONTROLLER, IDENTITY, NODE, REGISTRATION, Method

_METHODS: dict[str, tuple[str, Method]] = {
    name: (service, method)
    for service, methods in (IDENTITY, CONTROLLER, GROUP_CONTROLLER, NODE, REGISTRATION)
    for name, method in methods.items()
}
CALL_TIMEOUT = 60.0


class CsiError(MooringsError):
    """A driver refused or could not be reached; `code` is the gRPC code's name, e.g. RESOURCE_EXHAUSTED."""

    def __init__(self, method: str, code: str, message: str) -> None:
        super().__init__(f"{method}: {code}: {message}")
        self.method, self.code, self.message = method, code, message

    @property
    def final(self) -> bool:
        """Whether the call certainly had no effect, so that the caller may choose differently."""
        return self.code in ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "OUT_OF_RANGE", "ALREADY_EXISTS", "UNIMPLEMENTED")


class CsiClient:
    """Calls methods by name with the fields of their request."""

    def __init__(self, socket: Path) -> None:
        self._channel = grpc.aio.insecure_channel(f"unix://{socket}")

    async def call(self, rpc: str, /, timeout: float = CALL_TIMEOUT, **fields: Any) -> Any:
        """Return the response message. Raises CsiError, also when `timeout` seconds pass."""
        service, method = _METHODS[rpc]
        stub = self._channel.unary_unary(f"/{service}/{rpc}", _serialize, method.response.FromString)
        try:
            return await stub(method.request(**fields), timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise CsiError(rpc, error.code().name, error.details() or "") from error

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()
